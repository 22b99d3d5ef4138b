//! Makes the kernel's table what it should be: read, compare, apply, and again.
//!
//! The [`Reconciler`] knows what each service should be and which services may have changed. Its
//! owner asks it for a [`Job`] when there is work, runs the job where blocking is allowed, and
//! hands the result back. One job runs at a time, and each carries the kernel with it. A job that
//! reads is followed by one that applies, so that between a look at the table and a change to it
//! the director can have its say about what others did there.
//!
//! Services that may have changed are looked at when they do; all of them every few seconds.
//! What failed is tried again by the next comparison, later and later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Step, apply};
use crate::ipvs::error::ReadError;
use crate::ipvs::{Kernel, Scope};
use crate::model::ServiceKey;
use crate::table::flow::{Flow, Flows};
use crate::table::{Entry, Table, drift, flow};

/// How often the whole table is compared, at the most.
const PERIOD: Duration = Duration::from_secs(5);

/// A whole comparison may take this share of the time: it is made less often when the table is
/// so large that it takes longer.
const SHARE: u32 = 100;

/// How often connections are counted while somebody is drained.
const COUNT: Duration = Duration::from_secs(1);

/// First and longest wait before what failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What to do to the kernel; run it where blocking is allowed.
pub enum Job {
    /// Read these services, and say how they differ from what we last knew.
    Read {
        /// The kernel, handed back with the result.
        kernel: Box<dyn Kernel>,
        /// The services to read.
        scope: BTreeSet<ServiceKey>,
        /// What we last knew of them.
        view: Table,
    },
    /// Make `actual` like `desired` for these services.
    Apply {
        /// The kernel, handed back with the result.
        kernel: Box<dyn Kernel>,
        /// What was read.
        actual: Table,
        /// What it should be.
        desired: Table,
        /// The services that may be touched.
        ours: BTreeSet<ServiceKey>,
    },
    /// Count the connections of these services.
    Count {
        /// The kernel, handed back with the result.
        kernel: Box<dyn Kernel>,
        /// The services in which somebody is drained.
        keys: BTreeSet<ServiceKey>,
    },
}

/// What came of a [`Job`].
pub enum Done {
    /// The table was read, or not.
    Read {
        /// The kernel.
        kernel: Box<dyn Kernel>,
        /// The services that were read.
        scope: BTreeSet<ServiceKey>,
        /// The table, or why it could not be read.
        actual: Result<Table, ReadError>,
        /// What somebody else changed since we last knew.
        drift: Vec<drift::Drift>,
    },
    /// Operations were carried out, or not.
    Applied {
        /// The kernel.
        kernel: Box<dyn Kernel>,
        /// The services concerned.
        ours: BTreeSet<ServiceKey>,
        /// What was tried, in order.
        steps: Vec<Step>,
        /// What the services look like now.
        view: Table,
        /// How long all of that took, finding out what to do included.
        took: Duration,
    },
    /// Connections were counted, or not.
    Counted {
        /// The kernel.
        kernel: Box<dyn Kernel>,
        /// What was found.
        flows: Result<Flows, ReadError>,
    },
}

impl Job {
    /// Does it. Blocks.
    pub fn run(self) -> Done {
        match self {
            Job::Read { mut kernel, scope, view } => {
                let actual = kernel.read(&Scope::Only(scope.clone()));
                let drift = actual.as_ref().map(|actual| drift::drift(&view, actual)).unwrap_or_default();
                Done::Read { kernel, scope, actual, drift }
            }
            Job::Apply { mut kernel, actual: mut view, desired, ours } => {
                let begun = Instant::now();
                let steps = apply(kernel.as_mut(), &mut view, &desired, &ours);
                Done::Applied { kernel, ours, steps, view, took: begun.elapsed() }
            }
            Job::Count { mut kernel, keys } => {
                let flows = kernel.flows(&keys);
                Done::Counted { kernel, flows }
            }
        }
    }
}

