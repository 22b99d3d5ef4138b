//! What comes into the director, and what people must hear of. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::health::Health;
use super::order::{Order, Sort, Whom};
use super::reason::{Reason, Rule, SPARE};
use crate::model::{Moment, Plan, ProbeKey, ServiceKey, Weight};
use crate::outcome::{Illness, Outcome};
use crate::span::Place;
use crate::table::Entry;

/// The servers, by their addresses as configured, that a maintenance file takes out, and the name of
/// that file.
pub type Held = BTreeMap<SocketAddr, Arc<str>>;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A probe was answered, or not.
    Answered(ProbeKey, Outcome),
    /// A service of ours stands in the kernel, and we meet it there for the first time.
    Found(ServiceKey, Arc<Entry>),
    /// Somebody else gave a destination of ours this weight: the kernel's table differs from what
    /// it was when we last looked, and no operation of ours lies between.
    SetByHand(ServiceKey, SocketAddr, Weight),
    /// These servers, and no others, are in maintenance: wherever they stand, now and after reloads.
    Maintenance(Held),
    /// An operator decided something about servers.
    Ordered(Order),
    /// An operator takes back his orders of these kinds about these servers.
    Lifted(Whom, Vec<Sort>),
    /// These destinations of a service stand in the kernel with weight 0, and have no connection left.
    Idle(ServiceKey, BTreeSet<SocketAddr>),
    /// The kernel's table is no longer ours to keep: what was only believed of it is forgotten.
    LetGo,
    /// A new configuration is in force.
    Reloaded(Plan),
    /// Time has come to what [`super::Director::deadline`] said.
    Tick,
}

/// A confirmed change, told once.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A server is up now, or down, after it was not; or its first result came.
    Changed(Decision),
    /// A bad result that does not take the server down yet: the how-manyth of how many.
    Soft(Decision, u32, u32),
    /// A good result after bad ones, whether they had taken the server down or not.
    SoftOver(Decision),
    /// A weight set by hand holds until the server's next transition.
    ByHand(Decision),
    /// A maintenance file of this name took a server out.
    Maintenance(Decision, Arc<str>),
    /// The file is gone: the server comes back once it has given a good result.
    MaintenanceOver(Decision),
    /// An operator's order is in force for a server.
    Ordered(Decision, Arc<Order>),
    /// An operator's order is not in force any more: taken back, or its time is over.
    OrderOver(Decision, Arc<Order>),
    /// No weight is ordered any more.
    WeightBack(Decision),
    /// A server that is drained has no connection left, or its time is over.
    Drained(Decision),
    /// A server fell again and again, and has to wait until then.
    Held(Decision, Moment),
    /// It has waited long enough.
    HoldOver(Decision),
    /// A fallback of a service that is checked was found up, or down.
    Fallback(ServiceKey, SocketAddr, Outcome),
    /// Servers fail with evidence that we are the reason: they stay in for a while.
    Ill(Illness),
    /// No removal is delayed any more, since no server fails for it.
    Well,
    /// The same, since it has been delayed for as long as it may be.
    StillIll,
    /// No server of the service is up; whether a fallback serves now.
    AllDown(ServiceKey, Option<SocketAddr>),
    /// A server of the service is up again after none was.
    Served(ServiceKey),
}

