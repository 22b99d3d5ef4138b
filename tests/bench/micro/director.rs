//! One answer of a probe, in plans of many servers: what the director does for it, and what its caller asks then.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::BatchSize;
use lvsentry::director::Director;
use lvsentry::director::event::Event;
use lvsentry::model::{Moment, ProbeKey, ServiceKey, Watch, Weight};
use lvsentry::outcome::{Failure, Outcome, Phase, Reason};
use lvsentry::table::Table;

use crate::pair::Pairs;
use crate::plan::{LARGE, Size};

/// Before a service is settled that waits for first results.
const EARLY: Moment = Moment(Duration::from_millis(500));
const NOW: Moment = Moment(Duration::from_secs(10));
const LOOKUP: &str = "who hears it looked up, the answer kept";
const LOOKUP_AND_SET: &str = "the same, and a weight set in a table";

pub(crate) fn measure(pairs: &mut Pairs) {
    let one = Size { services: 1, each: 1000 };
    let named = [("large", LARGE, "1,000 services of 10"), ("one", one, "one service of 1,000")];
    for (id, size, name) in named {
        let (world, stage) = (World::up(size), Stage::new(size));
        let same = format!("an answer as before, {name}");
        add(pairs, &format!("step-same-{id}"), same, LOOKUP, world, stage, 1);
    }
    for (id, size, name) in named {
        let (world, stage) = (World::up(size), Stage::new(size));
        let turn = format!("an answer that turns a server, {name}");
        add(pairs, &format!("step-turn-{id}"), turn, LOOKUP_AND_SET, world, stage, 2);
    }
    let start = "an answer while all services are waited for, 1,000 services of 10";
    add(pairs, "step-start", start.into(), LOOKUP, World::starting(LARGE), Stage::new(LARGE), 1);
}

/// Each server answers `times` in a row, the last time well: one that fell stands again before the next falls.
fn add(
    pairs: &mut Pairs,
    id: &str,
    name: String,
    floor: &'static str,
    mut world: World,
    mut stage: Stage,
    times: usize,
) {
    let probes = world.asked.clone();
    let count = Cell::new(0);
    let next = || {
        let n = count.replace(count.get() + 1);
        (probes[n / times % probes.len()], outcome(n % times == times - 1))
    };
    pairs.add(
        id,
        name,
        |b| {
            b.iter_batched(next, |(probe, outcome)| world.answered(probe, outcome), BatchSize::SmallInput);
        },
        floor,
        |b| {
            b.iter_batched(next, |(probe, outcome)| stage.answered(&probe, outcome), BatchSize::SmallInput);
        },
    );
}

fn outcome(is_good: bool) -> Outcome {
    let failure = || Failure::new(Phase::Connect, Reason::Refused, "connection refused");
    Outcome::new(if is_good { Ok("200 OK".into()) } else { Err(failure()) }, Duration::from_millis(1))
}

/// A director in a certain state.
struct World {
    director: Director,
    now: Moment,
    /// The probes that are answered.
    asked: Vec<ProbeKey>,
}

impl World {
    /// All servers are up.
    fn up(size: Size) -> World {
        let asked: Vec<_> = Stage::new(size).listeners.into_keys().collect();
        let mut world = World { now: NOW, asked: asked.clone(), ..World::starting(size) };
        for probe in asked {
            world.answered(probe, outcome(true));
        }
        assert_eq!(world.director.table(), size.table());
        world
    }

    /// None was heard, and only the first of each service ever will be, so it stays so.
    fn starting(size: Size) -> World {
        let director = Director::new(size.plan(), &Table::default(), Moment::default());
        let listeners = Stage::new(size).listeners.into_iter();
        let asked = listeners.filter(|(_, (_, i, _))| *i == 0).map(|(probe, _)| probe).collect();
        World { director, now: EARLY, asked }
    }

    /// An answer, and what the daemon asks of the director after each.
    fn answered(&mut self, probe: ProbeKey, outcome: Outcome) -> usize {
        self.director.handle(Event::Answered(probe, outcome), self.now);
        while let Some(notice) = self.director.poll_notice() {
            drop(black_box(notice));
        }
        black_box(self.director.deadline());
        let changed = self.director.poll_changed();
        changed.iter().filter_map(|key| black_box(self.director.entry(key))).count()
    }
}

/// The floor: no more than where each answer belongs.
struct Stage {
    listeners: BTreeMap<ProbeKey, (ServiceKey, usize, SocketAddr)>,
    last: BTreeMap<ServiceKey, Vec<Option<Outcome>>>,
    table: Table,
}

impl Stage {
    fn new(size: Size) -> Stage {
        let (mut listeners, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (key, service) in size.plan().services {
            last.insert(key, vec![None; service.servers.len()]);
            for (i, server) in service.servers.iter().enumerate() {
                let Watch::Probe(probe) = &server.watch else { unreachable!("all have probes") };
                listeners.insert(*probe, (key, i, server.entry));
            }
        }
        Stage { listeners, last, table: size.table() }
    }

    fn answered(&mut self, probe: &ProbeKey, outcome: Outcome) {
        let (key, i, at) = self.listeners[probe];
        let slot = &mut self.last.get_mut(&key).unwrap()[i];
        let turned = slot.as_ref().is_some_and(|before| before.is_good() != outcome.is_good());
        *slot = Some(outcome);
        if turned {
            let entry = self.table.services.get_mut(&key).unwrap();
            Arc::make_mut(entry).destinations.get_mut(&at).unwrap().weight = Weight::ZERO;
        }
    }
}
