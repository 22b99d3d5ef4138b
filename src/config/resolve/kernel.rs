//! What the kernel holds of a service: scheduler, flags, persistence. Pure.

use crate::config::cf::cut_comment;
use crate::config::diagnostic::Faults;
use crate::config::draft::Said;
use crate::config::keys::LONGEST_PERSISTENCE;
use crate::config::raw::{Directive, Text, is_blank};
use crate::config::resolve::options::Options;
use crate::config::value::{self, Found, did_you_mean, number, refuse, strange, whole};
use crate::model::{Protocol, ServiceKey};
use crate::span::Fault;

/// One-packet scheduling, for UDP only.
pub fn one_packet(key: ServiceKey, options: &Options, faults: &mut Faults) -> Said<bool> {
    let Some(ops) = &options.ops else { return Said::default(false) };
    let is_udp = matches!(key, ServiceKey::Address(Protocol::Udp, _));
    if ops.value && !is_udp {
        let fault = Fault::advice(ops.span.clone(), "`ops` has no effect: the service is not udp");
        faults.push(fault.help("one-packet scheduling is for udp only"));
    }
    Said::at(ops.value && is_udp, ops.span.clone())
}

/// `persistent`, in seconds, and whether the kernel refuses it.
pub fn persistent(directive: &Directive, faults: &mut Faults) -> Option<(Found<u32>, bool)> {
    let found = number(directive, "invalid persistent timeout", faults)?;
    let refused = found.value == 0 || found.value > LONGEST_PERSISTENCE;
    if refused {
        let message = format!("the kernel refuses a persistence of {} s: the service stays out", found.value);
        let help = format!("from 1 to {LONGEST_PERSISTENCE} s (31 days); leave it out for none");
        faults.push(Fault::mistake(found.span.clone(), message).help(help));
    }
    Some((found, refused))
}

/// The schedulers of the kernel.
pub const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"];

/// The scheduler's name, which is the first run of small letters, and whether the kernel refuses
/// it. An unknown one is only told: the kernel may have it.
pub fn scheduler(directive: &Directive, faults: &mut Faults) -> Option<(Found<String>, bool)> {
    let text = cut_comment(directive.value).trim();
    let (before, rest) = text.take(|b| !b.is_ascii_lowercase());
    let (word, after) = rest.take(|b| b.is_ascii_lowercase());
    if word.is_empty() {
        let complaint = "invalid scheduler, should be only lowercase letters (a-z)";
        faults.push(strange(directive, text, complaint, SCHEDULERS));
        return None;
    }
    let value = String::from_utf8_lossy(word.bytes).into_owned();
    if !before.is_empty() || !after.is_empty() {
        let message = format!("`{}` is read as `{}`", text.shown(), word.shown());
        let help =
            did_you_mean(&text.shown().to_ascii_lowercase(), SCHEDULERS, "a scheduler is small letters only");
        faults.push(Fault::mistake(text.span(), message).help(help));
    }
    let refused = value.len() > 15;
    if refused {
        let message = format!("the kernel refuses the scheduler `{}`: the service stays out", word.shown());
        let help = format!("a name has at most 15 letters; known are {}", SCHEDULERS.join(", "));
        faults.push(Fault::mistake(word.span(), message).help(help));
    } else if !SCHEDULERS.contains(&value.as_str()) {
        let message = format!("the scheduler `{value}` is not known; the kernel may not have it");
        let help = did_you_mean(&value, SCHEDULERS, &format!("known are {}", SCHEDULERS.join(", ")));
        faults.push(Fault::advice(word.span(), message).help(help));
    }
    Some((Found { value, span: word.span() }, refused))
}

/// Scheduler flags by the names of `ipvsadm`, as the kernel's bits.
pub const FLAGS: [(&str, u32); 7] = [
    ("sh-fallback", 0x08),
    ("sh-port", 0x10),
    ("mh-fallback", 0x08),
    ("mh-port", 0x10),
    ("flag-1", 0x08),
    ("flag-2", 0x10),
    ("flag-3", 0x20),
];

/// The scheduler's flags, and whether there are some that nobody knows.
pub fn schedflags(directive: &Directive, faults: &mut Faults) -> Option<(Found<u32>, bool)> {
    let (list, _) = directive.value.take(|b| !is_blank(b));
    if list.is_empty() {
        faults.push(refuse(directive, "invalid sched-flags"));
        return None;
    }
    let mut bits = 0;
    let mut at = 0;
    let mut refused = false;
    for name in list.bytes.split(|&b| b == b',') {
        let name = list.part(at, at + name.len());
        at += name.bytes.len() + 1;
        match flag(&String::from_utf8_lossy(name.bytes)) {
            Some(bit) => bits |= bit,
            None => {
                refused = true;
                faults.push(strange_flag(name));
            }
        }
    }
    Some((Found { value: bits, span: list.span() }, refused))
}

/// The kernel's bit of a flag by its name.
pub fn flag(name: &str) -> Option<u32> {
    FLAGS.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit)
}

fn strange_flag(name: Text) -> Fault {
    let known: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
    let allowed = format!("a comma separated list of {}", known.join(", "));
    let help = did_you_mean(&name.shown(), known, &allowed);
    let message = format!("there is no scheduler flag `{}`: the service stays out", name.shown());
    Fault::mistake(name.span(), message).help(help)
}

/// The netmask of a persistent service as the kernel wants it, and whether the kernel refuses it.
pub fn netmask(directive: &Directive, v6: bool, faults: &mut Faults) -> Option<(Found<u32>, bool)> {
    let text = whole(directive, faults);
    let value = if v6 { prefix(text) } else { quad(text) };
    if let Some(value) = value {
        return Some((Found { value, span: text.span() }, false));
    }
    if !v6 && is_quad(text) {
        let fault = Fault::mistake(text.span(), "this is no netmask: the service stays out");
        faults.push(fault.help("each of the four numbers is 0 to 255"));
        return Some((Found { value: u32::MAX, span: text.span() }, true));
    }
    let (complaint, help) = match v6 {
        true => ("invalid netmask: a prefix length between 1 and 128 is required", "for instance netmask=64"),
        false => ("invalid netmask: dotted quad notation is required", "for instance netmask=255.255.255.0"),
    };
    faults.push(Fault::error(text.span(), complaint).help(help));
    None
}

fn is_quad(text: Text) -> bool {
    let parts: Vec<&[u8]> = text.bytes.split(|&b| b == b'.').collect();
    parts.len() == 4 && parts.iter().all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

fn prefix(text: Text) -> Option<u32> {
    value::decimal(text.bytes).filter(|length| (1..=128).contains(length))
}

fn quad(text: Text) -> Option<u32> {
    let mut octets = [0u8; 4];
    let mut parts = text.bytes.split(|&b| b == b'.');
    for octet in &mut octets {
        *octet = value::decimal(parts.next()?)?.try_into().ok()?;
    }
    parts.next().is_none().then_some(u32::from_be_bytes(octets))
}
