//! Carries out what is to be done to the kernel, slice by slice, and keeps of it what is told later.
//!
//! Of ten thousand operations no list is ever made: memory that is touched for the first time costs more than
//! the operations themselves. What is kept is what each service was and was to be, both of which somebody
//! holds anyway, and what failed; the operations follow from that by the function that found them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::vec;

use crate::ipvs::Kernel;
use crate::ipvs::error::OpError;
use crate::model::ServiceKey;
use crate::table::diff::{self, Part};
use crate::table::{Entry, Op, Table};

/// Once so many operations have come together, the kernel is to carry them out: mostly as many as one send takes.
const SLICE: usize = 240;

/// What was tried of one service at once.
pub struct Step {
    /// The service.
    pub service: ServiceKey,
    /// How many operations that were.
    pub count: usize,
    part: Part,
    have: Option<Arc<Entry>>,
    want: Option<Arc<Entry>>,
    /// The places of those that failed, and why.
    failed: Vec<(usize, OpError)>,
}

/// One operation that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The operation.
    pub op: Op,
    /// How it went.
    pub result: Result<(), OpError>,
}

impl Step {
    /// What is to be done to a service, none if nothing; the operations are added to `ops`.
    fn find(part: Part, key: &ServiceKey, view: &Table, desired: &Table, ops: &mut Vec<Op>) -> Option<Step> {
        let (have, want) = (view.services.get(key), desired.services.get(key));
        if have.zip(want).is_some_and(|(have, want)| Arc::ptr_eq(have, want)) {
            return None;
        }
        let before = ops.len();
        part(key, have.map(Arc::as_ref), want.map(Arc::as_ref), ops);
        let count = ops.len() - before;
        let (service, have, want, failed) = (*key, have.cloned(), want.cloned(), Vec::new());
        (count > 0).then_some(Step { service, count, part, have, want, failed })
    }

    /// Whether all went well.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Its operations in order, and how each went.
    pub fn operations(self) -> Vec<Applied> {
        let mut ops = Vec::with_capacity(self.count);
        (self.part)(&self.service, self.have.as_deref(), self.want.as_deref(), &mut ops);
        let mut all: Vec<_> = ops.into_iter().map(|op| Applied { op, result: Ok(()) }).collect();
        for (place, why) in self.failed {
            all[place].result = Err(why);
        }
        all
    }

    /// Writes down in `view` what became of `ops`, its operations.
    fn note(&self, ops: &[Op], view: &mut Table) {
        match &self.want {
            // As it should be now: what stands is kept once.
            Some(want) if self.is_good() && self.count == diff::distance(self.have.as_deref(), want) => {
                view.services.insert(self.service, want.clone());
            }
            _ => {
                let failed = |place| self.failed.binary_search_by_key(&place, |(place, _)| *place).is_ok();
                let done = (0..).zip(ops).filter(|(place, _)| !failed(*place));
                done.for_each(|(_, op)| _ = view.apply(op));
            }
        }
    }
}

/// Makes the kernel's table, of which `view` was just read, like `desired` for `ours`: first all that grows,
/// then all that shrinks. Leaves in `view` what stands then. Blocks.
pub(super) fn apply(
    kernel: &mut dyn Kernel,
    view: &mut Table,
    desired: &Table,
    ours: &BTreeSet<ServiceKey>,
) -> Vec<Step> {
    share(view, desired);
    let (mut steps, mut ops) = (Vec::new(), Vec::new());
    for part in diff::PARTS {
        let mut slice = steps.len();
        for key in diff::order(desired, ours) {
            steps.extend(Step::find(part, key, view, desired, &mut ops));
            if ops.len() >= SLICE {
                carry_out(kernel, &mut ops, &mut steps[slice..], view);
                slice = steps.len();
            }
        }
        carry_out(kernel, &mut ops, &mut steps[slice..], view);
    }
    steps
}

/// What stands as it should is kept once, and has not to be looked at again.
fn share(view: &mut Table, desired: &Table) {
    for (key, entry) in &mut view.services {
        if let Some(same) = desired.services.get(key).filter(|desired| *desired == entry) {
            *entry = same.clone();
        }
    }
}

/// Has the kernel carry out the operations of these steps, which are then used up.
fn carry_out(kernel: &mut dyn Kernel, ops: &mut Vec<Op>, steps: &mut [Step], view: &mut Table) {
    if ops.is_empty() {
        return;
    }
    let mut results = kernel.apply(ops).into_iter();
    let mut rest = ops.as_slice();
    for step in steps {
        let (tried, others) = rest.split_at(step.count);
        let results = results.by_ref().take(step.count).enumerate();
        step.failed = results.filter_map(|(place, result)| Some((place, result.err()?))).collect();
        step.note(tried, view);
        rest = others;
    }
    ops.clear();
}

/// What is still to be told, in order.
#[derive(Default)]
pub(super) struct Untold {
    steps: VecDeque<Step>,
    /// What is left of the step that is being told.
    operations: vec::IntoIter<Applied>,
}

impl Untold {
    /// Adds to it.
    pub(super) fn extend(&mut self, steps: Vec<Step>) {
        self.steps.extend(steps);
    }
}

impl Iterator for Untold {
    type Item = Applied;

