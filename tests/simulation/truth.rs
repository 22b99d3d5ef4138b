//! What is really so: who answers, who was ordered out, and who was ever seen well. The kernel of the
//! simulation holds every operation against it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use lvsentry::ipvs::error::{OpError, ReadError};
use lvsentry::ipvs::{Kernel, Scope};
use lvsentry::model::{Moment, Plan, Service, ServiceKey, Watch};
use lvsentry::table::flow::{Flow, Flows};
use lvsentry::table::{Destination, Op, Table};

use super::random::Random;

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ways {
    Well,
    Refuses,
    Hangs,
}

/// Everything that an operation is held against.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) table: Table,
    /// Connections by service and server.
    pub(super) flows: BTreeMap<(ServiceKey, SocketAddr), u32>,
    pub(super) ways: BTreeMap<u8, Ways>,
    pub(super) plan: Plan,
    /// The configuration before this one: what is under way may be its.
    pub(super) before: Plan,
    /// Services that may be touched: configured now, or made by us before.
    pub(super) ours: BTreeSet<ServiceKey>,
    /// What the job under way makes of the table.
    pub(super) wanted: Table,
    /// Who had a good result in this life of the daemon, or carried traffic when it came.
    pub(super) proven: BTreeSet<SocketAddr>,
    /// Who was let back at that moment, and had no good result since.
    pub(super) waits: BTreeMap<(ServiceKey, SocketAddr), Moment>,
    /// Who may not carry traffic, by order or maintenance file, and since when.
    pub(super) barred: BTreeMap<(ServiceKey, SocketAddr), Moment>,
    /// When the job that changes the kernel was made: it can't know of what came later.
    pub(super) began: Moment,
    /// Who is drained and keeps his connections until then, if nothing else takes him out.
    pub(super) drained: BTreeMap<(ServiceKey, SocketAddr), Moment>,
    pub(super) now: Moment,
    /// Whether the kernel refuses now and then, and dumps may lack something.
    pub(super) rough: bool,
    pub(super) random: Random,
    /// What happened, for people.
    pub(super) log: Option<Vec<String>>,
    /// The first broken promise.
    pub(super) broken: Option<String>,
}

impl Truth {
    /// The fallbacks of a service.
    fn fallbacks(&self, key: &ServiceKey) -> BTreeSet<SocketAddr> {
        let fallbacks = self.configured(key).flat_map(|service| &service.policy.fallbacks);
        fallbacks.map(|fallback| fallback.entry).collect()
    }

    fn configured(&self, key: &ServiceKey) -> impl Iterator<Item = &Arc<Service>> {
        [&self.plan, &self.before].into_iter().filter_map(|plan| plan.services.get(key))
    }

    fn is_unchecked(&self, key: &ServiceKey, at: &SocketAddr) -> bool {
        let mut servers = self.configured(key).flat_map(|service| &service.servers);
        servers.any(|server| server.entry == *at && server.watch == Watch::On)
    }

    fn is_live(table: &Table, key: &ServiceKey) -> bool {
        table.services.get(key).is_some_and(|entry| entry.is_live())
    }

    /// Why a server may not carry traffic.
    fn objection(&self, key: ServiceKey, at: SocketAddr) -> Option<&'static str> {
        let known = |since: Option<&Moment>| since.is_some_and(|since| *since < self.began);
        if !self.proven.contains(&at) && !self.is_unchecked(&key, &at) {
            return Some("nobody ever saw it well");
        }
        if known(self.waits.get(&(key, at))) {
            return Some("nobody saw it well since it was let back");
        }
        known(self.barred.get(&(key, at))).then_some("somebody took it out")
    }

    /// Does one operation, and holds it against what is promised.
    fn carry_out(&mut self, op: &Op) -> Result<(), OpError> {
        let key = *op.service();
        if !self.ours.contains(&key) {
            self.fail(format!("a service that is not ours is touched: {op}"));
        }
        if self.rough && self.random.chance(1, 8) {
            self.tell(|| format!("  refused: {op}"));
            return Err(OpError::Other(12));
        }
        if let Op::NewDestination(_, at, d) | Op::SetDestination(_, at, d) = op
            && d.weight.is_live()
            && !self.fallbacks(&key).contains(at)
            && let Some(why) = self.objection(key, *at)
        {
            self.fail(format!("{why}: {op}"));
        }
        // A fallback leaves at once, whatever else it is.
        if let Op::DelDestination(_, at) = op
            && !self.fallbacks(&key).contains(at)
            && self.drained.get(&(key, *at)).is_some_and(|until| self.now < *until)
            && self.flows.get(&(key, *at)).is_some_and(|flows| *flows > 0)
        {
            self.fail(format!("connections are cut in the middle of a drain: {op}"));
        }
        let was_live = Truth::is_live(&self.table, &key);
        let done = self.table.apply(op);
        if done && was_live && Truth::is_live(&self.wanted, &key) && !Truth::is_live(&self.table, &key) {
            self.fail(format!("the service has nobody after: {op}"));
        }
        self.tell(|| format!("  {}{op}", if done { "" } else { "impossible: " }));
        if done { Ok(()) } else { Err(OpError::Exists) }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(what());
        }
    }

    pub(super) fn fail(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }
}

