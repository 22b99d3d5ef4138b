//! Files that are refused, each with all that is said of it. With `LVSENTRY_REWRITE=1` in the
//! environment the texts are written anew, to be looked at with `git diff`.

use std::fs;
use std::path::{Path, PathBuf};

use lvsentry::config::load_with;
use lvsentry::span::Source;

use super::fake::{self, FakeNames};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "cf")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn check(path: &Path, said: &str) {
    let expected = path.with_extension("txt");
    if std::env::var_os("LVSENTRY_REWRITE").is_some() {
        fs::write(&expected, said).unwrap();
    }
    let expected = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(said, expected, "{}: see LVSENTRY_REWRITE", path.display());
}

#[test]
fn each_bad_file_gets_exactly_these_messages() {
    for path in files("bad") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = Source::new(name.as_str(), fs::read(&path).unwrap());
        let Err(report) = load_with(source, &FakeNames::default(), fake::kind) else {
            panic!("{} was accepted", path.display())
        };
        check(&path, &format!("{report}\n"));
    }
}
