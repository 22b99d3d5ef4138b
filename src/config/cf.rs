//! The text of an `ldirectord.cf` → directives: lines, indentation, blocks and comments. Pure.
//!
//! ```text
//! checktimeout = 3           a global directive: in the first column, anywhere in the file
//! virtual = 192.0.2.1:80     begins a block, in the first column
//!     real = 10.0.0.1:80 …   an option: 4 columns or more (a tab counts 4, wherever it stands)
//! # …                        a comment line: any indentation, does not end a block
//!                            an empty line ends the block, as does whatever is no option
//! ```
//!
//! A line that stands in the wrong place is an error; parsing goes on as if it stood in the place
//! where it belongs, so that one slip does not make an error of each line that follows.

use crate::config::diagnostic::Faults;
use crate::config::keys::{self, Key};
use crate::config::raw::{self, Block, Directive, Raw, Text, is_blank};
use crate::span::{Fault, Source, Span};

/// Columns by which an option is indented at least.
const INDENT: usize = 4;

/// Reads a whole file.
pub fn parse<'a>(source: &'a Source, faults: &mut Faults) -> Raw<'a> {
    let mut text = Text { bytes: &source.text, at: 0 };
    if text.after(b"\xef\xbb\xbf").is_some() {
        let first = Text { bytes: &source.text[source.line_span(0)], at: 0 };
        let line = raw::Line { text: first, in_block: false };
        let fault = Fault::error(0..3, line.unknown());
        faults.push(fault.help("the file begins with a byte order mark: save it without one"));
        text = text.from(3);
    }
    if let Some(at) = text.bytes.windows(2).position(|pair| pair == b"\r\n") {
        let at = text.at + at;
        faults.push(
            Fault::advice(at..at, "lines end with CR LF, as on Windows; the CRs are left out")
                .help("ldirectord takes them as part of the values; `sed -i 's/\\r$//' FILE` removes them"),
        );
    }
    let mut parser = Parser { source, raw: Raw::default(), faults, open: false, ended: 0 };
    let mut at = text.at;
    for line in text.bytes.split(|&b| b == b'\n') {
        let bytes = line.strip_suffix(b"\r").unwrap_or(line);
        parser.line(Text { bytes, at });
        at += line.len() + 1;
    }
    parser.raw
}

struct Parser<'a, 'f> {
    source: &'a Source,
    raw: Raw<'a>,
    faults: &'f mut Faults,
    /// Whether options are taken: we are in a block.
    open: bool,
    /// The line that ended the last block.
    ended: u32,
}

/// A line that says something, taken apart.
struct Line<'a> {
    /// All of it, and where it stands.
    raw: raw::Line<'a>,
    /// What follows the indentation.
    content: Text<'a>,
    /// The width of the indentation.
    columns: usize,
    /// The word before `=`, if the line has this form.
    name: Text<'a>,
    /// Whether the line has the form `NAME = VALUE`.
    assigns: bool,
    /// The directive of that name, if it has.
    key: Option<&'static Key>,
    /// What follows `=` and blanks.
    value: Text<'a>,
}

impl<'a> Line<'a> {
    fn read(line: Text<'a>, open: bool) -> Line<'a> {
        let (indent, content) = line.take(is_blank);
        let columns = indent.bytes.iter().map(|&b| if b == b'\t' { INDENT } else { 1 }).sum();
        let (name, rest) = content.take(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let value = rest.trim_start().after(b"=");
        let assigns = value.is_some() && !name.is_empty();
        let key = if assigns { keys::find(name.bytes) } else { None };
        let raw = raw::Line { text: line, in_block: open && columns >= INDENT };
        Line { raw, content, columns, name, assigns, key, value: value.unwrap_or(rest).trim_start() }
    }

    fn directive(&self, key: &'static Key, value: Text<'a>) -> Directive<'a> {
        Directive { key, name: self.name.span(), value, line: self.raw }
    }
}

impl<'a> Parser<'a, '_> {
    fn line(&mut self, text: Text<'a>) {
        let line = Line::read(text, self.open);
        match line.content.bytes.first() {
            Some(b'#') => {}
            None => self.blank(text, line.columns),
            Some(_) if self.open && line.columns >= INDENT => self.option(&line),
            Some(_) if is_supervised(&line) => {
                self.close(text.at);
                self.supervised(&line);
            }
            // Not even a directive: an error, after which the block goes on.
            Some(_) if line.key.is_none() => self.unknown(&line),
            Some(_) => {
                self.close(text.at);
                self.global(&line);
            }
        }
    }

    fn close(&mut self, at: usize) {
        if self.open {
            self.open = false;
            self.ended = self.source.line(at);
        }
    }

    /// A line without content ends a block.
    fn blank(&mut self, text: Text<'a>, columns: usize) {
        if self.open && columns > INDENT {
            let fault =
                Fault::advice(text.span(), "a line of blanks is taken as an empty line: it ends the block");
            self.faults.push(fault.help("ldirectord refuses a line of more than 4 blanks in a block"));
        }
        self.close(text.at);
    }

