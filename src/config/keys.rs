//! Every directive of `ldirectord.cf`, once. Parser, messages and the reference read this list. Pure.

use crate::config::suggest::closest;
use crate::span::{Fault, Span};

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the first column, for all services.
    Global,
    /// In the block of a virtual service.
    Virtual,
    /// In both places; the block's value comes first.
    Both,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A whole number in this range.
    Number(u32, u32),
    /// `yes` or `no`.
    YesNo,
    /// A text in double quotes.
    Quoted,
    /// A text, in double quotes or not.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Something with a form of its own, shown by an example.
    Like(&'static str),
}

/// Whether a directive works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Yes,
    /// ldirectord itself refuses it, with this text.
    Refused(&'static str),
}

/// A directive.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// What its value looks like.
    pub value: Value,
    /// What holds where it is not given; empty for nothing.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Whether it works.
    pub support: Support,
}

/// Longest time that may be asked for, in seconds: a year. More is a slip of the finger, and
/// sums of times stay far from the limits of clocks.
pub const LONGEST: u32 = 365 * 24 * 60 * 60;

/// Longest persistence, in seconds: 31 days, as `ipvsadm` has it.
pub const LONGEST_PERSISTENCE: u32 = 31 * 24 * 60 * 60;

const SECONDS: Value = Value::Number(1, LONGEST);
const COUNT: Value = Value::Number(1, u32::MAX);
const STATUS: &str = "all, none, or some of starting, running, stopping, reloading";

const fn key(
    name: &'static str,
    scope: Scope,
    value: Value,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, scope, value, default, doc, support: Support::Yes }
}

impl Key {
    const fn refused(mut self, text: &'static str) -> Key {
        self.support = Support::Refused(text);
        self
    }
}

use Scope::{Both, Global, Virtual};
use Value::{Like, OneOf, Quoted, Text, YesNo};

/// What `service` may be.
const SERVICES: &[&str] = &[
    "dns",
    "ftp",
    "http",
    "https",
    "http_proxy",
    "imap",
    "imaps",
    "ldap",
    "ldaps",
    "mysql",
    "nntp",
    "none",
    "oracle",
    "pgsql",
    "pop",
    "pops",
    "radius",
    "simpletcp",
    "sip",
    "smtp",
    "submission",
];