/// What each service should be, and what is to be done about it.
pub struct Reconciler {
    /// None while a job has it.
    kernel: Option<Box<dyn Kernel>>,
    desired: Table,
    /// What we last knew of our services.
    view: Table,
    /// Services that may have changed.
    dirty: BTreeSet<ServiceKey>,
    /// Services that left the configuration and are still to leave the kernel.
    retired: BTreeSet<ServiceKey>,
    /// Services that were ours, and were left as they stood when we began to stand by.
    left: BTreeSet<ServiceKey>,
    /// Services whose last operations did not all succeed: when to try again, and the wait after.
    retry: BTreeMap<ServiceKey, (Instant, Duration)>,
    /// When everything is to be compared.
    whole: Instant,
    /// When the running comparison of everything began.
    begun: Option<Instant>,
    /// The services whose connections are counted again and again, and when that is due.
    draining: BTreeSet<ServiceKey>,
    count: Instant,
    /// What the last count found.
    flows: Flows,
}

impl Reconciler {
    /// A reconciler for this kernel, of which `view` was just read.
    pub fn new(kernel: Box<dyn Kernel>, view: Table, now: Instant) -> Reconciler {
        Reconciler {
            kernel: Some(kernel),
            desired: Table::default(),
            view,
            dirty: BTreeSet::new(),
            retired: BTreeSet::new(),
            left: BTreeSet::new(),
            retry: BTreeMap::new(),
            whole: now + PERIOD,
            begun: None,
            draining: BTreeSet::new(),
            count: now,
            flows: Flows::new(),
        }
    }

    /// What a service should be from now on; none: it leaves the kernel.
    pub fn want(&mut self, key: ServiceKey, entry: Option<Entry>) {
        match entry {
            Some(entry) => {
                self.retired.remove(&key);
                if self.desired.services.get(&key).is_none_or(|known| **known != entry) {
                    self.desired.services.insert(key, Arc::new(entry));
                    self.dirty.insert(key);
                }
            }
            None if self.desired.services.remove(&key).is_some() => {
                self.retired.insert(key);
                self.dirty.insert(key);
            }
            None => {}
        }
    }

    /// Whether a service is to stand in the kernel, or is still to leave it.
    pub fn wants(&self, key: &ServiceKey) -> bool {
        self.desired.services.contains_key(key) || self.retired.contains(key)
    }

    /// Leaves a service as it stands in the kernel, whatever it should have been.
    pub fn abandon(&mut self, key: &ServiceKey) {
        self.desired.services.remove(key);
        self.dirty.remove(key);
        self.retry.remove(key);
    }

    /// Keeps nothing from now on: leaves all as it stands in the kernel, or removes all of ours.
    pub fn rest(&mut self, remove: bool) {
        let desired = std::mem::take(&mut self.desired.services);
        self.retired.extend(desired.into_keys());
        if remove {
            self.dirty.clone_from(&self.retired);
        } else {
            self.left.append(&mut self.retired);
            self.dirty.clear();
            self.retry.clear();
        }
    }

    /// Keeps these services again, of which nothing is known any more: all are looked at in one go, and so are
    /// those that were left and are not to be kept now.
    pub fn wake(&mut self) {
        self.view = Table::default();
        self.retry.clear();
        self.retired.append(&mut self.left);
        self.dirty.clone_from(&self.retired);
    }

    /// A service that is not wanted, and is ours all the same, leaves the kernel.
    pub fn retire(&mut self, key: ServiceKey) {
        self.retired.insert(key);
        self.dirty.insert(key);
    }

    /// In these services somebody's connections are waited for, and in no others.
    pub fn drain(&mut self, keys: BTreeSet<ServiceKey>) {
        self.flows.retain(|key, _| keys.contains(key));
        self.draining = keys;
    }

    /// The connections of a service, as far as they are counted.
    pub fn flows(&self, key: &ServiceKey) -> Option<&BTreeMap<SocketAddr, Flow>> {
        self.flows.get(key)
    }

    /// What we last knew of a service in the kernel.
    pub fn stands(&self, key: &ServiceKey) -> Option<&Arc<Entry>> {
        self.view.services.get(key)
    }

    /// Whether a job is running.
    pub fn is_busy(&self) -> bool {
        self.kernel.is_none()
    }

    /// Whether all that is known to be wanted is done.
    pub fn is_idle(&self) -> bool {
        !self.is_busy() && self.dirty.is_empty() && self.retry.is_empty()
    }

