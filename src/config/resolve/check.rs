//! Which check a service's servers get: `checktype` and `service`, timeouts, and the questions.

use std::time::Duration;

use crate::config::diagnostic::Faults;
use crate::config::draft::{CheckDraft, Said};
use crate::config::raw::Directive;
use crate::config::resolve::options::{Options as Written, Shared, inherit, said};
use crate::config::value::{Found, decimal, strange, word};
use crate::model::{Protocol, ServiceKey};
use crate::probe::options::{Given, Options};
use crate::probe::{self, KINDS};
use crate::span::{Fault, Span};

/// How servers are checked, by the words of `checktype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A conversation in the service's protocol.
    Negotiate,
    /// So many checks that only connect between two conversations.
    Combined(u32),
    /// A TCP connection; a ping for udp.
    Connect,
    /// An ICMP echo.
    Ping,
    /// A program of the operator's.
    External,
    /// A Perl script of the operator's.
    ExternalPerl,
    /// Up, unchecked.
    On,
    /// Down, unchecked.
    Off,
}

impl Way {
    const WORDS: [Way; 7] =
        [Way::Negotiate, Way::Connect, Way::Ping, Way::External, Way::ExternalPerl, Way::On, Way::Off];

    fn name(self) -> &'static str {
        match self {
            Way::Negotiate | Way::Combined(_) => "negotiate",
            Way::Connect => "connect",
            Way::Ping => "ping",
            Way::External => "external",
            Way::ExternalPerl => "external-perl",
            Way::On => "on",
            Way::Off => "off",
        }
    }

    /// Whether it talks in the service's protocol.
    pub fn talks(self) -> bool {
        matches!(self, Way::Negotiate | Way::Combined(_))
    }

    fn runs(self) -> bool {
        matches!(self, Way::External | Way::ExternalPerl)
    }
}

/// A protocol that ldirectord can talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// The kind of check that talks it.
    pub kind: &'static str,
    /// Its standard port; 0 for none.
    pub port: u16,
}

/// Up without a word: the default where no other is.
const NONE: Service = Service { name: "none", kind: "on", port: 0 };

/// Every service, `none` at the end.
fn services() -> impl Iterator<Item = Service> + Clone {
    let talks = KINDS.iter().filter_map(|kind| Some((kind.name, kind.port?)));
    talks.map(|(name, port)| Service { name, kind: name, port }).chain([NONE])
}

/// The service that the port of a virtual service stands for.
fn by_port(key: ServiceKey) -> Service {
    let port = key.port().filter(|port| *port != 0);
    services().find(|service| port == Some(service.port)).unwrap_or(NONE)
}

/// The value of `checktype`. A line with any digit in it is that number to ldirectord.
pub fn checktype(directive: &Directive, faults: &mut Faults) -> Option<Found<Way>> {
    let text = directive.value.trim();
    let (before, rest) = text.take(|b| !b.is_ascii_digit());
    let (digits, after) = rest.take(|b| b.is_ascii_digit());
    if let Some(number) = decimal(digits.bytes) {
        if !before.is_empty() || !after.is_empty() {
            let message = format!("`checktype={}` is read as checktype={number}", text.shown());
            let help = "a number means: so many checks that only connect after each negotiate check";
            faults.push(Fault::mistake(text.span(), message).help(help));
        }
        return Some(Found { value: Way::Combined(number), span: digits.span() });
    }
    let word = word(directive, |b| b == b'-', faults);
    if let Some(way) = Way::WORDS.into_iter().find(|way| way.name().as_bytes() == word.bytes) {
        return Some(Found { value: way, span: word.span() });
    }
    let complaint = "checktype must be \"connect\", \"negotiate\", \"on\", \"off\", \"ping\", \"external\", \
                     \"external-perl\" or a positive number";
    faults.push(strange(directive, word, complaint, Way::WORDS.map(Way::name)));
    None
}

/// The value of `service`.
pub fn service(directive: &Directive, faults: &mut Faults) -> Option<Found<Service>> {
    let word = word(directive, |_| false, faults);
    if let Some(service) = services().find(|service| service.name.as_bytes() == word.bytes) {
        return Some(Found { value: service, span: word.span() });
    }
    let complaint = "service must be dns, ftp, http, https, http_proxy, imap, imaps, ldap, ldaps, mysql, nntp, \
                     none, oracle, pop, pops, radius, pgsql, simpletcp, sip, smtp or submission";
    faults.push(strange(directive, word, complaint, services().map(|service| service.name)));
    None
}

/// What can be said of a block's check without knowing its address: what is likely not meant.
pub fn doubts(written: &Written, head: &Span, faults: &mut Faults) {
    let way = written.way();
    match &written.checkcommand {
        None if way.runs() => {
            let message = format!("checktype={} without a `checkcommand` runs /bin/true", way.name());
            faults.push(Fault::advice(head.clone(), message).help("every server counts as up"));
        }
        Some(command) if way.runs() && command.text.contains(&b' ') => {
            let message =
                "invalid check command: it is run without a shell and takes no arguments of its own";
            let help = "no such program: every server is down. The program gets service address, service port, \
                        server address and server port; for more write a script";
            faults.push(Fault::mistake(command.span.clone(), message).help(help));
        }
        _ => {}
    }
    let is_head = written.httpmethod.as_ref().is_some_and(|method| method.text == b"HEAD");
    if let (true, true, Some(receive)) = (is_head, way.talks(), &written.receive) {
        let fault = Fault::advice(receive.span.clone(), "`receive` never matches with httpmethod=HEAD");
        faults.push(fault.help("the answer to HEAD has no body; leave out one of them"));
    }
    if let (Some(connects), true) = (&written.checktype, written.service.as_ref().is_some_and(is_none))
        && matches!(connects.value, Way::Combined(1..))
    {
        let message = "with service=none every check only connects";
        faults.push(Fault::advice(connects.span.clone(), message).help("checktype=connect says the same"));
    }
}

