//! The comments of an `ldirectord.cf`, by the line that they are about. Pure.

use std::collections::BTreeMap;

use crate::config::cf::cut_comment;
use crate::config::raw::{Text, is_blank};
use crate::span::{Source, Span};

/// What is said about one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Comment lines above it.
    pub above: Vec<String>,
    /// The comment at its end.
    pub beside: Option<String>,
}

/// Comments that were not written yet.
#[derive(Debug)]
pub struct Comments<'s> {
    source: &'s Source,
    /// By the line that they are about; those behind the last line by the line after it.
    by_line: BTreeMap<u32, Remarks>,
    /// What is said about the file as a whole: at its beginning, with an empty line below.
    pub head: Vec<String>,
}

impl<'s> Comments<'s> {
    /// Finds them.
    pub fn find(source: &'s Source) -> Comments<'s> {
        let mut by_line: BTreeMap<u32, Remarks> = BTreeMap::new();
        let (mut above, mut head): (Vec<String>, Vec<String>) = Default::default();
        let (mut number, mut begun) = (0, None);
        for line in source.text.split(|&b| b == b'\n') {
            number += 1;
            let text = Text { bytes: line, at: 0 };
            let content = text.take(is_blank).1;
            match content.bytes.first() {
                None if by_line.is_empty() && head.is_empty() && begun.is_none() => head.append(&mut above),
                None => {}
                Some(b'#') => above.push(read(content.take(|b| b == b'#').1)),
                Some(_) => {
                    begun.get_or_insert(number);
                    let beside = beside(content);
                    if beside.is_some() || !above.is_empty() {
                        by_line.insert(number, Remarks { above: std::mem::take(&mut above), beside });
                    }
                }
            }
        }
        if !above.is_empty() {
            by_line.insert(number + 1, Remarks { above, beside: None });
        }
        Comments { source, by_line, head }
    }

    /// What is said about the line of a place, if it was not taken yet.
    pub fn take(&mut self, span: &Span) -> Remarks {
        if span.is_empty() && span.start == 0 {
            return Remarks::default();
        }
        self.by_line.remove(&self.source.line(span.start)).unwrap_or_default()
    }

    /// All that is left about the lines up to that of a place, as lines.
    pub fn rest_to(&mut self, end: usize) -> Vec<String> {
        let after = self.by_line.split_off(&(self.source.line(end) + 1));
        let rest = std::mem::replace(&mut self.by_line, after);
        rest.into_values().flat_map(|remarks| remarks.above.into_iter().chain(remarks.beside)).collect()
    }

    /// All that is left.
    pub fn rest(&mut self) -> Vec<String> {
        let rest = std::mem::take(&mut self.by_line);
        rest.into_values().flat_map(|remarks| remarks.above.into_iter().chain(remarks.beside)).collect()
    }
}

/// The comment at the end of a line that says something.
fn beside(content: Text) -> Option<String> {
    let kept = cut_comment(content);
    let rest = content.from(kept.bytes.len());
    (!rest.is_empty()).then(|| read(rest.take(|b| b == b'#').1)).filter(|text| !text.is_empty())
}

/// The text of a comment; blanks at its beginning stay, but for one.
fn read(text: Text) -> String {
    let text = String::from_utf8_lossy(text.bytes).into_owned();
    let text = text.strip_prefix([' ', '\t']).unwrap_or(&text);
    text.trim_end().to_owned()
}
