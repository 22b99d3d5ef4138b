//! Kinds of check that ask nobody, and names that nobody else has.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lvsentry::config::Names;
use lvsentry::config::names::port_in;
use lvsentry::model::{Family, Protocol};
use lvsentry::probe::options::Options;
use lvsentry::probe::{Asking, Call, Check, Kind, Probe, Target};
use lvsentry::span::Fault;

/// A probe whose identity shows all that it was made from.
#[derive(Debug)]
struct Told(String);

impl Probe for Told {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async { Ok(String::new()) })
    }

    fn identity(&self) -> String {
        self.0.clone()
    }
}

const HTTP: &[&str] = &["httpmethod", "receive", "request", "request_absolute", "virtualhost"];
const TALK: &[&str] = &["database", "login", "passwd", "receive", "request", "secret", "virtualhost"];
const ASKING: &[(&str, &[&str])] = &[
    ("connect", &[]),
    ("ping", &["checkcount"]),
    ("external", &["checkcommand"]),
    ("external-perl", &["checkcommand"]),
    ("http", HTTP),
    ("https", HTTP),
    ("http_proxy", HTTP),
    ("dns", TALK),
    ("ftp", TALK),
    ("imap", TALK),
    ("imaps", TALK),
    ("ldap", TALK),
    ("ldaps", TALK),
    ("mysql", TALK),
    ("nntp", TALK),
    ("oracle", TALK),
    ("pgsql", TALK),
    ("pop", TALK),
    ("pops", TALK),
    ("radius", TALK),
    ("simpletcp", TALK),
    ("sip", TALK),
    ("smtp", TALK),
    ("submission", TALK),
];

static ON: Kind = Kind { name: "on", doc: "", port: None, options: &[], make: |_, _| Ok(Check::On) };
static OFF: Kind = Kind { name: "off", doc: "", port: None, options: &[], make: |_, _| Ok(Check::Off) };

const fn asking<const K: usize>() -> Kind {
    let real = probe_port(ASKING[K].0);
    Kind { name: ASKING[K].0, doc: "", port: real, options: ASKING[K].1, make: make::<K> }
}

/// What matters of a kind's port here: whether it talks a service's protocol.
const fn probe_port(name: &str) -> Option<u16> {
    match name.as_bytes() {
        b"connect" | b"ping" | b"external" | b"external-perl" => None,
        b"http" => Some(80),
        b"https" => Some(443),
        _ => Some(0),
    }
}

/// Takes the kind's options; refuses a `receive` that is an open bracket, as a pattern would be.
fn make<const K: usize>(target: &Target, options: &mut Options) -> Result<Check, Fault> {
    let (_, names) = ASKING[K];
    let mut told = format!("{} of {}", target.check, target.service.id());
    for name in names {
        let Some(given) = options.take(name) else { continue };
        if *name == "receive" && given.text == b"(" {
            return Err(Fault::error(given.span, "invalid receive string").help("a bracket is not closed"));
        }
        told.push_str(&format!(" {name}={}", String::from_utf8_lossy(&given.text)));
    }
    Ok(Check::Ask(Arc::new(Told(told))))
}

macro_rules! kinds {
    ($($k:literal)*) => { [$(asking::<$k>()),*] };
}

static TELLING: [Kind; 24] = kinds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    TELLING.iter().chain([&ON, &OFF]).find(|kind| kind.name == name)
}

/// A hosts file and a services file.
pub(crate) struct FakeNames {
    hosts: BTreeMap<(String, bool), IpAddr>,
}

const SERVICES: &str =
    "http 80/tcp www\nhttps 443/tcp\nsmtp 25/tcp mail\ndomain 53/tcp\ndomain 53/udp\nsyslog 514/udp\n";

impl FakeNames {
    /// Names by a text like `/etc/hosts`.
    pub(crate) fn new(hosts: &str) -> FakeNames {
        let mut known = BTreeMap::new();
        for line in hosts.lines() {
            let mut words = line.split_whitespace();
            let Some(ip) = words.next().and_then(|ip| ip.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                known.insert((name.to_owned(), ip.is_ipv4()), ip);
            }
        }
        FakeNames { hosts: known }
    }
}

impl Default for FakeNames {
    fn default() -> FakeNames {
        FakeNames::new(
            "10.50.0.1 web1\n10.50.0.3 web3\n192.0.2.7 shop.example mail\n2001:db8::7 six.example\n",
        )
    }
}

impl Names for FakeNames {
    fn host(&self, name: &str, family: Family) -> Result<IpAddr, String> {
        let v4 = family == Family::V4;
        self.hosts.get(&(name.to_owned(), v4)).copied().ok_or_else(|| "no such host".to_owned())
    }

    fn port(&self, name: &str, protocol: Option<Protocol>) -> Option<u16> {
        port_in(SERVICES, name, protocol)
    }

    fn this_host(&self) -> String {
        "director".into()
    }
}