    /// Whether all that is known to be wanted has been tried.
    pub fn has_tried_all(&self) -> bool {
        !self.is_busy() && self.dirty.is_empty()
    }

    /// When there will be work though nothing changes; none while a job is running.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_busy() || self.keeps_nothing() {
            return None;
        }
        let retry = self.retry.values().map(|(at, _)| *at);
        let count = (!self.draining.is_empty()).then_some(self.count);
        retry.chain([self.whole]).chain(count).min()
    }

    /// The next thing to do, if there is something and no job is running.
    pub fn job(&mut self, now: Instant) -> Option<Job> {
        if self.keeps_nothing() {
            return None;
        }
        let due = self.retry.iter().filter(|(_, (at, _))| *at <= now).map(|(key, _)| *key);
        let due: Vec<_> = due.collect();
        let whole = now >= self.whole;
        if !whole && self.dirty.is_empty() && due.is_empty() {
            return self.counting(now);
        }
        let kernel = self.kernel.take()?;
        self.dirty.extend(due);
        let dirty = std::mem::take(&mut self.dirty);
        self.begun = whole.then_some(now);
        let scope = if whole { self.keys(|_| true) } else { self.keys(|key| dirty.contains(key)) };
        Some(Job::Read { view: part(&self.view, &scope), kernel, scope })
    }

    /// Connections are counted when nothing else is to be done.
    fn counting(&mut self, now: Instant) -> Option<Job> {
        if self.draining.is_empty() || now < self.count {
            return None;
        }
        self.count = now + COUNT;
        Some(Job::Count { kernel: self.kernel.take()?, keys: self.draining.clone() })
    }

    /// Takes back the kernel after a count. The answer is who has no connection left.
    pub fn counted(
        &mut self,
        kernel: Box<dyn Kernel>,
        flows: Result<Flows, ReadError>,
        now: Instant,
    ) -> BTreeMap<ServiceKey, BTreeSet<SocketAddr>> {
        self.kernel = Some(kernel);
        let mut flows = flows.unwrap_or_else(|_| {
            self.count = now + PERIOD;
            Flows::new()
        });
        flows.retain(|key, _| self.draining.contains(key));
        let idle = flow::idle(&self.flows, &flows);
        self.flows = flows;
        idle
    }

    /// Those of our services that were read and that we did not know.
    pub fn unknown(&self, scope: &BTreeSet<ServiceKey>, actual: &Table) -> Table {
        let known = |key: &ServiceKey| self.view.services.contains_key(key);
        part(actual, &scope.iter().filter(|key| !known(key)).copied().collect())
    }

    /// Takes back the kernel after a read. Unless that failed, the answer is what to apply.
    pub fn read(
        &mut self,
        kernel: Box<dyn Kernel>,
        scope: &BTreeSet<ServiceKey>,
        actual: Result<Table, ReadError>,
        now: Instant,
    ) -> Option<Job> {
        // Some may have left since.
        let ours = self.keys(|key| scope.contains(key));
        match actual {
            Ok(actual) => {
                let (actual, desired) = (part(&actual, &ours), part(&self.desired, &ours));
                self.dirty.retain(|key| !ours.contains(key));
                if let Some(begun) = self.begun.take() {
                    self.whole = now + PERIOD.max(now.saturating_duration_since(begun) * SHARE);
                }
                Some(Job::Apply { kernel, actual, desired, ours })
            }
            Err(_) => {
                self.kernel = Some(kernel);
                self.whole = now + PERIOD;
                ours.into_iter().for_each(|key| self.postpone(key, now));
                None
            }
        }
    }

    /// Takes back the kernel after operations. The answer is which services are known to have gone.
    pub fn applied(
        &mut self,
        kernel: Box<dyn Kernel>,
        ours: &BTreeSet<ServiceKey>,
        steps: &[Step],
        mut view: Table,
        now: Instant,
    ) -> Vec<ServiceKey> {
        self.kernel = Some(kernel);
        let mut gone = Vec::new();
        let failed: BTreeSet<_> =
            steps.iter().filter(|step| !step.is_good()).map(|step| step.service).collect();
        for key in ours {
            self.view.services.remove(key);
            if failed.contains(key) {
                // What stands there now is not known: the next look must not take it for drift.
                view.services.remove(key);
                self.postpone(*key, now);
            } else {
                self.retry.remove(key);
                if !view.services.contains_key(key) && !self.desired.services.contains_key(key) {
                    gone.push(*key);
                }
                // What was told to leave while the job ran is still to leave.
                if !self.dirty.contains(key) {
                    self.retired.remove(key);
                }
            }
        }
        self.view.services.append(&mut view.services);
        gone
    }

    fn keeps_nothing(&self) -> bool {
        self.desired.services.is_empty() && self.retired.is_empty()
    }

    fn postpone(&mut self, key: ServiceKey, now: Instant) {
        // It may have been left while the job ran.
        if !self.desired.services.contains_key(&key) && !self.retired.contains(&key) {
            return;
        }
        let wait = self.retry.get(&key).map_or(RETRY.0, |(_, wait)| (*wait * 2).min(RETRY.1));
        self.retry.insert(key, (now + wait, wait));
    }

    /// Those of our services, the ones that are still to leave included, that `which` picks.
    fn keys(&self, which: impl Fn(&ServiceKey) -> bool) -> BTreeSet<ServiceKey> {
        self.desired.services.keys().chain(&self.retired).filter(|key| which(key)).copied().collect()
    }
}

