//! The directives of a file by name: what was written, each value read, nothing inherited yet. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::diagnostic::Faults;
use crate::config::draft::Said;
use crate::config::raw::{Block, Directive, is_blank};
use crate::config::resolve::check::{self, Way};
use crate::config::resolve::{alert, kernel};
use crate::config::value::{
    self, Found, maybe_quoted, number, quoted, strange, to_next_quote, whole, yes_no,
};
use crate::config::{LogTarget, State};
use crate::model::Protocol;
use crate::probe::options::Given;
use crate::span::Fault;

/// What may be given for all services and for one.
#[derive(Debug, Default)]
pub struct Shared {
    /// Seconds for connect, ping and external checks.
    pub checktimeout: Option<Found<u32>>,
    /// Seconds for negotiate checks.
    pub negotiatetimeout: Option<Found<u32>>,
    /// Seconds between checks.
    pub checkinterval: Option<Found<u32>>,
    /// Pings within one check.
    pub checkcount: Option<Found<u32>>,
    /// Failures in a row before down.
    pub failurecount: Option<Found<u32>>,
    /// Whether failed servers get weight 0.
    pub quiescent: Option<Found<bool>>,
    /// Whether services leave the table at the end.
    pub cleanstop: Option<Found<bool>>,
    /// Who gets mail.
    pub emailalert: Option<Found<String>>,
    /// Seconds after which a mail is sent again.
    pub emailalertfreq: Option<Found<u32>>,
    /// When mail is sent.
    pub emailalertstatus: Option<Found<BTreeSet<State>>>,
    /// The host that takes mail.
    pub smtp: Option<Found<String>>,
    /// What runs when no server is up, and when one is.
    pub fallbackcommand: Option<Found<String>>,
}

/// The global directives.
#[derive(Debug, Default)]
pub struct Globals<'a> {
    /// What a virtual may give itself too.
    pub shared: Shared,
    /// `fallback`, read when its service is known.
    pub fallback: Option<Directive<'a>>,
    /// `fallback6`, likewise.
    pub fallback6: Option<Directive<'a>>,
    /// Read the file anew when it changed.
    pub autoreload: Option<Found<bool>>,
    /// Whether a checkinterval of a virtual counts.
    pub fork: bool,
    /// Whether log lines go to standard output.
    pub supervised: Option<Found<bool>>,
    /// Where log lines go.
    pub logfile: Option<Found<LogTarget>>,
    /// What runs when the file has changed.
    pub callback: Option<Found<PathBuf>>,
    /// Further configurations.
    pub execute: Vec<Found<String>>,
    /// Where a file takes a server out.
    pub maintenancedir: Option<Found<PathBuf>>,
    /// The sender of mail.
    pub emailalertfrom: Option<Found<String>>,
}

/// The protocol that a virtual service asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `tcp` or `udp`.
    Transport(Protocol),
    /// `fwm`.
    Mark,
}

/// The options of one virtual service.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// What the global part may give too.
    pub shared: Shared,
    /// `fallback` or `fallback6`, read when the service's key is known.
    pub fallback: Option<Directive<'a>>,
    /// The lines `real` or `real6`.
    pub reals: Vec<Directive<'a>>,
    /// `protocol`.
    pub protocol: Option<Found<Asked>>,
    /// `scheduler`.
    pub scheduler: Option<Found<String>>,
    /// `schedflags`, as the kernel's bits.
    pub schedflags: Option<Found<u32>>,
    /// Whether something was asked for that the kernel refuses.
    pub refused: bool,
    /// `persistent`, in seconds.
    pub persistent: Option<Found<u32>>,
    /// `netmask`, as the kernel has it.
    pub netmask: Option<Found<u32>>,
    /// `ops`.
    pub ops: Option<Found<bool>>,
    /// `checktype`.
    pub checktype: Option<Found<Way>>,
    /// `service`.
    pub service: Option<Found<check::Service>>,
    /// The name of this host, when `service` is written: some checks use it by default.
    pub host: Option<String>,
    /// Whether `checktype` or `service` was refused: which check is meant is not known then.
    pub unclear: bool,
    /// `checkport`.
    pub checkport: Option<Found<u32>>,
    /// `checkcommand`, also among the questions.
    pub checkcommand: Option<Given>,
    /// `receive`, also among the questions.
    pub receive: Option<Given>,
    /// `httpmethod`, in capitals; also among the questions.
    pub httpmethod: Option<Given>,
    /// All that checks say and expect, by the names of the directives.
    pub question: check::Question,
    /// `monitorfile`.
    pub monitorfile: Option<Found<PathBuf>>,
    /// `servicename`.
    pub servicename: Option<Found<String>>,
    /// `comment`.
    pub comment: Option<Found<String>>,
}

