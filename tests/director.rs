//! The pure core under random histories: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lvsentry::director::Director;
use lvsentry::director::event::{Decision, Event};
use lvsentry::director::reason::Rule;
use lvsentry::model::{
    ByHand, Fallback, Forward, Moment, OnFailure, Plan, Policy, ProbeKey, Server, Service, ServiceKey, Watch,
    Weight,
};
use lvsentry::outcome::{Failure, Outcome, Phase, Reason};
use lvsentry::span::Place;
use lvsentry::table::{Destination, Entry, Op, Table, diff};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use crate::support::plan::{key, settings};

// ---- generating ---------------------------------------------------------------------------------

fn at(n: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], port))
}

fn place() -> Place {
    Place { file: "test.cf".into(), line: 1 }
}

fn any_destination() -> impl Strategy<Value = Destination> {
    (prop_oneof![Just(Forward::Masq), Just(Forward::Gate), Just(Forward::Ipip)], 0..4_u32)
        .prop_map(|(forward, weight)| Destination::new(forward, Weight::new(weight).unwrap()))
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let destinations = btree_map((1..6_u8).prop_map(|n| at(n, 80)), any_destination(), 0..5);
    (prop_oneof![Just("rr"), Just("wlc")], destinations)
        .prop_map(|(scheduler, destinations)| Entry { settings: settings(scheduler), destinations })
}

fn any_table() -> impl Strategy<Value = Table> {
    btree_map((1..5_u8).prop_map(key), any_entry(), 0..4).prop_map(|services| Table {
        services: services.into_iter().map(|(k, e)| (k, Arc::new(e))).collect(),
    })
}

fn any_server() -> impl Strategy<Value = (Server, u8)> {
    let watch = prop_oneof![8 => Just(0_u8), 1 => Just(1), 1 => Just(2)];
    (1..6_u8, 0..4_u32, watch).prop_map(|(n, weight, watch)| {
        let watch = match watch {
            0 => Watch::Probe(ProbeKey::of(&format!("probe {n}"))),
            1 => Watch::On,
            _ => Watch::Off,
        };
        let weight = Weight::new(weight).unwrap();
        let address = at(n, 80);
        let forward = Forward::Masq;
        let server =
            Server { entry: address, address, forward, weight, upper: 0, lower: 0, watch, origin: place() };
        (server, n)
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let fallback = prop_oneof![Just(None), Just(Some(at(9, 80))), Just(Some(at(1, 80)))];
    (1..4_u32, 1..3_u32, any::<bool>(), any::<bool>(), fallback).prop_map(
        |(fall, rise, quiesce, hold, fallback)| Policy {
            fall,
            rise,
            on_failure: if quiesce { OnFailure::Quiesce } else { OnFailure::Remove },
            by_hand: if hold { ByHand::Hold } else { ByHand::Repair },
            fallbacks: fallback
                .map(|at| Fallback { entry: at, address: at, forward: Forward::Masq, watch: Watch::On })
                .into_iter()
                .collect(),
            ..Policy::default()
        },
    )
}

fn any_service(key: ServiceKey) -> impl Strategy<Value = Service> {
    (vec(any_server(), 0..5), any_policy(), prop_oneof![Just("rr"), Just("wlc")]).prop_map(
        move |(servers, policy, scheduler)| {
            let mut seen = BTreeSet::new();
            let servers = servers.into_iter().filter(|(_, n)| seen.insert(*n)).map(|(s, _)| s).collect();
            Service { key, settings: settings(scheduler), servers, policy, origin: place() }
        },
    )
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let services = (any_service(key(1)), any_service(key(2)), any::<bool>());
    services.prop_map(|(a, b, both)| {
        let services = [Some(a), both.then_some(b)].into_iter().flatten();
        Plan { services: services.map(|s| (s.key, Arc::new(s))).collect() }
    })
}

/// One thing that happens in a history.
#[derive(Debug, Clone)]
enum Step {
    Answer(u8, bool),
    Hand(u8, u8, u32),
    /// These servers are in maintenance, and no others.
    Maintain(BTreeSet<u8>),
    Reload(Plan),
    Wait(u64),
    /// The next so many operations are refused by the kernel.
    Refuse(usize),
    Flush,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..6_u8, any::<bool>()).prop_map(|(n, good)| Step::Answer(n, good)),
        2 => (1..3_u8, 1..6_u8, 0..5_u32).prop_map(|(s, n, w)| Step::Hand(s, n, w)),
        3 => btree_set(1..6_u8, 0..4).prop_map(Step::Maintain),
        1 => any_plan().prop_map(Step::Reload),
        3 => (0..2000_u64).prop_map(Step::Wait),
        1 => (1..4_usize).prop_map(Step::Refuse),
        1 => Just(Step::Flush),
    ]
}