/// The simulated kernel: a door to the truth, through which a mutant may lie.
pub(super) struct SimKernel {
    pub(super) truth: Arc<Mutex<Truth>>,
    pub(super) lies: Lies,
}

/// How a mutant's kernel calls are wrong.
#[derive(Debug, Default)]
pub(super) struct Lies {
    /// Additions are carried out after what follows them.
    pub(super) adds_last: bool,
    /// Those that wait for that.
    pub(super) late: Vec<Op>,
    /// Every operation is said to have succeeded.
    pub(super) all_well: bool,
    /// Nobody is said to have connections.
    pub(super) no_flows: bool,
    /// The table is not read again after the first time.
    pub(super) stale: Option<Table>,
}

impl SimKernel {
    fn lock(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }
}

impl Kernel for SimKernel {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        let mut truth = self.lock();
        if truth.rough && truth.random.chance(1, 10) {
            return Err(ReadError::Timeout);
        }
        let mut table = self.lies.stale.as_ref().unwrap_or(&truth.table).clone();
        if let Scope::Only(keys) = scope {
            table.services.retain(|key, _| keys.contains(key));
        }
        // A dump is no snapshot: an entry may be missing.
        if truth.rough && truth.random.chance(1, 10) {
            let lost = truth.random.below(4) as usize;
            if let Some(entry) = table.services.values_mut().next().map(Arc::make_mut) {
                let at = entry.destinations.keys().nth(lost).copied();
                at.and_then(|at| entry.destinations.remove(&at));
            }
        }
        Ok(table)
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        let none = self.lies.no_flows;
        let mut truth = self.lock();
        if truth.rough && truth.random.chance(1, 10) {
            return Err(ReadError::Timeout);
        }
        let asked = truth.table.services.iter().filter(|(key, _)| keys.contains(key));
        let flow = |key: &ServiceKey, (at, d): (&SocketAddr, &Destination)| {
            let active = truth.flows.get(&(*key, *at)).copied().unwrap_or(0);
            (*at, Flow { weight: d.weight, active: if none { 0 } else { active }, inactive: 0 })
        };
        Ok(asked.map(|(key, e)| (*key, e.destinations.iter().map(|d| flow(key, d)).collect())).collect())
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        if self.lies.adds_last {
            return self.adds_last(ops);
        }
        let mut truth = self.truth.lock().unwrap();
        let answers: Vec<_> = ops.iter().map(|op| truth.carry_out(op)).collect();
        if let Some(table) = &mut self.lies.stale {
            for op in ops {
                table.apply(op);
            }
        }
        if self.lies.all_well { ops.iter().map(|_| Ok(())).collect() } else { answers }
    }
}

impl SimKernel {
    fn adds_last(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let is_addition = |op: &Op| matches!(op, Op::NewDestination(..));
        let (late, now): (Vec<Op>, Vec<Op>) = ops.iter().cloned().partition(is_addition);
        let late = std::mem::replace(&mut self.lies.late, late);
        let mut truth = self.lock();
        now.iter().chain(&late).for_each(|op| drop(truth.carry_out(op)));
        ops.iter().map(|_| Ok(())).collect()
    }
}
