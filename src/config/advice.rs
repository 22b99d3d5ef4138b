//! What is likely not meant: warnings, never errors. Pure.

use crate::config::build::port;
use crate::config::diagnostic::Faults;
use crate::config::draft::{ServerDraft, ServiceDraft};
use crate::config::resolve::address::entry;
use crate::model::{Fallback, Family, OnFailure, Protocol, ServiceKey};
use crate::probe::Kind;
use crate::span::Fault;

/// The kernel's bit of the flags `sh-fallback` and `mh-fallback`.
const FALLBACK_FLAG: u32 = 0x08;

/// Doubts about a whole service.
pub fn service(draft: &ServiceDraft, faults: &mut Faults) {
    persistence(draft, faults);
    if draft.on_failure.value == OnFailure::Quiesce {
        quiescence(draft, faults);
    }
    for fallback in &draft.fallbacks {
        same_as_fallback(draft, &fallback.fallback.value, faults);
    }
}

fn persistence(draft: &ServiceDraft, faults: &mut Faults) {
    if let (Some(mask), None) = (&draft.netmask.span, &draft.persistent) {
        let fault = Fault::advice(mask.clone(), "`netmask` has no effect without `persistent`");
        faults.push(fault.help("it says which clients persistence takes for one"));
    }
}

/// What failed servers with weight 0 go on doing.
fn quiescence(draft: &ServiceDraft, faults: &mut Faults) {
    let span = draft.on_failure.span.clone().unwrap_or(draft.span.clone());
    let mut warn = |message: &str, help: &str| {
        faults.push(Fault::advice(span.clone(), message).help(help));
    };
    if matches!(draft.key, ServiceKey::Address(Protocol::Udp, _)) && !draft.one_packet.value {
        let help =
            "their packets keep its connection entry alive; removing failed servers from this service helps";
        warn("udp clients stay with a failed server that is only quiesced", help);
    }
    if draft.persistent.is_some() {
        let help = "sysctl net.ipv4.vs.expire_quiescent_template=1 lets them go; or remove failed servers";
        warn("persistent clients stay with a failed server that is only quiesced", help);
    }
    let hashes = matches!(draft.scheduler.value.as_str(), "sh" | "mh");
    if hashes && draft.flags.value & FALLBACK_FLAG == 0 {
        let scheduler = &draft.scheduler.value;
        let message =
            format!("with `{scheduler}` clients of a failed server that is only quiesced are refused");
        let help = format!("schedflags={scheduler}-fallback sends them elsewhere; or remove failed servers");
        warn(&message, &help);
    }
}

fn same_as_fallback(draft: &ServiceDraft, fallback: &Fallback, faults: &mut Faults) {
    let entries = |line: &ServerDraft| {
        let forward = line.forward.value;
        line.addresses().any(|address| entry(draft.key, forward, address) == fallback.entry)
    };
    for line in draft.servers.iter().filter(|line| entries(line)) {
        let message = format!("this server is the fallback too ({})", fallback.address);
        let help = "it serves unchecked when all have failed, itself included";
        faults.push(Fault::advice(line.span.clone(), message).help(help));
    }
}

/// Doubts about the ports of a server.
pub fn server(draft: &ServiceDraft, line: &ServerDraft, kind: &Kind, faults: &mut Faults) {
    let address = line.address;
    let mut warn = |message: String, help: &str| {
        faults.push(Fault::advice(line.span.clone(), message).help(help));
    };
    let in_table = entry(draft.key, line.forward.value, address);
    let needs_port = kind.port.is_some() || kind.name == "connect";
    if needs_port && port(&draft.check, address.port()) == 0 {
        let help = "give the server a port, or the check one (`checkport`)";
        warn("checks go to port 0, where nobody answers".into(), help);
    }
    if draft.key.port().is_some_and(|port| port != 0) && address.port() == 0 {
        let message = format!("the server has no port: it stands in the table as {in_table}");
        warn(message, "write ADDRESS:PORT");
    } else if in_table != address {
        let (forward, port) = (line.forward.value, in_table.port());
        let message =
            format!("with `{forward}` packets keep the port of the service: they go to port {port}");
        warn(message, "write that port here, and `checkport` for another port to check");
    }
    if draft.key.family() == Family::V4 && address.ip().is_unspecified() {
        warn("0.0.0.0 is no server".into(), "an address of a real server");
    }
}
