//! `ldirectord.cf` → YAML that means the very same, with the comments of the old file. Pure.
//!
//! What is written comes from the [`Draft`], so that it is what holds and not what was typed:
//! inheritance done, names of services and ports looked up. A value that the old file leaves to a
//! default that people are often wrong about is written out with a remark.

pub mod comments;
pub mod text;

mod common;
mod service;

use crate::config::LogTarget;
use crate::config::draft::{Draft, Said};
use crate::span::{Source, Span};
use comments::{Comments, Remarks};
use common::Common;
use text::{bytes, comment, scalar};

/// A line to be written, with what is said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    remarks: Remarks,
    text: String,
}

impl Line {
    fn new(text: impl Into<String>) -> Line {
        Line { remarks: Remarks::default(), text: text.into() }
    }

    fn with(text: impl Into<String>, remarks: Remarks) -> Line {
        Line { remarks, text: text.into() }
    }

    /// The same with a remark of ours at its end, unless there is one of the old file.
    fn note(mut self, note: &str) -> Line {
        self.remarks.beside.get_or_insert_with(|| note.to_owned());
        self
    }
}

/// The text of a whole file. `forgiving` says that the old file has checks that can not be made,
/// which ldirectord accepts.
pub fn yaml(source: &Source, draft: &Draft, forgiving: bool) -> String {
    let mut writer = Writer { comments: Comments::find(source), out: String::new() };
    let common = Common::of(draft);
    let head = daemon(draft, forgiving, &mut writer.comments);
    let defaults = common.lines(&mut writer.comments);
    // Each block is made before it is written: comments that no value takes stand above it.
    let mut blocks = Vec::new();
    for service in &draft.services {
        let lines = service::lines(service, &common, &mut writer.comments);
        blocks.push((service, lines));
    }
    let first = draft.services.first().map(|service| service.line.start);
    let above = first.map_or_else(Vec::new, |at| writer.comments.rest_to(at));
    let whole = std::mem::take(&mut writer.comments.head);
    writer.remarks(0, &whole);
    writer.remarks(0, &above);
    writer.lines(0, &head);
    if !defaults.is_empty() {
        writer.line(0, &Line::new("defaults:"));
        writer.lines(2, &defaults);
    }
    writer.lines(0, &common.alerts());
    let nobody = blocks.iter().all(|(_, lines)| lines.is_none());
    writer.out.push_str(if nobody { "services: []\n" } else { "services:\n" });
    for (i, (service, lines)) in blocks.iter().enumerate() {
        let above = writer.comments.rest_to(service.line.start);
        let end = draft.services.get(i + 1).map_or(source.text.len(), |next| next.line.start);
        let inside = writer.comments.rest_to(end.saturating_sub(1));
        if i > 0 {
            writer.out.push('\n');
        }
        writer.remarks(2, &above);
        writer.remarks(2, &inside);
        match lines {
            Some(lines) => writer.member(2, lines),
            None => {
                writer.remarks(2, &[format!("{}: left out, since the kernel refuses it", service.key.id())])
            }
        }
    }
    let rest = writer.comments.rest();
    writer.remarks(0, &rest);
    writer.out
}

/// What concerns the daemon as a whole.
fn daemon(draft: &Draft, forgiving: bool, comments: &mut Comments) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut put = |span: &Option<Span>, text: String| lines.push(Line::with(text, taken(span, comments)));
    if forgiving {
        put(&None, "forgiving: true".into());
    }
    if draft.autoreload.span.is_some() {
        put(&draft.autoreload.span, format!("autoreload: {}", draft.autoreload.value));
    }
    put(&draft.log.span, format!("log: {}", log(&draft.log.value)));
    if let Some(said) = &draft.callback {
        put(&said.span, format!("callback: {}", path(&said.value)));
    }
    if let Some(Said { span, .. }) = draft.execute.first() {
        let names: Vec<String> = draft.execute.iter().map(|said| scalar(&said.value)).collect();
        put(span, format!("execute: [{}]", names.join(", ")));
    }
    if let Some(said) = &draft.maintenance {
        put(&said.span, format!("maintenance_dir: {}", path(&said.value)));
    }
    if let Some(first) = lines.first_mut().filter(|_| forgiving) {
        *first = std::mem::take(first).note("the old file has mistakes that ldirectord accepts: see `check`");
    }
    lines
}

fn log(target: &LogTarget) -> String {
    match target {
        LogTarget::File(file) => format!("{{ file: {} }}", path(file)),
        LogTarget::Stdout => "stdout".into(),
        LogTarget::Syslog(facility) => format!("{{ syslog: {} }}", scalar(facility)),
    }
}

fn path(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    bytes(path.as_os_str().as_bytes())
}

/// What is said about the line of a value.
fn taken(span: &Option<Span>, comments: &mut Comments) -> Remarks {
    span.as_ref().map(|span| comments.take(span)).unwrap_or_default()
}

struct Writer<'s> {
    comments: Comments<'s>,
    out: String,
}

impl Writer<'_> {
    fn remarks(&mut self, indent: usize, remarks: &[String]) {
        for text in remarks {
            self.out.push_str(&format!("{:indent$}{}\n", "", comment(text)));
        }
    }

    fn line(&mut self, indent: usize, line: &Line) {
        let deeper = line.text.len() - line.text.trim_start().len();
        self.remarks(indent + deeper, &line.remarks.above);
        self.text(indent, "", line);
    }

    fn lines(&mut self, indent: usize, lines: &[Line]) {
        lines.iter().for_each(|line| self.line(indent, line));
    }

    /// A member of a list: the first line has the dash.
    fn member(&mut self, indent: usize, lines: &[Line]) {
        for (i, line) in lines.iter().enumerate() {
            if i == 0 {
                self.remarks(indent, &line.remarks.above);
                self.text(indent, "- ", line);
            } else {
                self.line(indent + 2, line);
            }
        }
    }

    fn text(&mut self, indent: usize, dash: &str, line: &Line) {
        let beside = line.remarks.beside.as_ref().map(|text| format!("  {}", comment(text)));
        self.out.push_str(&format!("{:indent$}{dash}{}{}\n", "", line.text, beside.unwrap_or_default()));
    }
}
