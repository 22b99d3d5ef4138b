//! All that is wrong in a configuration, and how it prints. Pure.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::config::keys;
use crate::span::{Fault, Severity, Source, Span};

/// Faults on their way into a [`Report`].
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether the configuration is refused already.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// The value, if there is one; else the fault that says why is added.
    pub fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.0.push(fault)).ok()
    }
}

/// The faults of one configuration, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The text they are about.
    pub source: Source,
    /// The faults, those without a place first, each once.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Puts the faults in order.
    pub fn new(source: Source, faults: Faults) -> Report {
        let mut faults = faults.0;
        faults.sort_by_key(|fault| fault.span.as_ref().map(|span| (span.start, span.end)));
        faults.dedup();
        Report { source, faults }
    }

    /// The errors: what makes it refused.
    pub fn errors(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.severity == Severity::Error)
    }

    /// The mistakes: errors all the same, which ldirectord accepts and so do we.
    pub fn mistakes(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.severity == Severity::Mistake)
    }

    /// The warnings, advice included.
    pub fn warnings(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.severity <= Severity::Warning)
    }

    /// Whether the configuration is refused.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The whole report for people, an empty line between faults; with the colours of a terminal
    /// on request.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let faults: Vec<String> =
            self.faults.iter().map(|fault| self.render_fault(fault, &renderer)).collect();
        faults.join("\n\n")
    }

    fn render_fault(&self, fault: &Fault, renderer: &Renderer) -> String {
        let level = match fault.severity {
            Severity::Error | Severity::Mistake => Level::ERROR,
            Severity::Warning | Severity::Advice => Level::WARNING,
        };
        let title = level.primary_title(&fault.message);
        let group = match &fault.span {
            Some(span) => title.element(self.excerpt(span)),
            None => title.element(Origin::path(&*self.source.name)),
        };
        renderer.render(&[with_help(group, fault.help.as_deref())])
    }

    /// The line of a span with a caret below. Only that line is handed on, so that rendering
    /// costs the same wherever it stands.
    fn excerpt(&self, span: &Span) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let line = self.source.line_span(span.start);
        let bytes = &self.source.text[line.clone()];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let start = span.start.clamp(line.start, line.start + bytes.len()) - line.start;
        let end = span.end.clamp(line.start + start, line.start + bytes.len()) - line.start;
        let veil = veil(bytes);
        let read = |from: usize, to: usize| shown(bytes, from, to, veil);
        let (mut text, marked) = (read(0, start), read(start, end));
        let from = text.len();
        text.push_str(&marked);
        let to = text.len();
        text.push_str(&read(end, bytes.len()));
        Snippet::source(text)
            .path(&*self.source.name)
            .line_start(self.source.line(span.start) as usize)
            .annotation(AnnotationKind::Primary.span(from..to))
    }
}

/// Where in a line it begins that nobody may see, its end if nowhere: what follows the name of a
/// password; in YAML (`NAME: VALUE`) what follows a `url` too, which can hold a token.
fn veil(line: &[u8]) -> usize {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-';
    let mut at = 0;
    let mut first = true;
    while let Some(start) = line[at..].iter().position(is_name).map(|skipped| at + skipped) {
        let end = line[start..].iter().position(|b| !is_name(b)).map_or(line.len(), |length| start + length);
        let name = String::from_utf8_lossy(&line[start..end]);
        let after = line[end..].trim_ascii_start().strip_prefix(b"\"").unwrap_or(&line[end..]);
        let is_key = after.trim_ascii_start().starts_with(b":");
        if (first || is_key) && keys::is_secret(&name) || is_key && name == "url" {
            return end;
        }
        first = false;
        at = end;
    }
    line.len()
}

/// A part of a line as it is shown, with what lies behind the veil hidden: a star for a character,
/// so that places stay what they are.
fn shown(line: &[u8], from: usize, to: usize, veil: usize) -> String {
    let veil = veil.clamp(from, to);
    let hide = |c: char| if c.is_ascii_whitespace() || matches!(c, '=' | ':') { c } else { '*' };
    let behind = String::from_utf8_lossy(&line[veil..to]);
    String::from_utf8_lossy(&line[from..veil]).chars().chain(behind.chars().map(hide)).collect()
}

fn with_help<'a>(group: Group<'a>, help: Option<&'a str>) -> Group<'a> {
    match help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