    /// A line in a block.
    fn option(&mut self, line: &Line<'a>) {
        match line.key {
            Some(key) if key.is_option() => self.push_option(line, key),
            Some(key) if key.is_head() => {
                self.misplaced(line, format!("`{}` must start in the first column", key.name));
                self.push_block(line, key);
            }
            Some(key) => {
                let help = format!("`{}` is a global directive: it must start in the first column", key.name);
                self.misplaced(line, help);
            }
            None => self.unknown(line),
        }
    }

    /// A line outside of a block.
    fn global(&mut self, line: &Line<'a>) {
        match line.key {
            None => self.unknown(line),
            Some(key) if line.columns > 0 => self.indented(line, key),
            Some(key) if key.is_head() => self.push_block(line, key),
            Some(key) if key.is_global() => self.raw.globals.push(line.directive(key, line.value)),
            Some(key) => {
                let name = key.name;
                self.misplaced(
                    line,
                    format!("`{name}` belongs to a virtual: indent it by 4 blanks or a tab"),
                );
                self.recover(line, key);
            }
        }
    }

    /// A line outside of a block that does not start in the first column.
    fn indented(&mut self, line: &Line<'a>, key: &'static Key) {
        let help = match self.raw.blocks.last() {
            _ if key.is_head() => format!("`{}` must start in the first column", key.name),
            Some(_) if key.is_option() && line.columns < INDENT => format!(
                "options of a virtual are indented by 4 blanks or a tab at least, this line by {}",
                line.columns
            ),
            Some(block) if key.is_option() => format!(
                "the block of `{}={}` (line {}) ended at line {}: an empty line, or one that is not indented, ends it",
                block.head.key.name,
                block.head.value.shown(),
                self.source.line(block.head.name.start),
                self.ended
            ),
            _ if key.is_global() => "global directives must start in the first column".into(),
            _ => format!("`{}` belongs below a `virtual=` line", key.name),
        };
        self.misplaced(line, help);
        self.recover(line, key);
    }

    /// Goes on after an error as if the line stood in its place.
    fn recover(&mut self, line: &Line<'a>, key: &'static Key) {
        if key.is_head() {
            self.push_block(line, key);
        } else if key.is_option() && !self.raw.blocks.is_empty() {
            self.open = true;
            self.push_option(line, key);
        } else if key.is_global() {
            self.raw.globals.push(line.directive(key, line.value));
        }
    }

    fn push_block(&mut self, line: &Line<'a>, key: &'static Key) {
        let head = line.directive(key, cut_comment(line.value));
        self.raw.blocks.push(Block { head, options: Vec::new() });
        self.open = true;
    }

    fn push_option(&mut self, line: &Line<'a>, key: &'static Key) {
        let option = line.directive(key, cut_comment(line.value));
        if let Some(block) = self.raw.blocks.last_mut() {
            block.options.push(option);
        }
    }

    /// `supervised` alone means yes; with anything behind that gives it no value, it is wrong.
    fn supervised(&mut self, line: &Line<'a>) {
        let span = line.content.trim().span();
        if line.content.trim().bytes != b"supervised" {
            let fault = Fault::error(span, "supervised must be 'yes' or 'no'");
            return self.faults.push(fault.help("supervised=yes"));
        }
        if let Some(key) = keys::find(b"supervised") {
            let value = Text { bytes: b"yes", at: span.start };
            self.raw.globals.push(Directive { key, name: span.clone(), value, line: line.raw });
        }
        let text = "please update your config not to use a bare supervised directive";
        self.faults.push(Fault::warning(span, text).help("supervised=yes"));
    }

    /// A directive where it may not stand. ldirectord knows no difference to an unknown one.
    fn misplaced(&mut self, line: &Line<'a>, help: String) {
        self.unknown_command(line, line.name.span(), help);
    }

    /// A line that is no directive at all.
    fn unknown(&mut self, line: &Line<'a>) {
        let content = line.content.trim();
        if !line.assigns {
            let help = match content.bytes.first() {
                Some(b'[') => "there are no sections in this format",
                _ => "a line is NAME=VALUE; a comment needs a # on each of its lines",
            };
            return self.unknown_command(line, content.span(), help.into());
        }
        let name = line.name.shown();
        let help = match keys::meant(&name) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "no directive has this name".into(),
        };
        self.unknown_command(line, line.name.span(), help);
    }

    fn unknown_command(&mut self, line: &Line<'a>, span: Span, help: String) {
        let message = line.raw.unknown();
        self.faults.push(Fault::error(span, message).help(help));
    }
}

/// Whether a line begins with `supervised` and gives it no value.
fn is_supervised(line: &Line) -> bool {
    line.columns == 0 && !line.assigns && line.content.after(b"supervised").is_some()
}

/// The value up to a comment. A `#` within quotes is none.
pub fn cut_comment(value: Text<'_>) -> Text<'_> {
    let quotes = value.bytes.iter().filter(|&&b| b == b'"').count();
    let mut seen = 0;
    for (i, &byte) in value.bytes.iter().enumerate() {
        match byte {
            b'"' => seen += 1,
            b'#' if seen % 2 == 0 || seen == quotes => return value.part(0, i),
            _ => {}
        }
    }
    value
}