    fn next(&mut self) -> Option<Applied> {
        if self.operations.len() == 0 {
            let Some(step) = self.steps.pop_front() else {
                // What it took to hold much is given back.
                *self = Untold::default();
                return None;
            };
            self.operations = step.operations().into_iter();
        }
        self.operations.next()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;
    use crate::ipvs::error::ReadError;
    use crate::ipvs::{Memory, Scope};
    use crate::model::{Family, Forward, Settings, Weight};
    use crate::table::Destination;
    use crate::table::flow::Flows;

    /// Refuses to make these destinations, and writes down what it is asked for.
    struct Choosy {
        table: Memory,
        refused: BTreeSet<SocketAddr>,
        calls: Vec<Vec<Applied>>,
    }

    impl Kernel for Choosy {
        fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
            self.table.read(scope)
        }

        fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
            self.table.flows(keys)
        }

        fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
            let mut one = |op: &Op| match op {
                Op::NewDestination(_, at, _) if self.refused.contains(at) => Err(OpError::Other(12)),
                _ => self.table.apply(std::slice::from_ref(op)).remove(0),
            };
            let results: Vec<_> = ops.iter().map(&mut one).collect();
            let tried = ops.iter().cloned().zip(results.iter().cloned());
            self.calls.push(tried.map(|(op, result)| Applied { op, result }).collect());
            results
        }
    }

    fn key(mark: u32) -> ServiceKey {
        ServiceKey::Mark(Family::V4, mark)
    }

    fn at(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 80).into()
    }

    /// A service with these servers and weights.
    fn entry(servers: impl IntoIterator<Item = (u8, u32)>) -> Arc<Entry> {
        let scheduler = "wrr".into();
        let settings = Settings { scheduler, flags: 0, one_packet: false, persistence: None, engine: None };
        let server =
            |(host, weight)| (at(host), Destination::new(Forward::Masq, Weight::new(weight).unwrap()));
        Arc::new(Entry { destinations: servers.into_iter().map(server).collect(), ..Entry::new(settings) })
    }

    /// Makes `have` like `want`: the kernel, the steps, and what is known to stand then.
    fn change(have: &Table, want: &Table, refused: &[u8]) -> (Choosy, Vec<Step>, Table) {
        let table = Memory::new(have.clone());
        let refused = refused.iter().map(|host| at(*host)).collect();
        let mut kernel = Choosy { table, refused, calls: Vec::new() };
        let (mut view, ours) =
            (have.clone(), have.services.keys().chain(want.services.keys()).copied().collect());
        let steps = apply(&mut kernel, &mut view, want, &ours);
        (kernel, steps, view)
    }

    fn told(steps: Vec<Step>) -> Vec<Applied> {
        let mut untold = Untold::default();
        untold.extend(steps);
        untold.collect()
    }

    #[test]
    fn what_is_told_is_what_was_tried_and_how_it_went() {
        let have = Table {
            services: BTreeMap::from([
                (key(1), entry([(1, 1), (2, 1)])),
                (key(2), entry([(1, 1), (2, 1)])),
                (key(3), entry([(1, 1)])),
                (key(4), entry([(1, 1)])),
            ]),
        };
        let want = Table {
            services: BTreeMap::from([
                (key(1), entry([(1, 0), (3, 1), (4, 1), (5, 1)])), // one of the new ones is refused
                (key(2), entry([(4, 1)])),                         // and this one's only one
                (key(4), entry([(1, 1)])),
                (key(5), entry([(1, 1), (4, 1), (6, 0)])),
            ]),
        };
        let (kernel, steps, view) = change(&have, &want, &[4]);
        let bad: Vec<_> = steps.iter().filter(|step| !step.is_good()).map(|step| step.service).collect();
        assert_eq!(bad, [key(1), key(2), key(5)]);
        assert_eq!(kernel.table.table(), view);
        assert_eq!(
            view.entry(&key(2)),
            have.entry(&key(2)),
            "nothing is taken away before its successor stands"
        );
        let tried = kernel.calls.concat();
        assert_eq!((tried.len(), tried.iter().filter(|tried| tried.result.is_err()).count()), (11, 3));
        assert_eq!(told(steps), tried);
    }

    #[test]
    fn many_operations_go_in_slices_and_all_additions_before_any_removal() {
        let all = |hosts: std::ops::Range<u8>| {
            let services = (1..=200).map(|mark| (key(mark), entry(hosts.clone().map(|host| (host, 1)))));
            Table { services: services.collect() }
        };
        let (kernel, steps, view) = change(&all(0..5), &all(5..10), &[]);
        assert!(kernel.calls.len() > 2 && kernel.calls.iter().all(|call| call.len() < SLICE + 5));
        let tried = kernel.calls.concat();
        assert!(tried[..1000].iter().all(|tried| matches!(tried.op, Op::NewDestination(..))));
        assert!(tried[1000..].iter().all(|tried| matches!(tried.op, Op::DelDestination(..))));
        assert_eq!((kernel.table.table(), view), (all(5..10), all(5..10)));
        assert_eq!(told(steps), tried);
    }

    #[test]
    fn what_came_to_stand_as_it_should_is_kept_once() {
        let table = |entry| Table { services: BTreeMap::from([(key(1), entry)]) };
        let want = table(entry([(1, 1), (2, 1), (3, 0)]));
        let states = [
            entry([(1, 1), (2, 1), (3, 0)]),         // so it is
            entry([(1, 0), (3, 0)]),                 // grows
            entry([(1, 1), (2, 1), (3, 1), (4, 1)]), // shrinks
            entry([(1, 0), (3, 1), (4, 1)]),         // both
        ];
        for have in states {
            let (_, _, view) = change(&table(have.clone()), &want, &[]);
            assert!(Arc::ptr_eq(&view.services[&key(1)], &want.services[&key(1)]), "{have:?}");
        }
    }
}