fn is_none(found: &Found<Service>) -> bool {
    found.value == NONE
}

/// The check that a virtual service asks for; `head` is its address in the text.
pub fn draft(
    key: ServiceKey,
    head: &Span,
    written: &Written,
    globals: &Shared,
    interval: Said<Duration>,
    faults: &mut Faults,
) -> CheckDraft {
    let service = written.service.as_ref().map_or_else(|| by_port(key), |found| found.value);
    let way = written.way();
    if way.talks() && written.service.is_none() && service == NONE {
        let message = format!("the servers of {key} are never checked: they count as up, whatever they do");
        let help = "no `service` is given and the port has no default one: \
                    add service=http, say, or checktype=connect";
        faults.push(Fault::advice(head.clone(), message).help(help));
    }
    let kind = kind(way, service, key);
    let talk = matches!(kind.name, "ldap" | "ldaps" | "radius");
    let timeout = match way.talks() && !talk {
        true => negotiate_timeout(&written.shared, globals),
        false => check_timeout(&written.shared, globals),
    };
    let chosen = match way.talks() {
        true => written.service.as_ref().map(|found| found.span.clone()),
        false => written.checktype.as_ref().map(|found| found.span.clone()),
    };
    let connects = match &written.checktype {
        Some(Found { value: Way::Combined(n), span }) if *n > 0 && service != NONE => {
            Some(Said::at(*n, span.clone()))
        }
        _ => None,
    };
    CheckDraft {
        kind: Said { value: kind.name, span: chosen },
        connects,
        cause: cause(written, service.name),
        options: options(kind, written, globals),
        standard_port: service.port,
        port: written.checkport.clone().map(|found| Said::at(found.value as u16, found.span)),
        interval,
        timeout,
        connect_timeout: check_timeout(&written.shared, globals),
    }
}

fn kind(way: Way, service: Service, key: ServiceKey) -> &'static probe::Kind {
    let is_udp = matches!(key, ServiceKey::Address(Protocol::Udp, _));
    let name = match way {
        Way::Combined(1..) if service == NONE => "connect",
        way if way.talks() => service.kind,
        Way::Connect if is_udp => "ping",
        way => way.name(),
    };
    // Every name above stands in the list: a test says so.
    probe::kind(name).unwrap_or(&probe::on::KIND)
}

/// What the check is told. Options that are for all checks of a file alike go only to kinds that
/// take them.
fn options(kind: &probe::Kind, written: &Written, globals: &Shared) -> Options {
    let mut options = Options::default();
    for (name, given) in &written.question {
        options.give(name, given.text.clone(), given.span.clone());
    }
    // These are ldirectord's with an explicit `service` alone.
    if let (Some(host), "ftp" | "sip") = (&written.host, kind.name) {
        let name = format!("ldirectord@{host}");
        let mut default = |option: &'static str, text: &str| {
            if kind.options.contains(&option) && options.get(option).is_none() {
                options.give(option, text, 0..0);
            }
        };
        default("login", if kind.name == "ftp" { "anonymous" } else { &name });
        default("passwd", &name);
    }
    if kind.options.contains(&"checkcommand") && options.get("checkcommand").is_none() {
        options.give("checkcommand", "/bin/true", 0..0);
    }
    let own = written.shared.checkcount.is_some();
    let count = inherit(&written.shared.checkcount, &globals.checkcount);
    if let Some(count) = count.filter(|_| own || kind.name == "ping") {
        options.give("checkcount", count.value.to_string(), count.span.clone());
    }
    options
}

/// The words that chose a check, for messages.
fn cause(written: &Written, service: &str) -> String {
    match written.way() {
        way if way.talks() => format!("service={service}"),
        way => format!("checktype={}", way.name()),
    }
}

/// Seconds that connect, ping and external checks may take. Each timeout stands in for the other.
fn check_timeout(own: &Shared, globals: &Shared) -> Said<Duration> {
    let order = [&own.checktimeout, &own.negotiatetimeout, &globals.checktimeout, &globals.negotiatetimeout];
    first(order, 5)
}

/// Seconds that negotiate checks may take.
fn negotiate_timeout(own: &Shared, globals: &Shared) -> Said<Duration> {
    let order = [&own.negotiatetimeout, &own.checktimeout, &globals.negotiatetimeout, &globals.checktimeout];
    first(order, 30)
}

fn first(order: [&Option<Found<u32>>; 4], default: u64) -> Said<Duration> {
    said(
        order.into_iter().flatten().next(),
        |seconds| Duration::from_secs((*seconds).into()),
        || Duration::from_secs(default),
    )
}

/// An option as written, kept by its name.
pub type Question = Vec<(&'static str, Given)>;