impl Shared {
    /// Takes a directive that may stand in both places; false if it is none of them.
    fn take(&mut self, directive: &Directive, global: bool, faults: &mut Faults) -> bool {
        let text = |everywhere: &'static str, block: &'static str| if global { everywhere } else { block };
        match directive.key.name {
            "checktimeout" => {
                let complaint = text("invalid check timeout value", "invalid check timeout");
                self.checktimeout = number(directive, complaint, faults);
            }
            "negotiatetimeout" => {
                let complaint = text("invalid negotiate timeout value", "invalid negotiate timeout");
                self.negotiatetimeout = number(directive, complaint, faults);
            }
            "checkinterval" => {
                let complaint = text("invalid check interval value", "invalid checkinterval");
                self.checkinterval = number(directive, complaint, faults);
            }
            "checkcount" => {
                let old =
                    "checkcount option is deprecated and slated for removal.  please see 'failurecount'";
                faults.push(Fault::warning(directive.name.clone(), old));
                let complaint = text("invalid check count value", "invalid check count");
                self.checkcount = number(directive, complaint, faults);
            }
            "failurecount" => {
                let complaint = text("invalid failure count value", "invalid failure count");
                self.failurecount = number(directive, complaint, faults);
            }
            "quiescent" => self.quiescent = yes_no(directive, faults),
            "cleanstop" => self.cleanstop = yes_no(directive, faults),
            "emailalert" => self.emailalert = alert::recipients(directive, faults),
            "emailalertfreq" => self.emailalertfreq = alert::frequency(directive, faults),
            "emailalertstatus" => self.emailalertstatus = alert::states(directive, faults),
            "smtp" => self.smtp = alert::server(directive, faults),
            "fallbackcommand" => self.fallbackcommand = fallback_command(directive, global, faults),
            _ => return false,
        }
        true
    }
}

