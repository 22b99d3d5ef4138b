//! A named text, a place in it, and a fault found there. Pure.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text with the name people know it by (its path).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path, as it was given.
    pub name: Arc<str>,
    /// The bytes of the file: configurations are bytes, not characters.
    pub text: Arc<[u8]>,
    /// Where each line begins, so that a place is found without reading the text again.
    lines: Arc<[usize]>,
}

/// A range of bytes of a [`Source`].
pub type Span = Range<usize>;

/// Where something stands: for people, after the text itself is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<[u8]>>) -> Source {
        let text = text.into();
        let ends = text.iter().enumerate().filter(|(_, b)| **b == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Source { name: name.into(), text, lines }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> u32 {
        self.lines.partition_point(|&start| start <= at) as u32
    }

    /// The bytes of the line that holds a byte, without its line end.
    pub fn line_span(&self, at: usize) -> Span {
        let line = self.line(at) as usize;
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        self.lines[line - 1]..end
    }

    /// The line and column of a byte, both from 1; columns count characters of the line read as
    /// UTF-8 with replacement, as editors show them.
    pub fn position(&self, at: usize) -> (u32, u32) {
        let at = at.min(self.text.len());
        let before = &self.text[self.line_span(at).start..at];
        let column = String::from_utf8_lossy(before).chars().count() as u32 + 1;
        (self.line(at), column)
    }

    /// Where a span begins, as a [`Place`].
    pub fn place(&self, span: &Span) -> Place {
        Place { file: self.name.clone(), line: self.line(span.start) }
    }
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Accepted, and likely not what was meant; ldirectord says nothing of it.
    Advice,
    /// Accepted; ldirectord warns of it too.
    Warning,
    /// Accepted, since ldirectord accepts it, and certainly wrong: the server or service that it is
    /// about suffers what it suffers there.
    Mistake,
    /// The configuration is refused.
    Error,
}

/// Something wrong in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// Where; none when it concerns the whole file (unreadable, say).
    pub span: Option<Span>,
    /// What is wrong; lower case, one line.
    pub message: String,
    /// What is allowed, or what to do.
    pub help: Option<String>,
}

impl Fault {
    /// An error at a place.
    pub fn error(span: Span, message: impl Into<String>) -> Fault {
        Fault { severity: Severity::Error, span: Some(span), message: message.into(), help: None }
    }

    /// A mistake at a place.
    pub fn mistake(span: Span, message: impl Into<String>) -> Fault {
        Fault { severity: Severity::Mistake, ..Fault::error(span, message) }
    }

    /// Advice at a place.
    pub fn advice(span: Span, message: impl Into<String>) -> Fault {
        Fault { severity: Severity::Advice, ..Fault::error(span, message) }
    }

    /// A warning at a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Fault {
        Fault { severity: Severity::Warning, ..Fault::error(span, message) }
    }

    /// The same fault with a word on what is allowed or what to do.
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}
