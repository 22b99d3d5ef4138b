//! Typed taking of options; knows which stayed unused. Pure.

use std::collections::BTreeMap;

use crate::span::Span;

/// A value as written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The bytes, quotes removed.
    pub text: Vec<u8>,
    /// Where they stand.
    pub span: Span,
}

/// The options of one check, by name. A kind takes those it uses; the rest can be told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    given: BTreeMap<&'static str, Given>,
    taken: Vec<&'static str>,
}

impl Options {
    /// Adds an option; the last of a name wins.
    pub fn give(&mut self, name: &'static str, text: impl Into<Vec<u8>>, span: Span) {
        self.given.insert(name, Given { text: text.into(), span });
    }

    /// Looks at an option without taking it.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// Removes an option.
    pub fn remove(&mut self, name: &str) {
        self.given.remove(name);
    }

    /// All that was given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Given)> {
        self.given.iter().map(|(name, given)| (*name, given))
    }

    /// Takes an option as it was given.
    pub fn take(&mut self, name: &'static str) -> Option<Given> {
        self.taken.push(name);
        self.given.get(name).cloned()
    }

    /// The options that no kind took, and where they stand.
    pub fn unused(&self) -> impl Iterator<Item = (&'static str, &Span)> {
        self.given.iter().filter(|(name, _)| !self.taken.contains(name)).map(|(name, g)| (*name, &g.span))
    }
}
