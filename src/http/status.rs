//! How things stand, as JSON: types of its own, made from a snapshot. They change only by additions.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ask::{Leaving, Obeyed, Pace, Seen, Snapshot};
use crate::director::event::Decision;
use crate::director::order::Order;
use crate::director::reason::Rule;
use crate::model::Moment;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its configuration's file.
    pub config: String,
    /// When it started.
    pub started: String,
    /// Whether it is about to end.
    pub stopping: bool,
    /// Whether it keeps the kernel's table; else it stands by.
    pub active: bool,
    /// Why it does, or does not.
    pub role: String,
    /// How much of what it looks at it can see, in percent: for a cluster that chooses among directors.
    pub fitness: u8,
    /// What makes it unwell, while removals are delayed for it.
    pub unwell: Option<String>,
    /// How checks keep their interval.
    pub probes: Pace,
    /// The services, in order.
    pub services: Vec<Service>,
    /// Servers that left the configuration and are drained.
    pub leaving: Vec<Gone>,
    /// What operators decided.
    pub orders: Vec<Ordered>,
}

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A server of it is up.
    Up,
    /// None is, and a fallback serves.
    Fallback,
    /// None is, and no fallback serves.
    Down,
    /// Its first checks are under way.
    Waiting,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its id: `tcp:192.0.2.10:80`, `fwm:7`.
    pub service: String,
    /// What people call it.
    pub name: Option<String>,
    /// How it stands.
    pub state: State,
    /// Who spreads its connections.
    pub scheduler: String,
    /// The fallback that serves.
    pub fallback: Option<String>,
    /// Where the configuration names it.
    pub origin: String,
    /// Its servers, as configured.
    pub servers: Vec<Server>,
}

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its address as configured.
    pub server: String,
    /// Whether it counts as up.
    pub up: bool,
    /// Its health: `up`, `down`, `unknown`, `failing`, `recovering`.
    pub health: String,
    /// The rule behind its weight, as a word that stays.
    pub rule: String,
    /// Why, in words.
    pub why: String,
    /// The weight it shall have; none: it is not in the table.
    pub weight: Option<u32>,
    /// What the kernel has of it, as far as we know.
    pub kernel: Option<Kernel>,
    /// Since when it is up, down or unknown.
    pub since: String,
    /// For how many seconds.
    pub seconds: u64,
    /// Its last result.
    pub last: Option<String>,
    /// Where the configuration names it.
    pub origin: String,
}

/// What the kernel has of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its address in the table.
    pub entry: String,
    /// Its weight.
    pub weight: u32,
    /// Connections that are worth waiting for, while somebody of the service is drained.
    pub connections: Option<u64>,
}

/// A server that left the configuration and is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The service.
    pub service: String,
    /// Its address in the table.
    pub server: String,
    /// Connections that are waited for, once they were counted.
    pub connections: Option<u64>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// What: `drain`, `disable`, `weight 5`.
    pub order: String,
    /// Whom.
    pub whom: String,
    /// Why.
    pub reason: Option<String>,
    /// When it was given.
    pub given: String,
    /// When it ends by itself.
    pub until: Option<String>,
    /// When a drain is over at the latest.
    pub deadline: Option<String>,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The orders that were given or taken back.
    pub orders: Vec<Ordered>,
    /// The servers concerned, each with its service.
    pub servers: Vec<Concerned>,
    /// What the operator should know all the same.
    pub warning: Option<String>,
}

/// A server that an order is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concerned {
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// The rule behind its weight.
    pub rule: String,
    /// Why, in words.
    pub why: String,
}

/// People's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the daemon started: since 1970.
    pub epoch: Duration,
}

impl Clock {
    /// A moment in people's words: `2026-11-25T02:24:19Z`.
    pub fn time(&self, moment: Moment) -> String {
        stamp((self.epoch + moment.0).as_secs())
    }
}

fn stamp(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".into(), |time| time.to_string())
}

/// How things stand.
pub fn status(seen: &Snapshot) -> Status {
    let clock = Clock { epoch: seen.epoch };
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        config: seen.path.display().to_string(),
        started: clock.time(Moment::default()),
        stopping: seen.stopping,
        active: seen.active,
        role: seen.role.clone(),
        fitness: seen.fitness,
        probes: seen.pace,
        unwell: seen.illness.map(|illness| illness.to_string()),
        services: seen.services.iter().map(|service| self::service(service, clock, seen.now)).collect(),
        leaving: seen.leaving.iter().map(gone).collect(),
        orders: seen.orders.iter().map(|order| ordered(order, clock)).collect(),
    }
}

