//! Why a service and its servers are as they are, as JSON: what rests behind each weight, and what would
//! change it.

use serde::{Deserialize, Serialize};

use super::ask::{Heard, Seen, Snapshot};
use super::status::{self, Clock, Service};
use crate::director::event::Decision;
use crate::director::health::Health;
use crate::director::order::Deed;
use crate::director::reason::Reason;
use crate::director::reason::Rule;
use crate::model::{FailOpen, OnFailure, Policy};

/// A service, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// How it stands.
    #[serde(flatten)]
    pub service: Service,
    /// How it reacts, a line each.
    pub policy: Vec<String>,
    /// Its fallbacks, in their order.
    pub fallbacks: Vec<Resort>,
    /// What the kernel holds of it; none: it is not there, as far as we know.
    pub kernel: Option<Vec<String>>,
    /// More of each server, in the order of the service's.
    pub details: Vec<Details>,
}

/// A fallback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resort {
    /// Its address.
    pub server: String,
    /// Whether it is taken for up.
    pub up: bool,
}

/// More of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Its address.
    pub server: String,
    /// Its health, with how many results in a row.
    pub health: String,
    /// Its weight in the configuration.
    pub configured: u32,
    /// What the rule means.
    pub rule: String,
    /// Why it is out, beside its health.
    pub reasons: Vec<String>,
    /// Its last results, oldest first.
    pub results: Vec<Answer>,
    /// What would change its weight.
    pub next: Vec<String>,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When it came.
    pub time: String,
    /// Whether it is good.
    pub good: bool,
    /// What was seen.
    pub text: String,
}

/// Explains the services of a snapshot, and of them the servers that `which` picks.
pub fn explain(seen: &Snapshot, which: impl Fn(&Decision) -> bool) -> Vec<Explained> {
    let clock = Clock { epoch: seen.epoch };
    seen.services.iter().map(|service| explained(service, seen, clock, &which)).collect()
}

fn explained(seen: &Seen, all: &Snapshot, clock: Clock, which: &impl Fn(&Decision) -> bool) -> Explained {
    let policy = &seen.service.policy;
    let mut service = status::service(seen, clock, all.now);
    let picked: Vec<bool> = seen.decisions.iter().map(which).collect();
    let mut keep = picked.iter();
    service.servers.retain(|_| keep.next().copied().unwrap_or(false));
    let chosen = (0..seen.decisions.len()).filter(|i| picked[*i]);
    let kernel = seen.kernel.as_ref().map(|entry| {
        let line =
            |(at, d): (_, &crate::table::Destination)| format!("{at} {} weight {}", d.forward, d.weight);
        entry.destinations.iter().map(line).collect()
    });
    Explained {
        service,
        policy: lines(policy),
        fallbacks: seen.fallbacks.iter().map(|(at, up)| Resort { server: at.to_string(), up: *up }).collect(),
        kernel,
        details: chosen.map(|i| details(seen, i, clock)).collect(),
    }
}

fn lines(policy: &Policy) -> Vec<String> {
    let mut all = vec![
        format!(
            "{} bad results in a row take a server down, {} good ones bring it up",
            policy.fall, policy.rise
        ),
        match policy.on_failure {
            OnFailure::Remove => "a failed server leaves the table".into(),
            OnFailure::Quiesce => "a failed server stays in the table with weight 0".into(),
        },
    ];
    if let Some(hold) = policy.hold {
        let (within, time) = (hold.within.as_secs(), hold.time.as_secs());
        all.push(format!("{} falls within {within} s keep a server out for {time} s", hold.falls));
    }
    if let Some(slow) = policy.slow_start {
        all.push(format!("a server that comes up beside others gets its weight within {} s", slow.as_secs()));
    }
    match policy.fail_open {
        FailOpen::No => {}
        FailOpen::KeepLast => all.push("with nobody left, the server that was up last stays".into()),
        FailOpen::KeepAll => all.push("with nobody left, all servers that were ever up stay".into()),
    }
    all
}

