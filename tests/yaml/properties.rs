//! Whatever the bytes: an answer, no panic, no blow-up.

use lvsentry::config::load_with;
use lvsentry::probe;
use lvsentry::span::Source;
use proptest::prelude::*;

use super::{files, root};
use crate::config::fake::FakeNames;

fn try_it(text: &[u8]) {
    let loaded = load_with(Source::new("any.yaml", text), &FakeNames::default(), probe::kind);
    let report = match loaded {
        Ok(loaded) => loaded.report,
        Err(report) => report,
    };
    // Every fault must print, and those about values must have a place in the text.
    let _ = report.to_string();
    assert!(report.faults.iter().all(|f| f.span.as_ref().is_none_or(|s| s.start <= text.len())));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        try_it(&bytes);
    }

    /// Good files with a piece replaced by another piece: near misses reach further than noise.
    #[test]
    fn near_misses_get_an_answer(which in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(),
                                 length in 0..40usize, to in any::<prop::sample::Index>(), other in "[-a-z0-9:{}\\[\\],&*<\"' \n~#]{0,12}") {
        let all = files(&root().join("config"), "yaml");
        let mut text = std::fs::read(&all[which.index(all.len())]).unwrap();
        let start = from.index(text.len());
        let end = (start + length).min(text.len());
        let piece: Vec<u8> = text.splice(start..end, other.bytes()).collect();
        let at = to.index(text.len() + 1);
        text.splice(at..at, piece);
        try_it(&text);
    }
}
