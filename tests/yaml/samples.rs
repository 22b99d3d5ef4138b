//! The samples: the same set-ups in both languages.

use std::fs;

use lvsentry::config::load_with;
use lvsentry::probe;
use lvsentry::span::Source;

use super::round::shown;
use super::{files, root};
use crate::config::fake::FakeNames;

#[test]
fn each_sample_means_the_same_in_both_languages() {
    let all = files(&root().join("config"), "cf");
    assert!(all.len() >= 3);
    for path in all {
        let load = |path: &std::path::Path| {
            let source = Source::new(&*path.to_string_lossy(), fs::read(path).unwrap());
            let loaded = load_with(source, &FakeNames::default(), probe::kind);
            loaded.unwrap_or_else(|report| panic!("{report}"))
        };
        let (old, new) = (load(&path), load(&path.with_extension("yaml")));
        assert_eq!(shown(&old.config), shown(&new.config), "{}", path.display());
        assert!(
            new.report.warnings().count() <= old.report.warnings().count(),
            "{}\n{}",
            path.display(),
            new.report
        );
    }
}

#[test]
fn a_sample_in_yaml_has_one_in_the_old_language() {
    for path in files(&root().join("config"), "yaml") {
        assert!(path.with_extension("cf").is_file(), "{}", path.display());
    }
}