impl<'a> Globals<'a> {
    /// Reads the global directives.
    pub fn read(directives: &[Directive<'a>], faults: &mut Faults) -> Globals<'a> {
        let mut globals = Globals::default();
        for directive in usable(directives, faults) {
            if !globals.shared.take(directive, true, faults) {
                globals.take(directive, faults);
            }
        }
        globals
    }

    fn take(&mut self, directive: &Directive<'a>, faults: &mut Faults) {
        match directive.key.name {
            "fallback" => self.fallback = Some(directive.clone()),
            "fallback6" => self.fallback6 = Some(directive.clone()),
            "autoreload" => self.autoreload = yes_no(directive, faults),
            "fork" => self.fork = yes_no(directive, faults).is_some_and(|found| found.value),
            "supervised" => self.supervised = yes_no(directive, faults),
            "readdquiescent" => {
                yes_no(directive, faults);
                let fault = Fault::advice(directive.name.clone(), "`readdquiescent` has no effect");
                faults.push(fault.help("a quiesced server is always in the table"));
            }
            "logfile" => self.logfile = faults.keep(logfile(directive)),
            "callback" => self.callback = faults.keep(callback(directive)).flatten(),
            "execute" => self.execute.extend(execute(directive, faults)),
            "maintenancedir" => self.maintenancedir = maintenance(directive, faults),
            "emailalertfrom" => self.emailalertfrom = alert::sender(directive, faults),
            _ => {}
        }
    }
}

impl<'a> Options<'a> {
    /// Reads the options of a block.
    pub fn read(block: &Block<'a>, faults: &mut Faults) -> Options<'a> {
        let mut options = Options::default();
        for directive in usable(&block.options, faults) {
            if !options.shared.take(directive, false, faults) {
                options.take(directive, block.head.key.name == "virtual6", is_mark(&block.head), faults);
            }
        }
        options
    }

    fn take(&mut self, directive: &Directive<'a>, v6: bool, mark: bool, faults: &mut Faults) {
        match directive.key.name {
            "real" | "real6" | "fallback" | "fallback6" => {
                if let Some(fault) = other_family(directive, v6) {
                    faults.push(fault);
                } else if directive.key.name.starts_with("real") {
                    self.reals.push(directive.clone());
                } else {
                    self.fallback = Some(directive.clone());
                }
            }
            "protocol" => self.protocol = protocol(directive, mark, faults),
            "scheduler" => {
                self.scheduler = kernel::scheduler(directive, faults).map(|f| self.unless_refused(f))
            }
            "schedflags" => {
                self.schedflags = kernel::schedflags(directive, faults).map(|f| self.unless_refused(f))
            }
            "persistent" => {
                self.persistent = kernel::persistent(directive, faults).map(|f| self.unless_refused(f))
            }
            "netmask" => {
                self.netmask = kernel::netmask(directive, v6, faults).map(|f| self.unless_refused(f))
            }
            "ops" => self.ops = yes_no(directive, faults),
            "checktype" => {
                self.checktype = check::checktype(directive, faults);
                self.unclear |= self.checktype.is_none();
            }
            "service" => {
                self.service = check::service(directive, faults);
                self.unclear |= self.service.is_none();
            }
            "checkport" => self.checkport = checkport(directive, faults),
            _ => self.take_question(directive, faults),
        }
    }

    /// What checks say and expect, and what is told of them.
    fn take_question(&mut self, directive: &Directive, faults: &mut Faults) {
        let name = directive.key.name;
        let given = match name {
            "monitorfile" => return self.monitorfile = monitor(directive, faults),
            "servicename" => return self.servicename = Some(rest(directive)),
            "comment" => return self.comment = Some(rest(directive)),
            "load" => {
                let fault = Fault::advice(directive.name.clone(), "`load` has no effect");
                faults.push(fault.help("ldirectord reads it and never uses it either"));
                faults.keep(quoted(directive, "invalid string for load testing"));
                return;
            }
            "checkcommand" => maybe_quoted(directive, "invalid check command", faults),
            "request" => faults.keep(quoted(directive, "no request string specified")),
            "receive" => faults.keep(quoted(directive, "invalid receive string")),
            "httpmethod" => httpmethod(directive, faults),
            "virtualhost" => Some(to_next_quote(directive)).filter(|given| !given.text.is_empty()),
            "login" => faults.keep(quoted(directive, "invalid login string")),
            "passwd" => faults.keep(quoted(directive, "invalid password")),
            "database" => faults.keep(quoted(directive, "invalid database")),
            "secret" => faults.keep(quoted(directive, "invalid secret")),
            _ => return,
        };
        match name {
            "checkcommand" => self.checkcommand = given.clone(),
            "receive" => self.receive = given.clone(),
            "httpmethod" => self.httpmethod = given.clone(),
            _ => {}
        }
        self.question.retain(|(other, _)| *other != name);
        self.question.extend(given.map(|given| (name, given)));
    }

    /// A value, and whether the kernel refuses the service for it.
    fn unless_refused<T>(&mut self, (found, refused): (Found<T>, bool)) -> Found<T> {
        self.refused |= refused;
        found
    }

    /// How servers are checked.
    pub fn way(&self) -> Way {
        self.checktype.as_ref().map_or(Way::Negotiate, |found| found.value)
    }
}

/// Whether a virtual's address is a firewall mark, by its looks.
fn is_mark(head: &Directive) -> bool {
    let (address, _) = head.value.trim().take(|b| !is_blank(b));
    address.bytes.iter().all(u8::is_ascii_digit)
}

/// The directives that work, the others reported. Tells those that are overridden further down.
fn usable<'d, 'a>(directives: &'d [Directive<'a>], faults: &mut Faults) -> Vec<&'d Directive<'a>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut usable = Vec::new();
    for directive in directives.iter().rev() {
        let name = directive.key.name;
        let adds_up = matches!(name, "real" | "real6" | "execute");
        if let Some(fault) = directive.key.refusal(&directive.name) {
            faults.push(fault);
            continue;
        }
        if !adds_up && seen.contains(&name) {
            let fault =
                Fault::advice(directive.name.clone(), format!("`{name}` is given again further down"));
            faults.push(fault.help("the last one counts"));
        }
        if !adds_up {
            seen.push(name);
        }
        usable.push(directive);
    }
    usable.reverse();
    usable
}

/// `real` and `fallback` belong in `virtual`, `real6` and `fallback6` in `virtual6`.
fn other_family(directive: &Directive, v6: bool) -> Option<Fault> {
    let name = directive.key.name;
    let other = match (name, v6) {
        ("real", true) => "real6",
        ("real6", false) => "real",
        ("fallback", true) => "fallback6",
        ("fallback6", false) => "fallback",
        _ => return None,
    };
    let message = format!("cannot specify \"{name}\" here.  please use \"{other}\" instead");
    let place =
        if v6 { "a virtual6 has IPv6 servers" } else { "a virtual has IPv4 servers, a virtual6 IPv6 ones" };
    Some(Fault::error(directive.name.clone(), message).help(place))
}

/// Where log lines go. The file is not opened here: that is the daemon's.
fn logfile(directive: &Directive) -> Result<Found<LogTarget>, Fault> {
    let name = quoted(directive, "unable to open logfile: the name is empty")?;
    let value = match name.text.starts_with(b"/") {
        true => LogTarget::File(path(name.text)),
        false => LogTarget::Syslog(String::from_utf8_lossy(&name.text).into_owned()),
    };
    Ok(Found { value, span: name.span })
}

fn path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// A program; an empty text means none.
fn callback(directive: &Directive) -> Result<Option<Found<PathBuf>>, Fault> {
    let text = directive.value.trim();
    if text.bytes.starts_with(b"\"\"") {
        return Ok(None);
    }
    let given = quoted(directive, "invalid callback")?;
    Ok(Some(Found { value: path(given.text), span: given.span }))
}

fn execute(directive: &Directive, faults: &mut Faults) -> Option<Found<String>> {
    let text = whole(directive, faults);
    if text.is_empty() {
        let fault = Fault::advice(directive.name.clone(), "`execute` without a name has no effect");
        faults.push(fault.help("the name of another configuration file"));
        return None;
    }
    Some(Found { value: String::from_utf8_lossy(text.bytes).into_owned(), span: text.span() })
}

fn maintenance(directive: &Directive, faults: &mut Faults) -> Option<Found<PathBuf>> {
    let text = whole(directive, faults);
    if text.is_empty() {
        faults.push(value::refuse(directive, "maintenance directory not specified"));
        return None;
    }
    if text.bytes.starts_with(b"\"") {
        let fault = Fault::mistake(text.span(), "the quotes are a part of the directory's name");
        faults.push(fault.help("there is likely no such directory; leave the quotes out"));
    }
    Some(Found { value: path(text.bytes.to_vec()), span: text.span() })
}

fn monitor(directive: &Directive, faults: &mut Faults) -> Option<Found<PathBuf>> {
    let given = maybe_quoted(directive, "unable to open monitorfile : No such file or directory", faults)?;
    Some(Found { value: path(given.text), span: given.span })
}

/// The shell that runs it takes quotes off, which ldirectord leaves on in the global part.
fn fallback_command(directive: &Directive, global: bool, faults: &mut Faults) -> Option<Found<String>> {
    let given = match global {
        true => Some(whole(directive, faults)).filter(|text| !text.is_empty()).map(value::given),
        false => maybe_quoted(directive, "invalid fallback command", faults),
    };
    if given.is_none() && global {
        faults.push(value::refuse(directive, "invalid fallback command"));
    }
    given.map(|given| Found { value: String::from_utf8_lossy(&given.text).into_owned(), span: given.span })
}

/// A text for people, as it stands.
fn rest(directive: &Directive) -> Found<String> {
    let text = directive.value.trim();
    Found { value: String::from_utf8_lossy(text.bytes).into_owned(), span: text.span() }
}

fn protocol(directive: &Directive, mark: bool, faults: &mut Faults) -> Option<Found<Asked>> {
    let word = value::word(directive, |_| false, faults);
    let value = match word.bytes {
        b"tcp" => Asked::Transport(Protocol::Tcp),
        b"udp" => Asked::Transport(Protocol::Udp),
        b"fwm" => Asked::Mark,
        _ => {
            let complaint = match mark {
                _ if word.is_empty() => "invalid protocol",
                true => "protocol must be fwm if the virtual service is a fwmark (a number)",
                false => "protocol must be tcp or udp if the virtual service is an address and port",
            };
            faults.push(strange(directive, word, complaint, ["tcp", "udp", "fwm"]));
            return None;
        }
    };
    Some(Found { value, span: word.span() })
}

fn checkport(directive: &Directive, faults: &mut Faults) -> Option<Found<u32>> {
    let has_digits = directive.value.bytes.iter().any(u8::is_ascii_digit);
    let complaint = if has_digits { "checkport must be in range 1..65536" } else { "invalid port" };
    number(directive, complaint, faults)
}

fn httpmethod(directive: &Directive, faults: &mut Faults) -> Option<Given> {
    let word = value::word(directive, |_| false, faults);
    let text = word.bytes.to_ascii_uppercase();
    if text == b"GET" || text == b"HEAD" {
        return Some(Given { text, span: word.span() });
    }
    faults.push(strange(directive, word, "httpmethod must be GET or HEAD", ["GET", "HEAD"]));
    None
}

/// Where a value of both scopes comes from: the block, else the global part.
pub fn inherit<'v, T>(own: &'v Option<Found<T>>, global: &'v Option<Found<T>>) -> Option<&'v Found<T>> {
    own.as_ref().or(global.as_ref())
}

/// A value that may be given, with its place; else the default.
pub fn said<T, U>(found: Option<&Found<T>>, value: impl Fn(&T) -> U, default: impl Fn() -> U) -> Said<U> {
    match found {
        Some(found) => Said::at(value(&found.value), found.span.clone()),
        None => Said::default(default()),
    }
}