/// Every directive, once, as the manual orders them.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    // Services and servers.
    key("virtual", Global, Like("192.0.2.1:80"), "", "begins a virtual service on an IPv4 address and port, or on a firewall mark"),
    key("virtual6", Global, Like("[2001:db8::1]:80"), "", "begins a virtual service on an IPv6 address and port, or on a firewall mark"),
    key("real", Virtual, Like("10.0.0.1:80 gate 1"), "", "a server: address or range, method, weight, request and receive of its own"),
    key("real6", Virtual, Like("[2001:db8::11]:80 gate 1"), "", "a server of a virtual6"),
    key("fallback", Both, Like("127.0.0.1:80 gate"), "", "the server of last resort, used when no other is up"),
    key("fallback6", Both, Like("[::1]:80 gate"), "", "the server of last resort of a virtual6"),
    key("protocol", Virtual, OneOf(&["tcp", "udp", "fwm"]), "tcp; udp for port 53; fwm for a mark", "the protocol of the virtual service"),
    key("scheduler", Virtual, Like("wrr"), "wrr", "how connections are spread over the servers"),
    key("schedflags", Virtual, Like("sh-port"), "", "flags of the scheduler, comma separated"),
    key("persistent", Virtual, Value::Number(0, u32::MAX), "", "seconds for which a client comes back to the same server"),
    key("netmask", Virtual, Like("255.255.255.0"), "255.255.255.255", "clients whose addresses agree in these bits count as one (a prefix length for virtual6)"),
    key("ops", Virtual, YesNo, "no", "one-packet scheduling: each UDP packet on its own"),
    // Checks.
    key("checktype", Virtual, OneOf(&["negotiate", "connect", "ping", "external", "external-perl", "on", "off", "a number"]), "negotiate", "how servers are checked"),
    key("service", Virtual, OneOf(SERVICES), "by the port of the virtual service", "what checktype=negotiate talks"),
    key("checkcommand", Virtual, Text, "/bin/true", "the program that checktype=external runs, or the script of external-perl"),
    key("checkport", Virtual, Value::Number(1, 65_535), "the server's port", "the port that checks connect to"),
    key("request", Virtual, Quoted, "/", "what a check asks for"),
    key("receive", Virtual, Quoted, "", "regular expression that the answer must match"),
    key("httpmethod", Virtual, OneOf(&["GET", "HEAD"]), "GET", "the method of HTTP checks"),
    key("virtualhost", Virtual, Text, "the server's address", "the Host header of HTTP checks"),
    key("checktimeout", Both, SECONDS, "5", "seconds that a connect, ping or external check may take"),
    key("negotiatetimeout", Both, SECONDS, "30", "seconds that a negotiate check may take"),
    key("checkinterval", Both, SECONDS, "10", "seconds between checks; in a virtual only with fork=yes"),
    key("checkcount", Both, COUNT, "1", "how often a ping is tried within one check"),
    key("failurecount", Both, COUNT, "1", "failures in a row that take a server down"),
    key("login", Virtual, Quoted, "", "the user name of a check"),
    key("passwd", Virtual, Quoted, "", "the password of a check"),
    key("database", Virtual, Quoted, "", "the database of a check"),
    key("secret", Virtual, Quoted, "", "the shared secret of a RADIUS check"),
    key("load", Virtual, Quoted, "", "accepted, without effect: ldirectord never used it"),
    // What happens then.
    key("quiescent", Both, YesNo, "no", "failed servers get weight 0 instead of leaving the table"),
    key("readdquiescent", Global, YesNo, "no", "accepted, without effect: a quiesced server is always in the table"),
    key("cleanstop", Both, YesNo, "yes", "services leave the table when the daemon stops"),
    key("fallbackcommand", Both, Text, "", "runs a command when the last server goes and the first comes back"),
    key("maintenancedir", Global, Text, "", "takes a server out while a file of its name stands in a directory"),
    // The daemon.
    key("autoreload", Global, YesNo, "no", "the file is read anew when it has changed"),
    key("callback", Global, Quoted, "", "runs a program when the file has changed"),
    key("execute", Global, Text, "", "starts a further instance with another file"),
    key("fork", Global, YesNo, "no", "makes the checkinterval of a virtual count; there are no processes"),
    key("supervised", Global, YesNo, "no", "log lines go to standard output"),
    key("logfile", Global, Quoted, "/var/log/ldirectord.log", "the file that log lines go to, or a facility of the system's log"),
    // Mail.
    key("emailalert", Both, Text, "", "sends mail about servers that fail and come back"),
    key("emailalertfrom", Global, Text, "", "the sender of alert mails"),
    key("emailalertfreq", Both, Value::Number(0, LONGEST), "0", "seconds after which an alert mail is sent again"),
    key("emailalertstatus", Both, Like(STATUS), "all", "when alert mails are sent"),
    key("smtp", Both, Like("mail.example.com"), "", "the mail server of alert mails"),
    key("monitorfile", Virtual, Text, "", "writes the result of every check into a file"),
    key("servicename", Virtual, Text, "", "names the service in alert mails"),
    key("comment", Virtual, Text, "", "a remark for alert mails"),
    // Gone.
    key("connecttimeout", Both, SECONDS, "", "an old name of negotiatetimeout")
        .refused("connecttimeout directive deprecated in favour of negotiatetimeout"),
    key("timeout", Global, SECONDS, "", "an old name of checktimeout and negotiatetimeout")
        .refused("timeout directive deprecated in favour of checktimeout and negotiatetimeout"),
];

/// The directive of that name.
pub fn find(name: &[u8]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name.as_bytes() == name)
}

/// The directive that a strange word most likely means.
pub fn meant(word: &str) -> Option<&'static str> {
    closest(word, KEYS.iter().map(|key| key.name))
}

/// Whether the value under a name, perhaps a misspelled one, is nobody's business.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pasw", "pwd", "secret"].iter().any(|part| name.contains(part))
        || matches!(meant(&name), Some("passwd" | "secret"))
}

impl Key {
    /// Whether it may stand in the first column.
    pub fn is_global(&self) -> bool {
        self.scope != Scope::Virtual
    }

    /// Whether it may stand in a block.
    pub fn is_option(&self) -> bool {
        self.scope != Scope::Global
    }

    /// Whether it begins a block.
    pub fn is_head(&self) -> bool {
        matches!(self.name, "virtual" | "virtual6")
    }

    /// Why it can not be used, if so.
    pub fn refusal(&self, span: &Span) -> Option<Fault> {
        match self.support {
            Support::Yes => None,
            Support::Refused(text) => Some(Fault::error(span.clone(), text)),
        }
    }

    /// What its value may be.
    pub fn allowed(&self) -> String {
        match self.value {
            Value::Number(least, u32::MAX) => format!("a whole number, {least} or more"),
            Value::Number(least, most) => format!("a whole number from {least} to {most}"),
            Value::YesNo => "yes or no".into(),
            Value::Quoted => format!("a text in double quotes: {}=\"...\"", self.name),
            Value::Text => "a text, in double quotes or not".into(),
            Value::OneOf(words) => format!("one of {}", words.join(", ")),
            Value::Like(example) => format!("for instance {}={example}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_stands_in_the_list_once_with_a_line_of_doc() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..i].iter().all(|other| other.name != key.name), "{} twice", key.name);
            assert!(
                !key.doc.is_empty() && !key.doc.contains('\n') && !key.doc.ends_with('.'),
                "{}",
                key.name
            );
        }
    }
}
