//! What is told of an operation that was carried out: a line, and the same as facts. The log takes the
//! one, alerts take both.

use std::net::SocketAddr;

use crate::director::Director;
use crate::director::event::Decision;
use crate::model::{ServiceKey, Weight};
use crate::table::Op;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In ldirectord's words.
    pub line: String,
    /// What happened.
    pub what: What,
    /// To which service.
    pub service: ServiceKey,
    /// To which of its destinations, as the line names it; none when it is about the service.
    pub server: Option<SocketAddr>,
    /// The weight that it has now; none when it is not in the table any more.
    pub weight: Option<Weight>,
}

/// What happened to a service, a server of it, or its fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A service was made, changed or removed.
    Service,
    /// A server, or one that is not configured, is in the table now, with weight above 0.
    Added,
    /// It was in the table and was changed: most often it got its weight back.
    Restored,
    /// It left the table.
    Deleted,
    /// It is in the table with weight 0.
    Quiescent,
    /// It is in the table with weight 0, and was not in it before.
    ReaddQuiescent,
    /// It left the table since it is not configured, or with the daemon's end.
    Purged,
    /// The fallback is in the table now.
    FallbackAdded,
    /// The fallback was in the table and was changed.
    FallbackRestored,
    /// The fallback left the table.
    FallbackDeleted,
}

/// What is told of an operation, in order.
pub fn told(op: &Op, director: &Director, stopping: bool) -> Vec<Told> {
    let (server, weight) = match op {
        Op::NewService(..) | Op::SetService(..) | Op::DelService(_) => (None, None),
        Op::NewDestination(_, at, d) | Op::SetDestination(_, at, d) => (Some(*at), Some(d.weight)),
        Op::DelDestination(_, at) => (Some(*at), None),
    };
    let service = *op.service();
    let what = what(op, director);
    let line = line(op, what, director, stopping);
    let server = server.map(|at| configured(director, &service, &at));
    let mut all = match op {
        Op::DelService(key) if stopping => purged(key, director),
        _ => Vec::new(),
    };
    all.push(Told { line, what, service, server, weight });
    all
}

/// The servers that go with their service at the daemon's end: one operation of ours, and a line
/// each in ldirectord's log.
fn purged(key: &ServiceKey, director: &Director) -> Vec<Told> {
    let pool = director.pool(key).into_iter();
    let serving = pool.flat_map(|pool| pool.decisions().filter(|decision| decision.rule.is_up()));
    let told = |d: Decision| Told {
        line: format!("Purged real server (stop): {} ({key})", d.server),
        what: What::Purged,
        service: *key,
        server: Some(d.server),
        weight: None,
    };
    serving.map(told).collect()
}

fn what(op: &Op, director: &Director) -> What {
    let (key, at, weight, is_new) = match op {
        Op::NewService(..) | Op::SetService(..) | Op::DelService(_) => return What::Service,
        Op::DelDestination(key, at) => {
            return match role(director, key, at) {
                Role::Server => What::Deleted,
                Role::Fallback => What::FallbackDeleted,
                Role::Stranger => What::Purged,
            };
        }
        Op::NewDestination(key, at, d) => (key, at, d.weight, true),
        Op::SetDestination(key, at, d) => (key, at, d.weight, false),
    };
    let serves = match role(director, key, at) {
        Role::Fallback if is_new => return What::FallbackAdded,
        Role::Fallback => return What::FallbackRestored,
        // One that is up with weight 0 has it from the configuration.
        Role::Server => weight.is_live() || decision(director, key, at).is_some_and(|d| d.rule.is_up()),
        Role::Stranger => weight.is_live(),
    };
    match (serves, is_new) {
        (true, true) => What::Added,
        (true, false) => What::Restored,
        (false, true) => What::ReaddQuiescent,
        (false, false) => What::Quiescent,
    }
}

/// The operation in ldirectord's words.
fn line(op: &Op, what: What, director: &Director, stopping: bool) -> String {
    let phase = if stopping { "stop" } else { "start" };
    match op {
        Op::NewService(key, _) => format!("Added virtual server: {key}"),
        Op::SetService(key, _) => format!("Changed virtual server: {key}"),
        Op::DelService(key) => format!("Purged virtual server ({phase}): {key}"),
        Op::NewDestination(key, at, d) | Op::SetDestination(key, at, d) => {
            let shown = match what {
                What::Quiescent => mapped(director, key, at),
                _ => configured(director, key, at).to_string(),
            };
            format!("{} server: {shown} ({key}) (Weight set to {})", verb(what), d.weight)
        }
        Op::DelDestination(key, at) if what == What::Purged => {
            format!("Purged real server ({phase}): {at} ({key})")
        }
        Op::DelDestination(key, at) => {
            format!("{} server: {} ({key})", verb(what), mapped(director, key, at))
        }
    }
}

fn verb(what: What) -> &'static str {
    match what {
        What::Service | What::Purged => "Purged real",
        What::Added => "Added real",
        What::Restored => "Restored real",
        What::Deleted => "Deleted real",
        What::Quiescent => "Quiescent real",
        What::ReaddQuiescent => "Readd Quiescent real",
        What::FallbackAdded => "Added fallback",
        What::FallbackRestored => "Restored fallback",
        What::FallbackDeleted => "Deleted fallback",
    }
}

/// What a destination is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Fallback,
    Stranger,
}

fn role(director: &Director, key: &ServiceKey, at: &SocketAddr) -> Role {
    let Some(pool) = director.pool(key) else { return Role::Stranger };
    let service = pool.service();
    let fallback = service.policy.fallbacks.iter().any(|fallback| fallback.entry == *at);
    let server = service.servers.iter().any(|server| server.entry == *at);
    match (server, fallback) {
        (true, true) if pool.fallback_serving().is_some() => Role::Fallback,
        (true, _) => Role::Server,
        (false, true) => Role::Fallback,
        (false, false) => Role::Stranger,
    }
}

fn decision(director: &Director, key: &ServiceKey, at: &SocketAddr) -> Option<Decision> {
    director.pool(key)?.decisions().find(|decision| decision.entry == *at)
}

/// A destination's address as the configuration has it: `gate` and `ipip` keep the service's port.
fn configured(director: &Director, key: &ServiceKey, at: &SocketAddr) -> SocketAddr {
    let Some(pool) = director.pool(key) else { return *at };
    let service = pool.service();
    let found = match role(director, key, at) {
        Role::Fallback => {
            service.policy.fallbacks.iter().find(|fallback| fallback.entry == *at).map(|f| f.address)
        }
        Role::Server => service.servers.iter().find(|server| server.entry == *at).map(|s| s.address),
        Role::Stranger => None,
    };
    found.unwrap_or(*at)
}

/// A destination's address in the table, and where that is another one, as the configuration has it.
fn mapped(director: &Director, key: &ServiceKey, at: &SocketAddr) -> String {
    let configured = configured(director, key, at);
    if configured == *at { at.to_string() } else { format!("{at} mapped from {configured}") }
}
