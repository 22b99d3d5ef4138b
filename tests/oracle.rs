//! What the real ldirectord made of configurations, beside what we make of them. Its answers are recorded
//! (`make oracle`); here the files are only read, `kernel::oracle` runs them.
//!
//! The cases are our own, and the corpus where it lies beside the repository. What differs stands in
//! `tests/oracle/DIFFERENCES` with its reason; what stands there and does not differ is a failure too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use lvsentry::config::diagnostic::Report;
use lvsentry::config::names::port_in;
use lvsentry::config::{Names, SystemNames, load_with};
use lvsentry::model::{Family, Protocol};
use lvsentry::probe::{self, Kind};
use lvsentry::span::{Severity, Source};

use crate::config::fake::{self, FakeNames};
use crate::support::daemon::binary;

/// A configuration with ldirectord's recorded answers beside it.
pub(crate) struct Case {
    /// The file's name without its suffix.
    pub(crate) name: String,
    /// The configuration.
    pub(crate) path: PathBuf,
}

/// What a director made of a configuration.
pub(crate) struct Answer {
    /// accepted, rejected, died or exited.
    pub(crate) verdict: String,
    /// The first error of ldirectord's: line and text.
    pub(crate) error: Option<(u32, String)>,
    /// The kernel's table.
    pub(crate) table: Vec<String>,
}

impl Answer {
    /// Reads what `tests/oracle/judge.py` wrote.
    pub(crate) fn read(path: &Path) -> Answer {
        let text = fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let text = String::from_utf8_lossy(&text);
        let (head, table) = text.split_once("table:\n").expect("a table");
        let verdict = head.lines().next().and_then(|line| line.strip_prefix("verdict: ")).expect("a verdict");
        let error = head.lines().find_map(|line| {
            let rest = line.trim_start().strip_prefix("Error [PID] reading file CONFIG at line ")?;
            let (line, text) = rest.split_once(": ")?;
            Some((line.parse().ok()?, text.to_owned()))
        });
        let table = table.lines().map(str::to_owned).collect();
        Answer { verdict: verdict.to_owned(), error, table }
    }

    /// Whether the parser refused the file.
    pub(crate) fn refused(&self) -> bool {
        self.verdict == "rejected"
    }
}

impl Case {
    /// What ldirectord made of it, with all addresses unreachable (`down`) or all servers answering (`up`).
    pub(crate) fn answer(&self, state: &str) -> Answer {
        Answer::read(&self.path.with_extension(format!("expected.{state}.txt")))
    }
}

/// The project's own cases.
pub(crate) fn own() -> Vec<Case> {
    cases(&here().join("cases"))
}

/// Configurations that people use; they are not ours to ship.
pub(crate) fn corpus() -> Option<Vec<Case>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let folder = std::env::var_os("LVSENTRY_CORPUS").map_or(beside, PathBuf::from);
    folder.is_dir().then(|| cases(&folder))
}

pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

fn cases(folder: &Path) -> Vec<Case> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|e| e == "cf"));
    let case = |path: PathBuf| Case { name: path.file_stem().unwrap().to_string_lossy().into_owned(), path };
    let mut cases: Vec<Case> = files.map(case).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// In which way an answer may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Whether the file is accepted.
    Parse,
    /// What is said of a file that both refuse.
    Message,
    /// The table while all addresses are unreachable.
    Down,
    /// The table while all servers answer.
    Up,
}

/// Collects what differs and compares it with `tests/oracle/DIFFERENCES`.
pub(crate) struct Comparison {
    /// Named differences of those kinds that this comparison looks at.
    named: BTreeSet<(String, What)>,
    unnamed: Vec<String>,
    compared: usize,
}

impl Comparison {
    /// For these ways to differ, and the cases that are there.
    pub(crate) fn new(ways: &[What], cases: &[Case]) -> Comparison {
        let there: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let named =
            named().into_keys().filter(|(name, way)| ways.contains(way) && there.contains(name.as_str()));
        Comparison { named: named.collect(), unnamed: Vec::new(), compared: 0 }
    }

    /// Takes note of whether a case differs in a way, and how.
    pub(crate) fn note(&mut self, case: &Case, way: What, difference: Option<String>) {
        self.compared += 1;
        let Some(how) = difference else { return };
        if !self.named.remove(&(case.name.clone(), way)) {
            self.unnamed.push(format!("{} {way:?}: {how}", case.name));
        }
    }

    /// Fails for differences without a name and names without a difference.
    pub(crate) fn finish(self) {
        let (unnamed, stale) = (self.unnamed, self.named);
        println!("{} comparisons", self.compared);
        assert!(
            unnamed.is_empty() && stale.is_empty(),
            "{} differences that tests/oracle/DIFFERENCES does not name:\n{}\nNamed there, but no difference: {stale:?}",
            unnamed.len(),
            unnamed.join("\n"),
        );
    }
}

