//! What the director keeps instead of looking at everything after each answer: after any history it is what
//! looking at everything gives. What a pool keeps of its members it compares itself, in every test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lvsentry::director::Director;
use lvsentry::director::event::Event;
use lvsentry::director::order::{Deed, Order, Sort, Whom};
use lvsentry::director::reason::Rule;
use lvsentry::model::{
    FailOpen, Fallback, Forward, Hold, Moment, OnFailure, Plan, Policy, ProbeKey, Removal, Server, Service,
    ServiceKey, Watch, Weight,
};
use lvsentry::outcome::{Failure, Illness, Outcome, Phase, Reason};
use lvsentry::span::Place;
use lvsentry::table::{Destination, Entry, Table};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::support::plan::{at, key, settings};

fn place() -> Place {
    Place { file: "test.yaml".into(), line: 1 }
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (1..most * 10).prop_map(|tenths| Duration::from_millis(tenths * 100))
}

fn any_watch(n: u8) -> impl Strategy<Value = Watch> {
    let probe = Watch::Probe(ProbeKey::of(&format!("probe {n}")));
    prop_oneof![8 => Just(probe), 1 => Just(Watch::On), 1 => Just(Watch::Off)]
}

fn any_server(n: u8) -> impl Strategy<Value = Server> {
    // Two servers may share one entry.
    let entry = prop_oneof![9 => Just(n), 1 => Just(1)];
    (entry, 0..4_u32, any_watch(n)).prop_map(move |(entry, weight, watch)| Server {
        entry: at(entry),
        address: at(n),
        forward: Forward::Masq,
        weight: Weight::new(weight).unwrap(),
        upper: 0,
        lower: 0,
        watch,
        origin: place(),
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let hold = (1..4_u32, seconds(20), seconds(20));
    let open = prop_oneof![Just(FailOpen::No), Just(FailOpen::KeepLast), Just(FailOpen::KeepAll)];
    let fallbacks = vec((7..9_u8).prop_flat_map(|n| (Just(n), any_watch(n))), 0..3);
    let drain = option::of(seconds(20));
    let numbers = (1..4_u32, 1..3_u32, any::<bool>(), any::<bool>());
    (numbers, option::of(hold), option::of(seconds(10)), open, fallbacks, drain).prop_map(
        |((fall, rise, quiesce, zero_serves), hold, slow_start, fail_open, fallbacks, drain)| Policy {
            fall,
            rise,
            on_failure: if quiesce { OnFailure::Quiesce } else { OnFailure::Remove },
            removal: drain.map_or(Removal::AsFailed, Removal::Drain),
            hold: hold.map(|(falls, within, time)| Hold { falls, within, time }),
            slow_start,
            fail_open,
            zero_serves,
            fallbacks: fallbacks
                .into_iter()
                .map(|(n, watch)| Fallback { entry: at(n), address: at(n), forward: Forward::Masq, watch })
                .collect(),
            ..Policy::default()
        },
    )
}

fn any_service(n: u8) -> impl Strategy<Value = Service> {
    let servers =
        btree_set(1..6_u8, 0..5).prop_flat_map(|all| all.into_iter().map(any_server).collect::<Vec<_>>());
    (servers, any_policy()).prop_map(move |(servers, policy)| Service {
        key: key(n),
        settings: settings("wrr"),
        servers,
        policy,
        origin: place(),
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let services = (option::of(any_service(1)), option::of(any_service(2)));
    services.prop_map(|(one, other)| {
        let services = one.into_iter().chain(other);
        Plan { services: services.map(|service| (service.key, Arc::new(service))).collect() }
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let destinations = vec((1..9_u8, 0..3_u32), 0..5);
    destinations.prop_map(|all| {
        let destination = |weight| Destination::new(Forward::Masq, Weight::new(weight).unwrap());
        let destinations = all.into_iter().map(|(n, weight)| (at(n), destination(weight))).collect();
        Entry { destinations, ..Entry::new(settings("wrr")) }
    })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let bad = |illness| Err(Failure::new(Phase::Connect, Reason::Unreachable, "no way").blaming(illness));
    let result = prop_oneof![
        3 => Just(Ok("well".into())),
        2 => Just(bad(None)),
        1 => Just(bad(Some(Illness::NoRoute))),
    ];
    (result, 0..3000_u64).prop_map(|(result, ms)| Outcome::new(result, Duration::from_millis(ms)))
}

fn any_order() -> impl Strategy<Value = Order> {
    let weight = (0..3_u32).prop_map(|weight| Deed::Weight(Weight::new(weight).unwrap()));
    let deed = prop_oneof![Just(Deed::Drain), Just(Deed::Disable), weight];
    let service = option::of((1..3_u8).prop_map(key));
    (any_whom(service), deed, option::of(seconds(20)), option::of(seconds(20))).prop_map(
        move |(whom, deed, until, deadline)| Order {
            whom,
            deed,
            reason: None,
            given: 0,
            until: until.map(Moment),
            deadline: deadline.map(Moment),
        },
    )
}

fn any_whom(service: impl Strategy<Value = Option<ServiceKey>>) -> impl Strategy<Value = Whom> {
    (1..6_u8, any::<bool>(), service).prop_map(|(n, port, service)| Whom {
        ip: at(n).ip(),
        port: port.then_some(80),
        service,
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let service = || (1..3_u8).prop_map(key);
    let some = || btree_set((1..9_u8).prop_map(at), 0..5);
    let answer = (1..9_u8, any_outcome())
        .prop_map(|(n, outcome)| Event::Answered(ProbeKey::of(&format!("probe {n}")), outcome));
    let hand = (service(), 1..6_u8, 0..4_u32)
        .prop_map(|(key, n, weight)| Event::SetByHand(key, at(n), Weight::new(weight).unwrap()));
    let sorts = vec![Sort::Drain, Sort::Disable, Sort::Weight];
    prop_oneof![
        20 => answer,
        2 => hand,
        2 => some().prop_map(|all| {
            Event::Maintenance(all.into_iter().map(|at| (at, "file".into())).collect())
        }),
        3 => any_order().prop_map(Event::Ordered),
        2 => any_whom(option::of(service())).prop_map(move |whom| Event::Lifted(whom, sorts.clone())),
        2 => (service(), some()).prop_map(|(key, idle)| Event::Idle(key, idle)),
        1 => (service(), any_entry()).prop_map(|(key, entry)| Event::Found(key, entry.into())),
        1 => Just(Event::LetGo),
        2 => any_plan().prop_map(Event::Reloaded),
        8 => Just(Event::Tick),
    ]
}

/// All that others follow, by looking at everything.
#[derive(Debug, PartialEq)]
struct Seen {
    table: Table,
    rules: BTreeMap<ServiceKey, Vec<(Rule, Option<Weight>)>>,
    draining: BTreeSet<ServiceKey>,
}

impl Seen {
    fn new(director: &Director) -> Seen {
        let rules = director.pools().map(|pool| {
            (pool.service().key, pool.decisions().map(|decision| (decision.rule, decision.weight)).collect())
        });
        let draining = director.pools().filter(|pool| pool.is_draining()).map(|pool| pool.service().key);
        Seen { table: director.table(), rules: rules.collect(), draining: draining.collect() }
    }

    /// Whether a service is here what it is there.
    fn agrees(&self, other: &Seen, key: &ServiceKey) -> bool {
        self.table.services.get(key) == other.table.services.get(key)
            && self.rules.get(key) == other.rules.get(key)
            && self.draining.contains(key) == other.draining.contains(key)
    }
}

/// Whether what is kept of all services follows from each.
fn assert_kept(director: &Director) {
    let silent = director.pools().filter(|pool| !pool.has_heard_all()).count();
    assert_eq!(director.has_heard_all(), silent == 0);
    let is_known = |key: &ServiceKey| director.pool(key).is_some();
    // Beside them there are those that left the configuration.
    let draining: BTreeSet<_> = director.draining().filter(is_known).collect();
    assert_eq!(draining, Seen::new(director).draining);
    for key in director.draining().filter(|key| !is_known(key)) {
        assert!(director.entry(&key).is_some(), "{key} is over");
    }
    let steep = director.pools().filter(|pool| pool.service().policy.slow_start.is_none());
    assert!(steep.flat_map(|pool| pool.decisions()).all(|decision| decision.rule != Rule::Rising));
    let due = director.deadline();
    let mut all =
        director.pools().filter_map(|pool| pool.deadline()).chain(director.orders().filter_map(|o| o.until));
    assert!(all.all(|moment| due.is_some_and(|due| due <= moment)), "{due:?} is late");
}

/// A director, and what was seen of it last.
struct World {
    director: Director,
    now: Moment,
    seen: Seen,
}

impl World {
    /// Something happens: what is said to have changed is all that has, and all that is kept is true.
    fn handle(&mut self, event: Event) {
        let told = format!("{event:?}");
        self.director.handle(event, self.now);
        let (seen, changed) = (Seen::new(&self.director), self.director.poll_changed());
        for key in [key(1), key(2)].iter().filter(|key| !changed.contains(key)) {
            assert!(seen.agrees(&self.seen, key), "{key} changed in silence: {told}");
        }
        self.seen = seen;
        assert_kept(&self.director);
    }

    /// Time passes: what is due comes in time and once, and between nothing changes.
    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(due) = self.director.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Event::Tick);
            assert!(self.director.deadline().is_none_or(|next| next > self.now), "the same is due again");
        }
        self.now = end;
        self.director.handle(Event::Tick, end);
        assert_eq!(Seen::new(&self.director), self.seen, "nothing was due");
    }
}

/// The same event, with moments that count from now.
fn later(event: Event, now: Moment) -> Event {
    let shift = |moment: Option<Moment>| moment.map(|moment| now.after(moment.0));
    match event {
        Event::Ordered(order) => {
            Event::Ordered(Order { until: shift(order.until), deadline: shift(order.deadline), ..order })
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_looking_at_everything_gives(
        plan in any_plan(), stands in any_entry(), events in vec((any_event(), 0..1500_u64), 0..60),
    ) {
        let now = Moment::default();
        let table = Table { services: [(key(1), stands.into())].into() };
        let mut director = Director::new(plan, &table, now);
        director.poll_changed();
        let mut world = World { seen: Seen::new(&director), director, now };
        for (event, ms) in events {
            let event = later(event, world.now);
            world.handle(event);
            world.pass(Duration::from_millis(ms));
        }
    }
}