fn details(seen: &Seen, i: usize, clock: Clock) -> Details {
    let decision = &seen.decisions[i];
    let result = |heard: &Heard| Answer {
        time: clock.time(heard.at),
        good: heard.outcome.is_good(),
        text: heard.outcome.to_string(),
    };
    Details {
        server: decision.server.to_string(),
        health: decision.health.to_string(),
        configured: seen.service.servers.get(i).map_or(0, |server| server.weight.get()),
        rule: decision.rule.to_string(),
        reasons: decision.reasons.iter().map(|reason| told(reason, clock)).collect(),
        results: seen.results.get(i).into_iter().flatten().map(result).collect(),
        next: next(decision, &seen.service.policy, clock),
    }
}

/// A reason, with when it ends.
fn told(reason: &Reason, clock: Clock) -> String {
    match reason {
        Reason::Hold(until) => format!("{reason}, until {}", clock.time(*until)),
        Reason::Order(order) => {
            let until = order.until.map(|until| format!(", until {}", clock.time(until)));
            format!("{reason}{}", until.unwrap_or_default())
        }
        Reason::Maintenance(_) => reason.to_string(),
    }
}

/// What would change a server's weight.
fn next(decision: &Decision, policy: &Policy, clock: Clock) -> Vec<String> {
    let server = decision.server;
    let mut all: Vec<String> = decision.reasons.iter().map(|reason| end(reason, decision, clock)).collect();
    if !all.is_empty() {
        all.push("once no reason is left, its next good check brings it back".into());
        return all;
    }
    let falls = |n: u32| format!("{} more bad results in a row take it down", policy.fall.saturating_sub(n));
    let rises = |n: u32| format!("{} more good results in a row bring it up", policy.rise.saturating_sub(n));
    all.push(match (decision.rule, decision.health) {
        (Rule::On | Rule::Off, _) => "another check type in the configuration".into(),
        (Rule::Waiting, _) => "its next good check brings it back".into(),
        (Rule::NotChecked, _) => "its first good result puts it into the table".into(),
        (Rule::Adopted, _) => "its first result decides".into(),
        (_, Health::Failing(n)) => falls(n),
        (_, Health::Up) => falls(0),
        (_, Health::Recovering(n)) => rises(n),
        (_, Health::Down) => rises(0),
        (_, Health::Unknown) => "its first result decides".into(),
    });
    match decision.rule {
        Rule::ByHand => all.push("its next change of health, or another weight by ipvsadm".into()),
        Rule::Ordered => all.push(format!("`lvsentry weight {server} auto` gives its own weight back")),
        Rule::Rising => all.push("its weight grows by itself".into()),
        Rule::Spared => all.push("it leaves when this director's illness lasts too long, or is over".into()),
        Rule::Kept => all.push("it leaves when another server comes up".into()),
        _ => {}
    }
    all
}

/// What ends a reason.
fn end(reason: &Reason, decision: &Decision, clock: Clock) -> String {
    match reason {
        Reason::Maintenance(file) => format!("the end of maintenance file {file}"),
        Reason::Hold(until) => format!("the end of its hold at {}", clock.time(*until)),
        Reason::Order(order) => {
            let by_itself =
                order.until.map(|until| format!(", or the end of the order at {}", clock.time(until)));
            let drained =
                order.deadline.filter(|_| order.deed == Deed::Drain && decision.rule == Rule::Draining);
            let leaves = drained
                .map(|at| format!("; it leaves the table without connections, or at {}", clock.time(at)));
            let whom = order.whom;
            let server = whom.port.map_or_else(|| whom.ip.to_string(), |_| decision.server.to_string());
            let service = whom.service.map(|key| format!(" --service {}", key.id())).unwrap_or_default();
            format!(
                "`lvsentry enable {server}{service}`{}{}",
                by_itself.unwrap_or_default(),
                leaves.unwrap_or_default()
            )
        }
    }
}