fn part(table: &Table, keys: &BTreeSet<ServiceKey>) -> Table {
    let known = |key: &ServiceKey| Some((*key, table.services.get(key)?.clone()));
    Table { services: keys.iter().filter_map(known).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipvs::Memory;
    use crate::model::{Forward, Protocol, Settings, Weight};
    use crate::table::Destination;

    fn service() -> (ServiceKey, Entry) {
        let key = ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, 10], 80).into());
        let scheduler = "wrr".into();
        (
            key,
            Entry::new(Settings { scheduler, flags: 0, one_packet: false, persistence: None, engine: None }),
        )
    }

    /// Lets jobs run until there is nothing to do; `meanwhile` happens while the first change is made.
    fn settle(reconciler: &mut Reconciler, now: Instant, meanwhile: impl FnOnce(&mut Reconciler)) {
        let mut meanwhile = Some(meanwhile);
        let mut next = reconciler.job(now);
        while let Some(job) = next {
            next = match job.run() {
                Done::Read { kernel, scope, actual, .. } => reconciler.read(kernel, &scope, actual, now),
                Done::Applied { kernel, ours, steps, view, .. } => {
                    meanwhile.take().into_iter().for_each(|meanwhile| meanwhile(reconciler));
                    reconciler.applied(kernel, &ours, &steps, view, now);
                    None
                }
                Done::Counted { .. } => panic!("nobody is drained"),
            };
            next = next.or_else(|| reconciler.job(now));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_told_to_leave_while_it_is_made_leaves() {
        let (now, (key, entry)) = (Instant::now(), service());
        let mut reconciler = Reconciler::new(Box::new(Memory::default()), Table::default(), now);
        reconciler.want(key, Some(entry));
        settle(&mut reconciler, now, |reconciler| reconciler.want(key, None));
        assert!(reconciler.is_idle());
        let kernel = reconciler.kernel.as_mut().unwrap();
        assert_eq!(kernel.read(&Scope::All).unwrap(), Table::default());
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_as_it_should_is_kept_once() {
        let (now, (key, mut entry)) = (Instant::now(), service());
        let mut reconciler = Reconciler::new(Box::new(Memory::default()), Table::default(), now);
        let mut is_kept_once = |entry: &Entry| {
            reconciler.want(key, Some(entry.clone()));
            settle(&mut reconciler, now, |_| ());
            let (wanted, known) = (&reconciler.desired.services[&key], &reconciler.view.services[&key]);
            Arc::ptr_eq(wanted, known) && **known == *entry
        };
        entry.destinations.insert(([10, 0, 0, 1], 80).into(), Destination::new(Forward::Masq, Weight::ONE));
        assert!(is_kept_once(&entry), "one that was made");
        entry.destinations.insert(([10, 0, 0, 2], 80).into(), Destination::new(Forward::Masq, Weight::ZERO));
        assert!(is_kept_once(&entry), "one that was changed");
    }
}