impl fmt::Display for Notice {
    /// One line for people; for failures in a row in ldirectord's words, which log watchers know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Changed(d) => write!(f, "Real server {d}"),
            Notice::Soft(d, n, of) => {
                write!(f, "Soft failure real server: {} ({}) failure {n}/{of}", d.server, d.service.id())
            }
            Notice::SoftOver(d) => {
                write!(f, "Resetting soft failure count: {} ({})", d.server, d.service.id())
            }
            Notice::ByHand(d) => {
                write!(f, "Weight of real server {} ({}) was set by hand: ", d.server, d.service)?;
                let weight = d.weight.unwrap_or(Weight::ZERO);
                write!(f, "{weight} holds until the server's next transition")
            }
            Notice::Maintenance(d, file) => {
                write!(f, "Real server {} ({}) is in maintenance: file {file}", d.server, d.service)
            }
            Notice::MaintenanceOver(d) => {
                write!(f, "Real server {} ({}) is no longer in maintenance", d.server, d.service)?;
                let waits = d.rule == Rule::Waiting;
                if waits { f.write_str(": it comes back with its next good check") } else { Ok(()) }
            }
            Notice::Ordered(d, order) => {
                let why = order.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                write!(f, "Real server {} ({}): {} ordered{why}", d.server, d.service, order.deed)
            }
            Notice::OrderOver(d, order) => {
                write!(f, "Real server {} ({}): {} no longer ordered", d.server, d.service, order.deed)?;
                let waits = d.rule == Rule::Waiting;
                if waits { f.write_str(": it comes back with its next good check") } else { Ok(()) }
            }
            Notice::WeightBack(d) => {
                write!(f, "Real server {} ({}): no weight is ordered any more", d.server, d.service)
            }
            Notice::Drained(d) => write!(f, "Real server {} ({}) is drained", d.server, d.service),
            Notice::Held(d, _) => {
                write!(f, "Real server {} ({}) fell again and again: it is held out", d.server, d.service)
            }
            Notice::HoldOver(d) => {
                write!(f, "Real server {} ({}) is no longer held out", d.server, d.service)?;
                f.write_str(": it comes back with its next good check")
            }
            Notice::Fallback(key, at, outcome) => {
                let what = if outcome.is_good() { "up" } else { "down" };
                write!(f, "Fallback server {at} ({key}) is {what}: {outcome}")
            }
            Notice::Ill(illness) => write!(
                f,
                "This director is unwell: {illness}; servers that fail for it stay in for up to {} s",
                SPARE.as_secs()
            ),
            Notice::Well => f.write_str("This director is well again: no removal is delayed"),
            Notice::StillIll => f.write_str(
                "This director is still unwell and waits no longer: servers that fail for it leave",
            ),
            Notice::AllDown(key, Some(fallback)) => {
                write!(f, "No real server of {key} is up: fallback {fallback} serves")
            }
            Notice::AllDown(key, None) => write!(f, "No real server of {key} is up, and no fallback"),
            Notice::Served(key) => write!(f, "Real servers of {key} serve again"),
        }
    }
}

/// The decision about one server of one service, with all that it rests on. Logs, status and
/// explanations are renderings of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The service.
    pub service: ServiceKey,
    /// The server, as configured.
    pub server: SocketAddr,
    /// Its address in the kernel's table.
    pub entry: SocketAddr,
    /// The weight it shall have; none when it shall not be in the table.
    pub weight: Option<Weight>,
    /// The rule that says so.
    pub rule: Rule,
    /// Why it is out, beside its health.
    pub reasons: Vec<Reason>,
    /// Its health.
    pub health: Health,
    /// Since when it is up, down or unknown.
    pub since: Moment,
    /// Its last result.
    pub last: Option<Outcome>,
    /// Where the configuration names it.
    pub origin: Place,
}

impl fmt::Display for Decision {
    /// `10.0.0.1:80 (192.0.2.10:80) is down: connect-refused: … (0.3 ms)`, one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) is {}", self.server, self.service, self.health)?;
        match (&self.last, self.rule) {
            (
                _,
                Rule::Maintenance
                | Rule::Draining
                | Rule::Drained
                | Rule::Disabled
                | Rule::Hold
                | Rule::Waiting,
            ) => write!(f, ": {}", self.rule),
            (_, Rule::ByHand) => write!(f, "; weight {} set by hand", self.weight.unwrap_or(Weight::ZERO)),
            (Some(outcome), _) => write!(f, ": {outcome}"),
            (None, rule) => write!(f, ": {rule}"),
        }
    }
}
