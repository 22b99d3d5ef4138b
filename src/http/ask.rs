//! What is asked of the daemon's loop, and what it answers: plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, oneshot};

use crate::director::event::Decision;
use crate::director::order::{Deed, Order, Sort};
use crate::model::{Moment, Service, ServiceKey};
use crate::outcome::{Illness, Outcome};
use crate::table::Entry;
use crate::table::flow::Flow;

/// A question to the loop, with where the answer goes. Who does not wait for it any more has dropped that.
pub enum Ask {
    /// How things stand, with the services that are called so, or with all.
    Look(Option<String>, oneshot::Sender<Snapshot>),
    /// The same, with the last results of each server.
    LookBack(String, oneshot::Sender<Snapshot>),
    /// What happened lately, and what will.
    Recent(oneshot::Sender<Recent>),
    /// An order.
    Order(Wish, oneshot::Sender<Result<Obeyed, Refusal>>),
    /// Orders are taken back.
    Lift(Lift, oneshot::Sender<Result<Obeyed, Refusal>>),
    /// The configuration is to be read anew.
    Reload(oneshot::Sender<Result<Reloaded, Refusal>>),
    /// It is to keep the table, or to stand by.
    Turn(bool, oneshot::Sender<bool>),
    /// The daemon is to end.
    Stop(oneshot::Sender<()>),
}

/// Which servers somebody means, in his words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// An address with or without a port, or a name as the configuration has it.
    pub server: String,
    /// A service's id, address or name; none for wherever the server stands.
    pub service: Option<String>,
}

/// What somebody wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// With whom.
    pub named: Named,
    /// What.
    pub deed: Deed,
    /// Why.
    pub reason: Option<String>,
    /// How long; none until it is taken back.
    pub lasting: Option<Duration>,
    /// How long a drain may take.
    pub deadline: Option<Duration>,
}

/// What somebody wants taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lift {
    /// About whom.
    pub named: Named,
    /// Which kinds of orders.
    pub sorts: Vec<Sort>,
}

/// Why a wish is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is meant by these words.
    Unknown(String),
    /// It can not be now, or not so.
    Conflict(String),
    /// The daemon is about to end.
    Ending,
    /// The new configuration is refused, for these faults.
    Config(String),
}

/// A wish was followed.
pub struct Obeyed {
    /// The orders that it is about.
    pub orders: Vec<Arc<Order>>,
    /// Whom they are about, and how that server stands now.
    pub servers: Vec<Decision>,
    /// When the daemon started, by people's clock: since 1970.
    pub epoch: Duration,
    /// Why it will not outlive the daemon.
    pub forgotten: Option<String>,
}

/// A new configuration is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What it changes, a line each.
    pub changes: Vec<String>,
    /// How many errors and warnings the file has all the same.
    pub errors: usize,
    /// How many warnings.
    pub warnings: usize,
}

/// What the loop knows, at one moment.
pub struct Snapshot {
    /// That moment.
    pub now: Moment,
    /// When the daemon started, by people's clock: since 1970.
    pub epoch: Duration,
    /// The configuration's file.
    pub path: PathBuf,
    /// Whether the daemon is about to end.
    pub stopping: bool,
    /// Whether it keeps the table; else it stands by.
    pub active: bool,
    /// Why it does, or does not.
    pub role: String,
    /// How much of what it looks at it can see, in percent.
    pub fitness: u8,
    /// What makes it unwell.
    pub illness: Option<Illness>,
    /// How checks keep their interval.
    pub pace: Pace,
    /// The services that were asked about, in order.
    pub services: Vec<Seen>,
    /// Servers that left the configuration and are drained.
    pub leaving: Vec<Leaving>,
    /// What operators decided.
    pub orders: Vec<Arc<Order>>,
}

/// How checks keep their interval, in the last five seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many different checks there are.
    pub running: usize,
    /// On how many threads they are asked.
    pub workers: usize,
    /// How late the latest of them began, in milliseconds.
    pub late_ms: u64,
    /// How many were left out, since the one before began late.
    pub missed: u64,
    /// How long intervals were in truth, in percent of what they should be.
    pub stretch: u64,
    /// Whether the intervals can not be kept, and that was told.
    pub overloaded: bool,
}

/// One service of a [`Snapshot`].
pub struct Seen {
    /// Its configuration.
    pub service: Arc<Service>,
    /// What people call it.
    pub name: Option<String>,
    /// Whether a server is up; none as long as that can not be said.
    pub serving: Option<bool>,
    /// The fallback that serves.
    pub fallback: Option<SocketAddr>,
    /// All fallbacks, and whether each is up.
    pub fallbacks: Vec<(SocketAddr, bool)>,
    /// Its servers.
    pub decisions: Vec<Decision>,
    /// What the kernel holds of it, as far as we know.
    pub kernel: Option<Arc<Entry>>,
    /// Connections, where they are counted.
    pub flows: BTreeMap<SocketAddr, Flow>,
    /// The last results of each server, oldest first, where they were asked for.
    pub results: Vec<Vec<Heard>>,
}

/// A result, and when it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When.
    pub at: Moment,
    /// What.
    pub outcome: Outcome,
}

/// A server that left the configuration and is drained.
pub struct Leaving {
    /// The service.
    pub service: ServiceKey,
    /// Its address in the kernel's table.
    pub server: SocketAddr,
    /// Its connections, once they were counted.
    pub flow: Option<Flow>,
}

/// Something that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Its number since the daemon's start.
    pub number: u64,
    /// When, by people's clock.
    pub time: String,
    /// Which kind of event: stays the same from release to release.
    pub id: String,
    /// About which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// About which server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// In words.
    pub text: String,
}

/// What was told lately, oldest first, and what will be told.
pub struct Recent {
    /// What was told.
    pub told: Vec<Arc<Happening>>,
    /// What will be.
    pub next: broadcast::Receiver<Arc<Happening>>,
}

impl Seen {
    /// The addresses that the configuration puts into the kernel's table.
    pub fn entries(&self) -> BTreeSet<SocketAddr> {
        let fallbacks = self.service.policy.fallbacks.iter().map(|fallback| fallback.entry);
        self.service.servers.iter().map(|server| server.entry).chain(fallbacks).collect()
    }
}
