//! ldirectord's command line as a value. Pure.
//!
//! Options come first and end at the first word that is none, or at `--`. Short ones can be bundled
//! (`-dv`), long ones cannot be abbreviated. Then follow the configuration, if it is not the
//! default one, and the action; whatever comes after those is ignored.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What is to be done with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Starts its daemon.
    Start,
    /// Ends it.
    Stop,
    /// Ends it and starts another one.
    Restart,
    /// The same, but only when there is one.
    TryRestart,
    /// Makes it read its configuration again (`reload` and `force-reload`).
    Reload,
    /// Says whether it runs.
    Status,
}

impl Action {
    /// The action of a word.
    fn named(word: &OsStr) -> Option<Action> {
        Some(match word.as_bytes() {
            b"start" => Action::Start,
            b"stop" => Action::Stop,
            b"restart" => Action::Restart,
            b"try-restart" => Action::TryRestart,
            b"reload" | b"force-reload" => Action::Reload,
            b"status" => Action::Status,
            _ => return None,
        })
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The manual.
    Help,
    /// Who we are.
    Version,
    /// Nothing that can be done: these lines of complaint, then the usage.
    Usage(Vec<String>),
    /// An action on an instance.
    Do(Order),
}

/// An action on an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub action: Action,
    /// The configuration as it was named; none for the default one.
    pub config: Option<OsString>,
    /// Stay in the foreground and tell everything there.
    pub debug: bool,
    /// The words after the options, for the log.
    pub words: Vec<OsString>,
}

#[derive(Clone, Copy)]
enum Flag {
    Debug,
    Help,
    Version,
}

impl Flag {
    /// A long option takes the short names as well, as in `--d`; short ones know their case.
    fn named(name: &[u8], long: bool) -> Option<Flag> {
        match name {
            b"d" => Some(Flag::Debug),
            b"h" | b"?" => Some(Flag::Help),
            b"v" => Some(Flag::Version),
            _ if !long => None,
            _ if name.eq_ignore_ascii_case(b"debug") => Some(Flag::Debug),
            _ if name.eq_ignore_ascii_case(b"help") => Some(Flag::Help),
            _ if name.eq_ignore_ascii_case(b"version") => Some(Flag::Version),
            _ => None,
        }
    }
}

/// Reads the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Asked {
    let mut seen = Seen::default();
    let mut words = Vec::new();
    let mut arguments = arguments.into_iter();
    for argument in arguments.by_ref() {
        match argument.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => seen.long(long),
            [b'-', short @ ..] if !short.is_empty() => seen.bundle(short),
            _ => {
                words.push(argument);
                break;
            }
        }
    }
    words.extend(arguments);
    let Seen { debug, help, version, complaints } = seen;
    if !complaints.is_empty() {
        return Asked::Usage(complaints);
    }
    if help {
        return Asked::Help;
    }
    if version {
        return Asked::Version;
    }
    let (config, action) = match &words[..] {
        [] => return Asked::Usage(complaints),
        [action] => (None, action),
        [config, action, ..] => (Some(config.clone()), action),
    };
    match Action::named(action) {
        Some(action) => Asked::Do(Order { action, config, debug, words }),
        None => Asked::Usage(complaints),
    }
}

#[derive(Default)]
struct Seen {
    debug: bool,
    help: bool,
    version: bool,
    complaints: Vec<String>,
}

impl Seen {
    fn note(&mut self, flag: Option<Flag>, name: &[u8]) {
        match flag {
            Some(Flag::Debug) => self.debug = true,
            Some(Flag::Help) => self.help = true,
            Some(Flag::Version) => self.version = true,
            None => {
                let shown = OsString::from_vec(name.to_vec());
                self.complaints.push(format!("Unknown option: {}", shown.to_string_lossy()));
            }
        }
    }

    fn long(&mut self, option: &[u8]) {
        let mut parts = option.splitn(2, |&b| b == b'=');
        let name = parts.next().unwrap_or_default();
        match (Flag::named(name, true), parts.next()) {
            (Some(_), Some(_)) => {
                let shown = String::from_utf8_lossy(name).into_owned();
                self.complaints.push(format!("Option {shown} does not take an argument"));
            }
            (flag, _) => self.note(flag, name),
        }
    }

    fn bundle(&mut self, letters: &[u8]) {
        for letter in String::from_utf8_lossy(letters).chars() {
            let name = letter.to_string();
            self.note(Flag::named(name.as_bytes(), false), name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn order(line: &str) -> (Action, Option<String>, bool) {
        match asked(line) {
            Asked::Do(o) => (o.action, o.config.map(|c| c.into_string().unwrap()), o.debug),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn complaints(line: &str) -> Vec<String> {
        match asked(line) {
            Asked::Usage(complaints) => complaints,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_bundled_and_end_at_the_first_word() {
        assert_eq!(order("start"), (Action::Start, None, false));
        assert_eq!(order("-dd web.cf stop"), (Action::Stop, Some("web.cf".into()), true));
        assert_eq!(order("--debug -- web.cf force-reload"), (Action::Reload, Some("web.cf".into()), true));
        assert_eq!(order("web.cf status -v more"), (Action::Status, Some("web.cf".into()), false));
        assert_eq!(order("-- -d try-restart"), (Action::TryRestart, Some("-d".into()), false));
        assert_eq!(order("- restart"), (Action::Restart, Some("-".into()), false));
        for line in ["-v", "--version", "-dv", "-dv start"] {
            assert_eq!(asked(line), Asked::Version, "{line}");
        }
        for line in ["-h", "-?", "--help", "--?", "-vh"] {
            assert_eq!(asked(line), Asked::Help, "{line}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_and_answered_with_the_usage() {
        let none: [&str; 0] = [];
        for line in ["", "--", "web.cf", "web.cf frobnicate", "Start", "start web.cf"] {
            assert_eq!(complaints(line), none, "{line}");
        }
        assert_eq!(complaints("--bogus"), ["Unknown option: bogus"]);
        assert_eq!(complaints("--bogus=1 start"), ["Unknown option: bogus"]);
        assert_eq!(complaints("--deb start"), ["Unknown option: deb"]);
        assert_eq!(
            complaints("-dxD --odd start"),
            ["Unknown option: x", "Unknown option: D", "Unknown option: odd"]
        );
        assert_eq!(complaints("--help=3"), ["Option help does not take an argument"]);
    }
}
