//! The program called by the name of ldirectord: its command line, exit statuses, pid files and
//! messages, so that what was built around that program keeps working.
//!
//! ```text
//! options ─▶ Order ─▶ the configuration is found and read ─▶ action ─┬─ pid file: signals, status
//!                                                                    └─ daemon: starts one, or is it
//! ```
//!
//! Every action reads the configuration first. Where that is refused, all but `start`, `restart`
//! and `reload` do their work all the same, and the exit status tells of it.

mod action;
mod daemon;
pub mod options;
pub mod pidfile;
mod text;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Faults, Report};
use crate::config::{self, Loaded, LogTarget, SystemNames};
use crate::daemon::journal;
use crate::span::{Fault, Severity};
use options::{Asked, Order};
use pidfile::PidFile;

/// Exit status: something failed, or a pid file is stale.
const FAILED: u8 = 1;
/// Exit status: the configuration is refused.
const REFUSED: u8 = 2;
/// Exit status of `status`: nothing runs.
const STOPPED: u8 = 3;
/// Exit status: a wrong command line.
const USAGE: u8 = 255;

/// Whether a program of this name is to be ldirectord.
pub fn is_called(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(OsStr::new("ldirectord"))
}

/// Does what the command line asks for; `name` is what the program was called by. The answer is
/// the exit status.
pub fn main(name: &OsStr, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    // Whoever closed the other end has seen enough.
    let print = |text: &str| drop(stdout().write_all(text.as_bytes()));
    match options::parse(arguments) {
        Asked::Do(order) => Called::new(name, order).obey(),
        Asked::Help => {
            print(text::USAGE);
            print(text::MANUAL);
            0
        }
        Asked::Version => {
            print(&text::version());
            0
        }
        Asked::Usage(complaints) => {
            complaints.iter().for_each(complain);
            print(text::USAGE);
            USAGE
        }
    }
}

/// Says something on standard error; unlike `eprintln!` it does not mind when nobody reads there.
fn complain(what: impl fmt::Display) {
    let _ = writeln!(stderr(), "{what}");
}

/// One call of the program.
struct Called {
    /// The path we were called by.
    program: OsString,
    order: Order,
    /// The name of the instance.
    instance: OsString,
    pid_file: PidFile,
}

/// A configuration that can be used, and where it is.
struct Found {
    /// As ldirectord would name it.
    path: PathBuf,
    loaded: Loaded,
}

/// Why there is none.
enum Missing {
    /// It does not exist: the name that was looked for.
    File(OsString),
    Refused(Report),
}

impl Missing {
    /// The name of the file, as far as it is known.
    fn name(&self) -> Cow<'_, str> {
        match self {
            Missing::File(name) => name.to_string_lossy(),
            Missing::Refused(report) => Cow::Borrowed(&report.source.name),
        }
    }
}

impl Called {
    fn new(name: &OsStr, order: Order) -> Called {
        let instance = instance(order.config.as_deref());
        let pid_file = PidFile::of(&instance);
        Called { program: program(name), order, instance, pid_file }
    }

    fn obey(&self) -> u8 {
        let found = self.find();
        if daemon::is_it() { self.be_daemon(found) } else { self.act(found) }
    }

    /// Finds the configuration and reads it.
    fn find(&self) -> Result<Found, Missing> {
        let name = self.order.config.clone().unwrap_or_else(|| "ldirectord.cf".into());
        let Some(path) = config::find(&name) else { return Err(Missing::File(name)) };
        let loaded = load(&path).map_err(Missing::Refused)?;
        Ok(Found { path, loaded })
    }
}

/// Reads a configuration. A log file that can't be written is a fault of it, as with ldirectord.
fn load(path: &Path) -> Result<Loaded, Report> {
    let loaded = config::load(path, &SystemNames::new())?;
    unwritable_log(&loaded).map_or(Ok(loaded), Err)
}

/// The path of the program: a bare name was found by the shell in `PATH`.
fn program(name: &OsStr) -> OsString {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return name.to_owned();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|path| path.is_file());
    found.map_or_else(|| name.to_owned(), PathBuf::into_os_string)
}

/// The name of an instance: the last component of its configuration's name, suffix and all.
fn instance(config: Option<&OsStr>) -> OsString {
    let last = config.and_then(|config| Path::new(config).file_name());
    last.unwrap_or(OsStr::new("ldirectord")).to_owned()
}

/// The fault of a log file that was named and can't be written, as ldirectord finds it.
fn unwritable_log(loaded: &Loaded) -> Option<Report> {
    let LogTarget::File(path) = &loaded.config.log else { return None };
    let source = &loaded.report.source;
    let (start, _) = lines(&source.text).filter(|(_, line)| line.starts_with(b"logfile")).last()?;
    let why = OpenOptions::new().append(true).create(true).open(path).err()?;
    let span = source.line_span(start);
    let message = format!("unable to open logfile: {}", path.display());
    let mut faults = Faults::default();
    loaded.report.faults.iter().cloned().for_each(|fault| faults.push(fault));
    faults.push(Fault::error(span, message).help(why.to_string()));
    Some(Report::new(source.clone(), faults))
}

/// The lines of a text and where they begin.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    text.split(|&b| b == b'\n').map(move |line| {
        let start = at;
        at += line.len() + 1;
        (start, line)
    })
}

/// Tells the faults of a configuration: each begins with ldirectord's line, and excerpt and hint follow.
/// Of a file that is accepted only what ldirectord says too: who runs `status` every minute wants
/// no advice each time. The log and `lvsentry check` have all of it.
fn tell(report: &Report) {
    let colours = stderr().is_terminal();
    let refused = report.has_errors();
    let told = |fault: &&Fault| match fault.severity {
        Severity::Error | Severity::Warning => true,
        Severity::Mistake => refused,
        Severity::Advice => false,
    };
    for fault in report.faults.iter().filter(told) {
        complain(journal::fault_line(report, fault));
        let alone = Report { source: report.source.clone(), faults: vec![fault.clone()] };
        // Its first line says what ours said.
        if let Some((_, rest)) = alone.render(colours).split_once('\n') {
            complain(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_component_of_the_name_counts() {
        for name in ["ldirectord", "/usr/sbin/ldirectord", "./ldirectord", "/etc/ha.d/resource.d/ldirectord"]
        {
            assert!(is_called(OsStr::new(name)), "{name}");
        }
        for name in ["lvsentry", "/opt/ldirectord/lvsentry", "ldirectord.pl", ""] {
            assert!(!is_called(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn an_instance_has_the_name_of_its_file() {
        let named = |config: Option<&str>| instance(config.map(OsStr::new)).into_string().unwrap();
        assert_eq!(named(None), "ldirectord");
        assert_eq!(named(Some("ldirectord.cf")), "ldirectord.cf");
        assert_eq!(named(Some("/etc/ha.d/web.cf")), "web.cf");
        assert_eq!(named(Some("..")), "ldirectord");
    }

    #[test]
    fn lines_are_found_where_they_begin() {
        let found: Vec<_> = lines(b"a\n\nbc").collect();
        assert_eq!(found, [(0, &b"a"[..]), (2, b""), (3, b"bc")]);
    }
}