/// One service.
pub(super) fn service(seen: &Seen, clock: Clock, now: Moment) -> Service {
    let Seen { service, name, serving, fallback, decisions, .. } = seen;
    Service {
        service: service.key.id(),
        name: name.clone(),
        state: match (serving, fallback) {
            (None, _) => State::Waiting,
            (Some(true), _) => State::Up,
            (Some(false), Some(_)) => State::Fallback,
            (Some(false), None) => State::Down,
        },
        scheduler: service.settings.scheduler.clone(),
        fallback: fallback.map(|at| at.to_string()),
        origin: service.origin.to_string(),
        servers: decisions.iter().map(|decision| server(seen, decision, clock, now)).collect(),
    }
}

fn server(seen: &Seen, decision: &Decision, clock: Clock, now: Moment) -> Server {
    let health = decision.health.to_string();
    Server {
        server: decision.server.to_string(),
        up: decision.rule.is_up(),
        health: health.split(' ').next().unwrap_or_default().to_owned(),
        rule: code(decision.rule).into(),
        why: why(decision),
        weight: decision.weight.map(|weight| weight.get()),
        kernel: kernel(seen, decision),
        since: clock.time(decision.since),
        seconds: now.0.saturating_sub(decision.since.0).as_secs(),
        last: decision.last.as_ref().map(|outcome| outcome.to_string()),
        origin: decision.origin.to_string(),
    }
}

fn kernel(seen: &Seen, decision: &Decision) -> Option<Kernel> {
    let stands = seen.kernel.as_ref()?.destinations.get(&decision.entry)?;
    let flow = seen.flows.get(&decision.entry);
    Some(Kernel {
        entry: decision.entry.to_string(),
        weight: stands.weight.get(),
        connections: flow.map(|flow| flow.open(&seen.service.key)),
    })
}

fn gone(leaving: &Leaving) -> Gone {
    Gone {
        service: leaving.service.id(),
        server: leaving.server.to_string(),
        connections: leaving.flow.map(|flow| flow.open(&leaving.service)),
    }
}

/// One order.
pub(super) fn ordered(order: &Order, clock: Clock) -> Ordered {
    Ordered {
        order: order.deed.to_string(),
        whom: order.whom.to_string(),
        reason: order.reason.clone(),
        given: stamp(order.given),
        until: order.until.map(|until| clock.time(until)),
        deadline: order.deadline.map(|deadline| clock.time(deadline)),
    }
}

/// What came of an order.
pub fn done(obeyed: &Obeyed) -> Done {
    let clock = Clock { epoch: obeyed.epoch };
    let concerned = |decision: &Decision| Concerned {
        service: decision.service.id(),
        server: decision.server.to_string(),
        rule: code(decision.rule).into(),
        why: why(decision),
    };
    let warning = obeyed.forgotten.as_ref();
    Done {
        orders: obeyed.orders.iter().map(|order| ordered(order, clock)).collect(),
        servers: obeyed.servers.iter().map(concerned).collect(),
        warning: warning.map(|why| format!("it is in force, and forgotten with the next restart: {why}")),
    }
}

/// Why a server's weight is what it is, in words.
pub(super) fn why(decision: &Decision) -> String {
    let rule = decision.rule;
    match (&decision.last, decision.reasons.is_empty()) {
        (_, false) => {
            let reasons = decision.reasons.iter().map(|reason| reason.to_string());
            format!("{rule}; {}", reasons.collect::<Vec<_>>().join("; "))
        }
        (Some(outcome), true) if matches!(rule, Rule::Up | Rule::Failed) => outcome.to_string(),
        (Some(outcome), true) if matches!(rule, Rule::Spared | Rule::Kept) => format!("{rule}; {outcome}"),
        _ => rule.to_string(),
    }
}

/// A word for the rule that stays.
pub(super) fn code(rule: Rule) -> &'static str {
    match rule {
        Rule::Up => "up",
        Rule::On => "on",
        Rule::Off => "off",
        Rule::NotChecked => "not-checked",
        Rule::Adopted => "adopted",
        Rule::Failed => "failed",
        Rule::Maintenance => "maintenance",
        Rule::Draining => "draining",
        Rule::Drained => "drained",
        Rule::Disabled => "disabled",
        Rule::Hold => "hold",
        Rule::Waiting => "waiting",
        Rule::ByHand => "by-hand",
        Rule::Ordered => "ordered",
        Rule::Rising => "rising",
        Rule::Spared => "spared",
        Rule::Kept => "kept",
    }
}
