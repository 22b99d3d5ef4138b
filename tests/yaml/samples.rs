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

/// Samples of what the old language has no words for.
const NEW: [&str; 1] = ["pair.yaml"];

#[test]
fn a_sample_of_what_is_new_is_accepted_without_a_doubt() {
    for name in NEW {
        let path = root().join("config").join(name);
        let source = Source::new(name, fs::read(&path).unwrap());
        let loaded = load_with(source, &FakeNames::default(), probe::kind);
        let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.report.faults.len(), 0, "{}", loaded.report);
    }
}

#[test]
fn a_sample_in_yaml_has_one_in_the_old_language() {
    let is_new = |path: &std::path::PathBuf| NEW.iter().any(|name| path.ends_with(name));
    for path in files(&root().join("config"), "yaml").into_iter().filter(|path| !is_new(path)) {
        assert!(path.with_extension("cf").is_file(), "{}", path.display());
    }
}