/// The named differences with their reasons.
pub(crate) fn named() -> BTreeMap<(String, What), String> {
    let text = fs::read_to_string(here().join("DIFFERENCES")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut named = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let (Some(name), Some(ways)) = (words.next(), words.next()) else {
            panic!("DIFFERENCES: not `NAME WHAT REASON`: {line}");
        };
        let reason = words.collect::<Vec<_>>().join(" ");
        assert!(!reason.is_empty(), "DIFFERENCES: a reason is missing: {line}");
        for way in ways.split(',') {
            let what = match way {
                "parse" => What::Parse,
                "message" => What::Message,
                "down" => What::Down,
                "up" => What::Up,
                other => panic!("DIFFERENCES: what is `{other}`? {line}"),
            };
            let before = named.insert((name.to_owned(), what), reason.clone());
            assert!(before.is_none(), "DIFFERENCES: twice: {line}");
        }
    }
    named
}

/// The names that the oracle knows: `tests/oracle/hosts`, and what its resolver makes of numbers.
pub(crate) struct Hosts(FakeNames);

impl Hosts {
    pub(crate) fn new() -> Hosts {
        Hosts(FakeNames::new(&fs::read_to_string(here().join("hosts")).unwrap()))
    }
}

const SERVICES: &str = "http 80/tcp www\nhttps 443/tcp\nhttps 443/udp\nsmtp 25/tcp mail\ndomain 53/tcp\n\
    domain 53/udp\ntftp 69/udp\nsip 5060/tcp\nsip 5060/udp\nldap 389/tcp\npop3 110/tcp\nimap2 143/tcp imap\n\
    ftp 21/tcp\nmysql 3306/tcp\n";

impl Names for Hosts {
    fn host(&self, name: &str, family: Family) -> Result<IpAddr, String> {
        let number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        let is_number = name.split('.').all(number) || name.starts_with("0x") || name.contains(':');
        if is_number { SystemNames::default().host(name, family) } else { self.0.host(name, family) }
    }

    fn port(&self, name: &str, protocol: Option<Protocol>) -> Option<u16> {
        port_in(SERVICES, name, protocol)
    }

    fn this_host(&self) -> String {
        "director.example.com".to_owned()
    }
}

/// The program's own kinds of check; fakes for those that this tree has not.
fn kinds(name: &str) -> Option<&'static Kind> {
    probe::kind(name).or_else(|| fake::kind(name))
}

#[test]
fn files_are_accepted_or_refused_as_by_ldirectord() {
    compare(&own());
}

#[test]
fn files_of_the_corpus_are_accepted_or_refused_as_by_ldirectord() {
    match corpus() {
        Some(cases) => compare(&cases),
        None => crate::support::skip("no corpus beside the repository; LVSENTRY_CORPUS=FOLDER names one"),
    }
}

#[test]
fn the_program_refuses_what_ldirectord_refuses() {
    let named = named();
    let both =
        |case: &Case| case.answer("down").refused() && !named.contains_key(&(case.name.clone(), What::Parse));
    for case in own().iter().filter(|case| both(case)) {
        let output = Command::new(binary()).arg("check").arg(&case.path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}: {output:?}", case.name);
    }
}

#[test]
fn every_named_difference_is_about_a_case_that_there_is() {
    let mut there: BTreeSet<String> = own().into_iter().map(|case| case.name).collect();
    let Some(corpus) = corpus() else { return };
    there.extend(corpus.into_iter().map(|case| case.name));
    let gone: Vec<_> = named().into_keys().filter(|(name, _)| !there.contains(name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

fn compare(cases: &[Case]) {
    let hosts = Hosts::new();
    let mut comparison = Comparison::new(&[What::Parse, What::Message], cases);
    for case in cases {
        let theirs = case.answer("down");
        let source = Source::new(case.name.as_str(), fs::read(&case.path).unwrap());
        let ours = load_with(source, &hosts, kinds);
        let parse = match (&ours, theirs.refused()) {
            (Ok(_), true) => Some(format!("ldirectord refuses it: {:?}", theirs.error)),
            (Err(report), false) => Some(format!("ldirectord accepts it, we say\n{report}")),
            _ => None,
        };
        comparison.note(case, What::Parse, parse);
        if let (Err(report), true) = (&ours, theirs.refused()) {
            comparison.note(case, What::Message, unsaid(report, &theirs));
        }
    }
    comparison.finish();
}

/// What ldirectord says and we do not.
fn unsaid(report: &Report, theirs: &Answer) -> Option<String> {
    let (line, text) = theirs.error.as_ref().expect("an error of a file that is refused");
    let place = |span: &std::ops::Range<usize>| report.source.line(span.start);
    let says = |fault: &lvsentry::span::Fault| {
        fault.severity == Severity::Error
            && fault.message.trim_end_matches('"') == text.trim_end_matches('"')
            && fault.span.as_ref().map(place) == Some(*line)
    };
    (!report.faults.iter().any(says)).then(|| format!("line {line}, {text:?} is not among\n{report}"))
}
