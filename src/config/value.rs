//! The kinds of value that `ldirectord.cf` has: numbers, yes and no, quoted texts, words. Pure.
//!
//! What ldirectord takes is taken with the same meaning; where it drops something or guesses, a
//! warning says so. `complaint` is ldirectord's own text for a value that it refuses.

use crate::config::cf::cut_comment;
use crate::config::diagnostic::Faults;
use crate::config::keys::{Value, is_secret};
use crate::config::raw::{Directive, Text, is_blank};
use crate::config::suggest::closest;
use crate::probe::options::Given;
use crate::span::{Fault, Span};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// An error about a directive's value, with what is allowed.
pub fn refuse(directive: &Directive, complaint: &str) -> Fault {
    Fault::error(directive.value.trim().span(), complaint).help(directive.key.allowed())
}

/// The largest port.
const PORTS: u32 = 65_535;

/// A number: the first run of digits of the value, whatever stands around it. One that is larger
/// than anybody needs is cut; only ports have a limit in ldirectord.
pub fn number(directive: &Directive, complaint: &str, faults: &mut Faults) -> Option<Found<u32>> {
    let Value::Number(least, most) = directive.key.value else { return None };
    let text = cut_comment(directive.value).trim();
    let (before, rest) = text.take(|b| !b.is_ascii_digit());
    let (digits, after) = rest.take(|b| b.is_ascii_digit());
    let written = decimal(digits.bytes);
    let is_large = !digits.is_empty() && written.is_none_or(|value| value > most);
    let cut = (is_large && most != PORTS).then_some(most);
    let Some(value) = cut.or(written).filter(|value| (least..=most).contains(value)) else {
        faults.push(refuse(directive, complaint));
        return None;
    };
    let message = format!("`{}` is read as {value}", text.shown());
    if cut.is_some() || before.bytes.ends_with(b"-") {
        faults.push(Fault::mistake(text.span(), message).help(directive.key.allowed()));
    } else if !before.is_empty() || !after.is_empty() {
        faults.push(Fault::advice(text.span(), message).help("give digits only"));
    }
    Some(Found { value, span: digits.span() })
}

/// A number of decimal digits; none for no digits or too many.
pub fn decimal(digits: &[u8]) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// `yes` or `no`.
pub fn yes_no(directive: &Directive, faults: &mut Faults) -> Option<Found<bool>> {
    let text = whole(directive, faults);
    let value = match text.bytes {
        b"yes" => true,
        b"no" => false,
        _ => {
            let name = directive.key.name;
            let help = match meant(text) {
                Some(meant) => format!("did you mean {name}={meant}?"),
                None => directive.key.allowed(),
            };
            faults.push(Fault::error(text.span(), format!("{name} must be 'yes' or 'no'")).help(help));
            return None;
        }
    };
    Some(Found { value, span: text.span() })
}

/// What other ways to say yes or no mean; none of them is taken.
fn meant(text: Text) -> Option<&'static str> {
    let word = text.shown().trim_matches('"').to_ascii_lowercase();
    match word.as_str() {
        "yes" | "y" | "true" | "on" | "1" => Some("yes"),
        "no" | "n" | "false" | "off" | "0" => Some("no"),
        _ => None,
    }
}

/// A value that ldirectord compares whole, so that it refuses or misreads it when a comment or
/// blanks follow: here they are left out.
pub fn whole<'a>(directive: &Directive<'a>, faults: &mut Faults) -> Text<'a> {
    let written = directive.value;
    let text = cut_comment(written).trim();
    let rest = written.from(text.at + text.bytes.len() - written.at);
    if !rest.is_empty() {
        let name = directive.key.name;
        let what = if rest.trim().is_empty() { "blanks" } else { "the comment" };
        let fault = Fault::advice(rest.span(), format!("{what} after the value of `{name}` left out"));
        faults.push(fault.help("ldirectord takes them as a part of this value"));
    }
    text
}

