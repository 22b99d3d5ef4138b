//! A YAML text as a tree: scalars as they are written, each with its place, so that all that is
//! wrong with them is found in one go. Pure.
//!
//! The types of YAML are not used: what is a number is for the reader of each value to say, so that
//! `017`, `1_000`, `no` and `1e3` mean nothing that nobody meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Error, Location, NonFiniteFloatPolicy, Options, Spanned};

use crate::span::{Fault, Source, Span};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands; of a list or mapping, where it begins.
    pub span: Span,
}

/// What a value can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, number or boolean, as written; quotes removed.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Names and their values, in the order of the text.
    Map(Vec<(Name, Node)>),
}

/// The name before a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// Reads a text. An error when it is no YAML, or more than a configuration can be.
pub fn parse(source: &Source) -> Result<Node, Fault> {
    let text = std::str::from_utf8(&source.text).map_err(|error| {
        let at = error.valid_up_to();
        Fault::error(at..at + 1, "not valid UTF-8").help("a YAML file is UTF-8 text")
    })?;
    let raw: Spanned<Raw> =
        serde_yaml::from_str_with_options(text, options()).map_err(|error| broken(source, &error))?;
    Ok(Reader { text }.node(raw))
}

/// Bounds on what a text may cost. 262,144 servers of three words each fit.
fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 4_000_000,
            max_nodes: 2_000_000,
            max_recorded_anchor_events: 100_000,
            max_depth: 24,
            flow_nesting_limit: 24,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 8,
        },
        // Told by us, all of them.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        emit_comments: false,
    }
}

/// What the parser says, as a fault.
fn broken(source: &Source, error: &Error) -> Fault {
    let error = error.without_snippet();
    let at = error.location().map_or(0, |location| offset(source, &location));
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message).trim_end_matches(':');
    let (message, help) = match error {
        Error::MultipleDocuments { .. } => {
            ("a second document begins", "a configuration is one document: remove the `---`")
        }
        _ if ["budget", "limit", "exceeded"].iter().any(|word| message.contains(word)) => (
            "this is more than a configuration may hold",
            "too many values, too deep, or repeated by aliases too often",
        ),
        _ if message.starts_with("tab") => (message, "YAML is indented by blanks, never by tabs"),
        // What it quotes stands in the excerpt, unless it is a password.
        _ => (
            message.split('`').next().unwrap_or(message).trim_end(),
            "the text is not valid YAML here, or shortly before",
        ),
    };
    Fault::error(at..at + 1, message).help(help)
}

/// The byte of a place that has a line and a column.
fn offset(source: &Source, location: &Location) -> usize {
    if let Some(at) = location.span().byte_offset() {
        return (at as usize).min(source.text.len());
    }
    let mut start = 0;
    for _ in 1..location.line() {
        start = (source.line_span(start).end + 1).min(source.text.len());
    }
    let line = source.line_span(start);
    let text = String::from_utf8_lossy(&source.text[line.clone()]).into_owned();
    let column = (location.column() as usize).saturating_sub(1);
    let bytes: usize = text.chars().take(column).map(char::len_utf8).sum();
    (line.start + bytes).min(line.end)
}

/// A value before it is known where its text stands.
enum Raw {
    Null,
    Text(String),
    /// Something that the parser takes for a number or a boolean.
    Plain,
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Finds the text of what was read.
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let span = self.span(&raw.defined);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Text(text),
            Raw::Plain => {
                // Quotes are around it when a tag makes a number of a quoted text.
                let written = self.text.get(span.clone()).unwrap_or_default();
                Value::Text(written.trim_matches(['"', '\'', ' ', '\n']).to_owned())
            }
            Raw::List(list) => Value::List(list.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => {
                let entry = |(name, value): (Spanned<String>, _)| {
                    let span = self.span(&name.defined);
                    (Name { text: name.value, span }, self.node(value))
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { value, span }
    }

    fn span(&self, location: &Location) -> Span {
        let span = location.span();
        let (Some(start), Some(length)) = (span.byte_offset(), span.byte_len()) else { return 0..0 };
        let start = (start as usize).min(self.text.len());
        start..(start + length as usize).min(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Fault> {
        parse(&Source::new("test.yaml", text.as_bytes()))
    }

    /// What a mapping of texts says, with the bytes where each value stands.
    fn texts(text: &str) -> Vec<(String, String, Span)> {
        let Value::Map(entries) = read(text).map(|node| node.value).unwrap_or(Value::Null) else {
            return Vec::new();
        };
        let of = |(name, node): (Name, Node)| match node.value {
            Value::Text(text) => (name.text, text, node.span),
            other => (name.text, format!("{other:?}"), node.span),
        };
        entries.into_iter().map(of).collect()
    }

    #[test]
    fn scalars_keep_the_text_they_are_written_with() {
        let read =
            texts("a: 017\nb: 1_000\nc: no\nd: \"x\\n\"\ne: 1e3\nf: ü .nan\ng: 0x10 # no\nh: !!int \"5\"\n");
        let values: Vec<&str> = read.iter().map(|(_, text, _)| text.as_str()).collect();
        assert_eq!(values, ["017", "1_000", "no", "x\n", "1e3", "ü .nan", "0x10", "5"]);
        assert_eq!(read[1].2, 10..15);
    }

    #[test]
    fn places_are_bytes_also_behind_a_byte_order_mark_and_wide_letters() {
        let read = texts("\u{feff}ä: ö\nb: 5\n");
        assert_eq!(read[1], ("b".into(), "5".into(), 13..14));
    }

    #[test]
    fn names_given_twice_are_kept_for_others_to_judge() {
        assert_eq!(texts("a: 1\na: 2\n").len(), 2);
    }

    #[test]
    fn an_empty_text_is_nothing() {
        assert_eq!(read("").map(|node| node.value), Ok(Value::Null));
        assert_eq!(read("# only\n").map(|node| node.value), Ok(Value::Null));
    }

    #[test]
    fn what_is_no_yaml_has_a_place() {
        for (text, at) in
            [("a: [", 3), ("a: b: c", 4), ("a:\n\t- b", 4), ("a: \"x", 3), ("a: *b", 3), ("- a\nb: c", 4)]
        {
            let fault = read(text).map(|_| ()).unwrap_err();
            assert_eq!(fault.span.map(|span| span.start), Some(at), "{text:?}");
        }
        assert!(read("a: b\n---\nc: d\n").unwrap_err().message.contains("second document"));
        assert!(parse(&Source::new("x", &b"a: \xff"[..])).unwrap_err().message.contains("UTF-8"));
    }

    #[test]
    fn bombs_are_refused() {
        let line = |i: usize| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","));
        let bomb = format!("a0: &a0 [x]\n{}", (1..30).map(line).collect::<String>());
        let merges: String =
            (1..30).map(|i| format!("b{i}: &b{i} {{<<: [*b{0}, *b{0}], x{i}: *b{0}}}\n", i - 1)).collect();
        for text in [bomb, format!("b0: &b0 {{x: y}}\n{merges}"), "[".repeat(100_000), "- ".repeat(100_000)] {
            assert!(read(&text).is_err());
        }
        assert!(read(&"x\n".repeat(100_000)).is_ok());
    }
}
