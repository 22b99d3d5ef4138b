//! What a syntax yields before anything of it has a meaning: directives, their values as bytes,
//! and where they stand. Pure.

use crate::config::keys::{Key, is_secret};
use crate::span::Span;

/// Some bytes of a configuration that know where they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where the first of them stands.
    pub at: usize,
}

/// One directive as written: `NAME = VALUE`.
#[derive(Debug, Clone)]
pub struct Directive<'a> {
    /// Which one.
    pub key: &'static Key,
    /// Where its name stands.
    pub name: Span,
    /// Its value: all that follows on the line; in a block, up to a comment.
    pub value: Text<'a>,
    /// The line it stands on.
    pub line: Line<'a>,
}

/// A line as it stands in the file, without its end.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// All of it.
    pub text: Text<'a>,
    /// Whether it stands in a block.
    pub in_block: bool,
}

impl Line<'_> {
    /// Longest line that is shown whole, in characters.
    const SHOWN: usize = 1_000;

    /// What ldirectord says of a line that it can not make out; with the line as it is, unless
    /// that holds the password of somebody.
    pub fn unknown(&self) -> String {
        let text = String::from_utf8_lossy(self.text.bytes);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = text.trim_start().split(|c| !is_name(c)).next().unwrap_or_default();
        let shown: String = match is_secret(name) {
            true => name.into(),
            false => text.trim_end().chars().take(Line::SHOWN).map(plain).collect(),
        };
        match self.in_block {
            true => format!("Unknown command \"{shown}\""),
            false => format!("Unknown command {shown}"),
        }
    }
}

/// A character as it may stand in a message of one line.
fn plain(c: char) -> char {
    if c.is_control() && c != '\t' { ' ' } else { c }
}

/// A virtual service: its head and the options in its block.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// `virtual` or `virtual6`.
    pub head: Directive<'a>,
    /// The options, in the order of the file.
    pub options: Vec<Directive<'a>>,
}

/// A whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Raw<'a> {
    /// The global directives, in the order of the file.
    pub globals: Vec<Directive<'a>>,
    /// The virtual services, in the order of the file.
    pub blocks: Vec<Block<'a>>,
}

impl<'a> Text<'a> {
    /// Where the bytes stand.
    pub fn span(&self) -> Span {
        self.at..self.at + self.bytes.len()
    }

    /// The part from `start` to `end`, both counted from this text's beginning.
    pub fn part(&self, start: usize, end: usize) -> Text<'a> {
        Text { bytes: &self.bytes[start..end], at: self.at + start }
    }

    /// All from `start` on.
    pub fn from(&self, start: usize) -> Text<'a> {
        self.part(start, self.bytes.len())
    }

    /// The first bytes that satisfy `is`, and what follows them.
    pub fn take(&self, is: impl Fn(u8) -> bool) -> (Text<'a>, Text<'a>) {
        let end = self.bytes.iter().position(|&b| !is(b)).unwrap_or(self.bytes.len());
        (self.part(0, end), self.from(end))
    }

    /// What follows `prefix`, if the text begins with it.
    pub fn after(&self, prefix: &[u8]) -> Option<Text<'a>> {
        self.bytes.starts_with(prefix).then(|| self.from(prefix.len()))
    }

    /// Without blanks at its beginning.
    pub fn trim_start(&self) -> Text<'a> {
        self.take(is_blank).1
    }

    /// Without blanks at either end; the wide blanks of East Asian keyboards are blanks too.
    pub fn trim(&self) -> Text<'a> {
        let mut text = self.trim_start();
        loop {
            let bytes = text.bytes;
            let cut = match bytes {
                [.., b] if is_blank(*b) => 1,
                [.., 0xe3, 0x80, 0x80] => 3,
                [.., 0xc2, 0xa0] => 2,
                _ => return text,
            };
            text = text.part(0, bytes.len() - cut);
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text for a message: read as UTF-8 with replacement, without blanks around, cut after
    /// 60 characters.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(self.trim().bytes);
        let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().nth(60).is_some() {
            shown.push_str("...");
        }
        shown
    }
}

/// White space within a line.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}