fn outcome(good: bool) -> Outcome {
    let bad = || Failure::new(Phase::Connect, Reason::Refused, "refused");
    Outcome::new(if good { Ok("well".into()) } else { Err(bad()) }, Duration::ZERO)
}

// ---- a world: a director, a kernel, and what is watched -------------------------------------------

/// A director beside a model of the kernel; every operation is watched.
struct World {
    director: Director,
    kernel: Table,
    ours: BTreeSet<ServiceKey>,
    now: Moment,
    refuse: usize,
    /// Probes that said something good since they were last down or new, and servers that stood
    /// in the kernel's table with weight when they came to us.
    trusted: BTreeSet<SocketAddr>,
    /// Who is in maintenance.
    held: BTreeSet<u8>,
}

impl World {
    fn new(plan: Plan, kernel: Table) -> World {
        let standing = kernel.services.values().flat_map(|e| &e.destinations);
        let trusted = standing.filter(|(_, d)| d.weight.is_live()).map(|(at, _)| *at).collect();
        let ours = plan.services.keys().copied().collect();
        let director = Director::new(plan, &kernel, Moment::default());
        let (now, held) = (Moment::default(), BTreeSet::new());
        let mut world = World { director, kernel, ours, now, refuse: 0, trusted, held };
        world.reconcile();
        world
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Answer(n, good) => self.answer(n, good),
            Step::Hand(service, n, weight) => {
                let (key, at) = (key(service), at(n, 80));
                let weight = Weight::new(weight).unwrap();
                let known = self.kernel.entry_mut(&key).and_then(|e| e.destinations.get_mut(&at));
                if let Some(destination) = known {
                    destination.weight = weight;
                    self.director.handle(Event::SetByHand(key, at, weight), self.now);
                }
            }
            Step::Reload(plan) => {
                let fresh: Vec<_> =
                    plan.services.keys().filter(|k| !self.ours.contains(k)).copied().collect();
                self.ours.extend(plan.services.keys());
                self.trust_the_unchecked(&plan);
                self.director.handle(Event::Reloaded(plan), self.now);
                for key in fresh {
                    if let Some(entry) = self.kernel.services.get(&key) {
                        let live = entry.destinations.iter().filter(|(_, d)| d.weight.is_live());
                        self.trusted.extend(live.map(|(at, _)| *at));
                        self.director.handle(Event::Found(key, entry.clone()), self.now);
                    }
                }
            }
            Step::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.director.handle(Event::Tick, self.now);
            }
            Step::Maintain(held) => self.maintain(held),
            Step::Refuse(n) => self.refuse = n,
            Step::Flush => self.kernel = Table::default(),
        }
        self.reconcile();
    }

    fn answer(&mut self, n: u8, good: bool) {
        if good && !self.held.contains(&n) {
            self.trusted.insert(at(n, 80));
        }
        let probe = ProbeKey::of(&format!("probe {n}"));
        self.director.handle(Event::Answered(probe, outcome(good)), self.now);
    }

    /// Who is held loses all trust, save a stranger that serves; and no service with a fallback loses all
    /// who serve.
    fn maintain(&mut self, held: BTreeSet<u8>) {
        let before = self.director.table();
        let event = held.iter().map(|n| (at(*n, 80), "file".into())).collect();
        self.director.handle(Event::Maintenance(event), self.now);
        let after = self.director.table();
        for at in held.iter().map(|n| at(*n, 80)) {
            let live = |entry: &Arc<Entry>| entry.destinations.get(&at).is_some_and(|d| d.weight.is_live());
            if !after.services.values().any(live) {
                self.trusted.remove(&at);
            }
        }
        self.held = held;
        for pool in self.director.pools() {
            let service = pool.service();
            let was_live = before.services.get(&service.key).is_some_and(|entry| entry.is_live());
            let idle = |d: Decision| !matches!(d.rule, Rule::Up | Rule::On | Rule::ByHand);
            if was_live && !service.policy.fallbacks.is_empty() && pool.decisions().all(idle) {
                assert!(pool.entry().is_live(), "maintenance leaves {} without anybody", service.key);
            }
            for server in service.servers.iter().filter(|s| s.watch == Watch::On) {
                self.trusted.insert(server.entry);
            }
        }
    }

    /// Nobody in maintenance takes connections, save where it is the fallback too.
    fn assert_held_are_out(&self) {
        for decision in self.director.decisions().filter(|d| self.held.iter().any(|n| at(*n, 80) == d.server))
        {
            assert!(matches!(decision.rule, Rule::Maintenance | Rule::Off), "{decision}");
            assert!(decision.weight.is_none_or(|weight| !weight.is_live()), "{decision}");
        }
    }

    /// Servers that the configuration takes for up without checking.
    fn trust_the_unchecked(&mut self, plan: &Plan) {
        for server in plan.services.values().flat_map(|s| &s.servers) {
            if server.watch == Watch::On {
                self.trusted.insert(server.entry);
            }
        }
    }

    /// One comparison, operation by operation.
    fn reconcile(&mut self) {
        let desired = self.director.table();
        let before = self.kernel.clone();
        let mut refused = false;
        for part in diff::PARTS {
            for op in diff::of_all(part, &self.kernel, &desired, &self.ours) {
                if self.refuse > 0 {
                    self.refuse -= 1;
                    refused = true;
                    continue;
                }
                // What follows a refused operation may be refused for its sake.
                assert!(self.kernel.apply(&op) || refused, "the kernel would refuse: {op}");
                self.watch(&before, &desired, &op);
            }
        }
    }

    /// No operation of ours leaves a service that shall be live, and was, without a live server.
    fn watch(&self, before: &Table, desired: &Table, op: &Op) {
        let key = op.service();
        let live = |table: &Table| table.services.get(key).is_some_and(|entry| entry.is_live());
        if live(desired) && live(before) {
            assert!(live(&self.kernel), "{key} has nobody after: {op}");
        }
    }

    fn settle(&mut self) {
        self.refuse = 0;
        self.now = self.now.after(Duration::from_secs(2));
        self.director.handle(Event::Tick, self.now);
        self.reconcile();
        self.reconcile();
    }
}