/// A text in double quotes, up to the last quote on the line.
pub fn quoted(directive: &Directive, complaint: &str) -> Result<Given, Fault> {
    let text = cut_comment(directive.value).trim();
    let inner = text.after(b"\"").ok_or_else(|| unquoted(directive, text))?;
    let Some(end) = inner.bytes.iter().rposition(|&b| b == b'"') else {
        return Err(unknown(directive, text.span(), "the closing quote is missing"));
    };
    match inner.part(0, end) {
        inner if inner.is_empty() => Err(refuse(directive, complaint)),
        inner => Ok(given(inner)),
    }
}

/// A text, quoted if possible; else the whole value.
pub fn maybe_quoted(directive: &Directive, complaint: &str, faults: &mut Faults) -> Option<Given> {
    match quoted(directive, complaint) {
        Ok(given) => return Some(given),
        Err(fault) if directive.value.bytes.starts_with(b"\"\"") => {
            faults.push(fault);
            return None;
        }
        Err(_) => {}
    }
    let text = whole(directive, faults);
    if text.is_empty() {
        faults.push(refuse(directive, complaint));
        return None;
    }
    Some(given(text))
}

/// A text up to the next quote, with or without a quote at its beginning; may be empty.
pub fn to_next_quote(directive: &Directive) -> Given {
    let text = cut_comment(directive.value).trim();
    let inner = text.after(b"\"").unwrap_or(text);
    given(inner.take(|b| b != b'"').0.trim())
}

/// The first word of the value: letters, digits and what else `is` says.
pub fn word<'a>(directive: &Directive<'a>, is: impl Fn(u8) -> bool, faults: &mut Faults) -> Text<'a> {
    let text = cut_comment(directive.value).trim();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || is(b);
    let (before, rest) = text.take(|b| !is_word(b));
    let (word, after) = rest.take(is_word);
    if !word.is_empty() && (!before.is_empty() || !after.is_empty()) {
        faults.push(Fault::advice(text.span(), format!("`{}` is read as `{}`", text.shown(), word.shown())));
    }
    word
}

/// A word that is none of those allowed: the complaint, and which one was likely meant.
pub fn strange(
    directive: &Directive,
    word: Text,
    complaint: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Fault {
    let span = if word.is_empty() { directive.value.trim().span() } else { word.span() };
    Fault::error(span, complaint).help(did_you_mean(&word.shown(), known, &directive.key.allowed()))
}

/// The known word that was likely meant, if any, and what is allowed.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, allowed: &str) -> String {
    match closest(word, known) {
        Some(meant) => format!("did you mean `{meant}`? {allowed}"),
        None => allowed.into(),
    }
}

/// A text as an option of a check: tabs are four blanks, as everywhere in this format.
pub fn given(text: Text) -> Given {
    let mut bytes = Vec::with_capacity(text.bytes.len());
    for &byte in text.bytes {
        match byte {
            b'\t' => bytes.extend_from_slice(b"    "),
            _ => bytes.push(byte),
        }
    }
    Given { text: bytes, span: text.span() }
}

/// A value that should begin with a quote and does not.
fn unquoted(directive: &Directive, text: Text) -> Fault {
    const TYPOGRAPHIC: [&[u8]; 5] =
        ["\u{201c}".as_bytes(), "\u{201d}".as_bytes(), "\u{201e}".as_bytes(), "\u{ff02}".as_bytes(), b"'"];
    let bare = text.take(|b| !is_blank(b)).0;
    if TYPOGRAPHIC.iter().any(|quote| text.bytes.starts_with(quote)) {
        return unknown(directive, text.span(), "only plain double quotes (\") are quotes");
    }
    let name = directive.key.name;
    let shown = if is_secret(name) { "…".into() } else { bare.shown() };
    unknown(directive, text.span(), &format!("put it in double quotes: {name}=\"{shown}\""))
}

/// What ldirectord says of a line that it can not make out.
fn unknown(directive: &Directive, span: Span, help: &str) -> Fault {
    Fault::error(span, directive.line.unknown()).help(help)
}
