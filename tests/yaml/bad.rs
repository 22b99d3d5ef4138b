//! Files that are refused, each with all that is said of it. With `LVSENTRY_REWRITE=1` in the
//! environment the texts are written anew, to be looked at with `git diff`.

use std::fs;

use lvsentry::config::load_with;
use lvsentry::span::Source;

use super::{files, root};
use crate::config::fake::{self, FakeNames};

#[test]
fn each_bad_file_gets_exactly_these_messages() {
    let all = files(&root().join("tests/yaml/bad"), "yaml");
    assert!(all.len() >= 10);
    for path in all {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = Source::new(name.as_str(), fs::read(&path).unwrap());
        let Err(report) = load_with(source, &FakeNames::default(), fake::kind) else {
            panic!("{name} was accepted")
        };
        let said = format!("{report}\n");
        let expected = path.with_extension("txt");
        if std::env::var_os("LVSENTRY_REWRITE").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap_or_default(), "{name}: see LVSENTRY_REWRITE");
        for secret in ["sesame", "SECRET-TOKEN"] {
            assert!(!said.contains(secret), "{name} tells a secret");
        }
    }
}