fn part(table: &Table, ours: &BTreeSet<ServiceKey>) -> BTreeMap<ServiceKey, Arc<Entry>> {
    table.services.iter().filter(|(key, _)| ours.contains(key)).map(|(k, e)| (*k, e.clone())).collect()
}

// ---- the properties -------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_applied_gives_what_was_desired_and_leaves_the_rest(
        actual in any_table(), desired in any_table(), foreign in 1..5_u8,
    ) {
        let mut ours: BTreeSet<_> = (1..5).map(key).collect();
        ours.remove(&key(foreign));
        let mut table = actual.clone();
        let mut count = 0;
        for part in diff::PARTS {
            for op in diff::of_all(part, &table, &desired, &ours) {
                prop_assert!(table.apply(&op), "the kernel would refuse: {op}");
                count += 1;
            }
        }
        let distance = |key| match desired.entry(key) {
            Some(want) => diff::distance(actual.entry(key), want),
            None => usize::from(actual.entry(key).is_some()),
        };
        prop_assert_eq!(count, ours.iter().map(distance).sum::<usize>());
        prop_assert_eq!(part(&table, &ours), part(&desired, &ours));
        prop_assert_eq!(table.services.get(&key(foreign)), actual.services.get(&key(foreign)));
        prop_assert!(diff::PARTS.iter().all(|part| diff::of_all(*part, &table, &desired, &ours).is_empty()));
    }

    #[test]
    fn no_history_makes_an_outage_of_ours(
        plan in any_plan(), kernel in any_table(), steps in vec(any_step(), 0..40),
    ) {
        let mut world = World::new(plan, kernel);
        for step in steps {
            world.step(step); // watched operation by operation
            world.assert_held_are_out();
        }
    }

    #[test]
    fn after_any_history_the_kernel_is_what_is_desired_and_strangers_stay(
        plan in any_plan(), kernel in any_table(), steps in vec(any_step(), 0..40),
    ) {
        let mut world = World::new(plan, kernel.clone());
        let flushed = steps.iter().any(|step| matches!(step, Step::Flush));
        for step in steps {
            world.step(step);
        }
        world.settle();
        prop_assert_eq!(part(&world.kernel, &world.ours), part(&world.director.table(), &world.ours));
        let strangers = kernel.services.iter().filter(|(key, _)| !world.ours.contains(key));
        for (key, entry) in strangers.filter(|_| !flushed) {
            // A hand that changes a stranger's weight is not ours.
            let now = world.kernel.services.get(key).map(|e| e.destinations.keys().collect::<Vec<_>>());
            prop_assert_eq!(now, Some(entry.destinations.keys().collect()));
        }
    }

    #[test]
    fn every_recovered_server_returns(
        plan in any_plan(), kernel in any_table(), steps in vec(any_step(), 0..40),
    ) {
        let mut world = World::new(plan, kernel);
        for step in steps {
            world.step(step);
        }
        world.maintain(BTreeSet::new());
        for _ in 0..3 {
            (1..6).for_each(|n| world.answer(n, true));
        }
        world.settle();
        for decision in world.director.decisions() {
            let stands = &world.kernel.services[&decision.service].destinations;
            let weight = stands.get(&decision.entry).map(|d| d.weight);
            if decision.rule != Rule::Off {
                prop_assert!(matches!(decision.rule, Rule::Up | Rule::On | Rule::ByHand), "{decision}");
                prop_assert_eq!(weight, decision.weight, "{}", decision);
            }
        }
    }

    #[test]
    fn after_all_failed_no_failed_server_takes_connections_and_the_fallback_does(
        plan in any_plan(), kernel in any_table(), steps in vec(any_step(), 0..40),
    ) {
        let mut world = World::new(plan, kernel);
        for step in steps {
            world.step(step);
        }
        for _ in 0..4 {
            (1..6).for_each(|n| world.answer(n, false));
        }
        world.settle();
        for pool in world.director.pools() {
            let service = pool.service();
            let held = |s: &Server| world.held.iter().any(|n| at(*n, 80) == s.address);
            let on = service.servers.iter().any(|s| s.watch == Watch::On && !held(s));
            let stands = &world.kernel.services[&service.key].destinations;
            let live: Vec<_> = stands.iter().filter(|(_, d)| d.weight.is_live()).map(|(at, _)| *at).collect();
            match service.policy.fallbacks.first() {
                _ if on => {}
                Some(fallback) => prop_assert_eq!(live, vec![fallback.entry]),
                None => prop_assert_eq!(live, vec![]),
            }
        }
    }

    #[test]
    fn nobody_unverified_gets_traffic(
        plan in any_plan(), kernel in any_table(), steps in vec(any_step(), 0..40),
    ) {
        let mut world = World::new(plan.clone(), kernel);
        world.trust_the_unchecked(&plan);
        for step in steps {
            world.step(step);
            for pool in world.director.pools() {
                let fallback = pool.service().policy.fallbacks.first().map(|f| f.entry);
                let entry = pool.entry();
                let live = entry.destinations.iter().filter(|(_, d)| d.weight.is_live());
                for (at, _) in live.filter(|(at, _)| Some(**at) != fallback) {
                    // Once a fallback, then dropped by a reload: it had traffic already.
                    let inherited = pool.service().servers.iter().all(|s| s.entry != *at);
                    prop_assert!(inherited || world.trusted.contains(at) || *at == self::at(9, 80) || *at == self::at(1, 80), "{at} was never checked");
                }
            }
        }
    }
}
