//! The shell over a kernel in memory and scripted probes, with paused time: nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lvsentry::config::diagnostic::{Faults, Report};
use lvsentry::config::{Config, Inquiry, Loaded, LogTarget};
use lvsentry::daemon::reload::watch;
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::director::order::Deed;
use lvsentry::http::ask::{Ask, Named, Obeyed, Snapshot, Wish};
use lvsentry::ipvs::error::{OpError, ReadError};
use lvsentry::ipvs::{Kernel, Memory, Scope};
use lvsentry::model::{
    ByHand, Fallback, Forward, Plan, Policy, ProbeKey, Server, Service, ServiceKey, Watch, Weight,
};
use lvsentry::outcome::{Failure, Phase, Reason};
use lvsentry::probe::{Asking, Call, Probe, Tools};
use lvsentry::span::{Fault, Place, Source};
use lvsentry::table::flow::Flows;
use lvsentry::table::{Destination, Entry, Op, Table};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep};

use crate::support::plan::{at, key, settings};

// ---- a world ------------------------------------------------------------------------------------

/// What a scripted server does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Good,
    Bad,
    Hang,
    /// Good, after so many milliseconds.
    Slow(u64),
    /// Good, after three steps that take the only processor for so many milliseconds each.
    Busy(u64),
}

/// Everything the tests look at and turn.
#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<u8, Answer>,
    /// When each server was asked.
    asked: BTreeMap<u8, Vec<Instant>>,
    busy: BTreeSet<u8>,
    /// The most that were asked at once.
    most_busy: usize,
    /// How many may be asked at once, and how long each has, where that matters.
    slots: Option<usize>,
    timeout: Option<Duration>,
    kernel: Memory,
    /// Every operation that was carried out, with when.
    ops: Vec<(Instant, Op)>,
    /// So many operations and reads fail from now on.
    refuse_ops: usize,
    refuse_reads: usize,
    reads: Vec<Scope>,
    /// When connections were counted.
    looks: Vec<Instant>,
    loads: Vec<Loadable>,
    /// Where it is to be remembered that a service is ours, and whether it was when each was made.
    file: Option<PathBuf>,
    remembered: Vec<bool>,
}

/// What the next load of the configuration gives.
#[derive(Debug)]
enum Loadable {
    Plan(Vec<Arc<Service>>),
    Broken,
}

type Shared = Arc<Mutex<State>>;

#[derive(Debug)]
struct Scripted {
    n: u8,
    state: Shared,
}

impl Probe for Scripted {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let answer = {
                let mut state = lock(&self.state);
                state.asked.entry(self.n).or_default().push(Instant::now());
                assert!(state.busy.insert(self.n), "server {} is asked twice at once", self.n);
                state.most_busy = state.most_busy.max(state.busy.len());
                state.answers.get(&self.n).copied().unwrap_or(Answer::Good)
            };
            let _free = Free { n: self.n, state: self.state.clone() };
            match answer {
                Answer::Good => Ok("well".into()),
                Answer::Bad => Err(Failure::new(Phase::Connect, Reason::Refused, "connection refused")),
                Answer::Hang => std::future::pending().await,
                Answer::Slow(ms) => {
                    sleep(Duration::from_millis(ms)).await;
                    Ok("well".into())
                }
                Answer::Busy(ms) => {
                    for _ in 0..3 {
                        // Time passes at once, and others have their turn.
                        advance(Duration::from_millis(ms)).await;
                    }
                    Ok("well".into())
                }
            }
        })
    }

    fn identity(&self) -> String {
        format!("scripted {}", self.n)
    }
}

/// Says that an exchange has ended, however it did.
struct Free {
    n: u8,
    state: Shared,
}

impl Drop for Free {
    fn drop(&mut self) {
        lock(&self.state).busy.remove(&self.n);
    }
}

struct TestKernel(Shared);

impl Kernel for TestKernel {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        let mut state = lock(&self.0);
        state.reads.push(scope.clone());
        if state.refuse_reads > 0 {
            state.refuse_reads -= 1;
            return Err(ReadError::Timeout);
        }
        state.kernel.read(scope)
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        let mut state = lock(&self.0);
        state.looks.push(Instant::now());
        if state.refuse_reads > 0 {
            state.refuse_reads -= 1;
            return Err(ReadError::Timeout);
        }
        state.kernel.flows(keys)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut state = lock(&self.0);
        let mut results = Vec::new();
        for op in ops {
            if state.refuse_ops > 0 {
                state.refuse_ops -= 1;
                results.push(Err(OpError::Other(12)));
                continue;
            }
            if let (Op::NewService(key, _), Some(file)) = (op, &state.file) {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                let known = text.contains(&key.id());
                state.remembered.push(known);
            }
            let result = state.kernel.apply(std::slice::from_ref(op)).remove(0);
            if result.is_ok() {
                state.ops.push((Instant::now(), op.clone()));
            }
            results.push(result);
        }
        results
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

fn fallback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 80))
}

fn server(n: u8, weight: u32) -> Server {
    Server {
        entry: at(n),
        address: at(n),
        forward: Forward::Masq,
        weight: Weight::new(weight).unwrap(),
        upper: 0,
        lower: 0,
        watch: Watch::Probe(ProbeKey::of(&format!("scripted {n}"))),
        origin: Place { file: "test.cf".into(), line: 1 },
    }
}

fn service(n: u8, servers: &[u8]) -> Service {
    let last = Fallback { entry: fallback(), address: fallback(), forward: Forward::Gate, watch: Watch::On };
    let policy = Policy { fallbacks: vec![last], ..Policy::default() };
    let servers = servers.iter().map(|n| server(*n, 1)).collect();
    let origin = Place { file: "test.cf".into(), line: 1 };
    Service { key: key(n), settings: settings("wrr"), servers, policy, origin }
}

struct World {
    state: Shared,
    events: mpsc::Sender<Event>,
    daemon: JoinHandle<()>,
    started: Instant,
}

impl World {
    async fn new(services: Vec<Service>) -> World {
        World::with(services, |_| {}).await
    }

    async fn with(services: Vec<Service>, prepare: impl FnOnce(&mut State)) -> World {
        World::made(services, prepare, |daemon| daemon).await
    }

    async fn made(
        services: Vec<Service>,
        prepare: impl FnOnce(&mut State),
        made: impl FnOnce(Daemon) -> Daemon,
    ) -> World {
        let state = Shared::default();
        prepare(&mut lock(&state));
        let loaded = load(Loadable::Plan(services.into_iter().map(Arc::new).collect()), &state).unwrap();
        let shared = state.clone();
        let slots = lock(&state).slots.unwrap_or(1000);
        let setup = Setup {
            config: loaded.config,
            path: PathBuf::from("test.cf"),
            loader: Arc::new(move || {
                let next = lock(&shared).loads.remove(0);
                load(next, &shared)
            }),
            kernel: Box::new(TestKernel(state.clone())),
            tools: Tools::new(),
            slots,
        };
        let daemon = made(Daemon::new(setup).unwrap());
        let events = daemon.sender();
        World { state, events, daemon: tokio::spawn(daemon.run()), started: Instant::now() }
    }

    fn answer(&self, n: u8, answer: Answer) {
        lock(&self.state).answers.insert(n, answer);
    }

    /// What the kernel holds of a service: servers and weights.
    fn stands(&self, n: u8) -> Option<Vec<(SocketAddr, u32)>> {
        let table = lock(&self.state).kernel.table();
        let entry = table.services.get(&key(n))?;
        Some(entry.destinations.iter().map(|(at, d)| (*at, d.weight.get())).collect())
    }

    /// Somebody else's `ipvsadm`.
    fn by_hand(&self, op: Op) {
        assert_eq!(lock(&self.state).kernel.apply(&[op]), [Ok(())]);
    }

    fn ops(&self) -> Vec<String> {
        lock(&self.state).ops.drain(..).map(|(_, op)| op.to_string()).collect()
    }

    async fn reload(&self, next: Loadable) {
        lock(&self.state).loads.push(next);
        self.events.send(Event::Reload).await.unwrap();
    }

    async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }
}

fn load(next: Loadable, state: &Shared) -> Result<Loaded, Report> {
    let source = Source::new("test.cf", b"broken\n".to_vec());
    let mut faults = Faults::default();
    let Loadable::Plan(services) = next else {
        faults.push(Fault::error(0..6, "unknown command broken"));
        return Err(Report::new(source, faults));
    };
    let mut inquiries = BTreeMap::new();
    let timeout = lock(state).timeout.unwrap_or(SECOND / 2);
    for server in services.iter().flat_map(|s| &s.servers) {
        let Watch::Probe(key) = &server.watch else { continue };
        let SocketAddr::V4(address) = server.address else { continue };
        let probe = Arc::new(Scripted { n: address.ip().octets()[3], state: state.clone() });
        inquiries.insert(*key, Inquiry { probe, interval: SECOND, timeout });
    }
    let services = services.into_iter().map(|s| (s.key, s)).collect();
    let log = LogTarget::Stdout;
    let config = Config { plan: Plan { services }, inquiries, autoreload: true, log, ..Config::default() };
    Ok(Loaded { config, report: Report::new(source, faults) })
}

/// How often each server was asked, and how far apart.
fn gaps(asked: &[Instant]) -> Vec<u128> {
    asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

// ---- schedule -----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn first_questions_go_out_at_once_and_later_ones_spread_over_the_interval() {
    let world = World::new(vec![service(1, &(1..=100).collect::<Vec<_>>())]).await;
    sleep(SECOND * 5).await;
    let state = lock(&world.state);
    let firsts = state.asked.values().map(|asked| asked[0] - world.started).max().unwrap();
    assert!(firsts < Duration::from_millis(10), "the last first question went out after {firsts:?}");
    let mut tenths = [0; 10];
    for asked in state.asked.values() {
        assert!(asked.len() >= 5);
        assert!(gaps(&asked[1..]).iter().all(|gap| *gap == 1000), "{:?}", gaps(asked));
        assert!(gaps(asked)[0] <= 1000);
        tenths[((asked[2] - world.started).as_millis() % 1000 / 100) as usize] += 1;
    }
    assert!(tenths.iter().all(|n| (8..=12).contains(n)), "not even: {tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_delays_nobody_else() {
    let all: Vec<u8> = (1..=200).collect();
    let world = World::with(vec![service(1, &all)], |state| {
        (1..=150).for_each(|n| {
            state.answers.insert(n, Answer::Hang);
        });
    })
    .await;
    sleep(SECOND * 4).await;
    let state = lock(&world.state);
    for n in 151..=200_u8 {
        let asked = &state.asked[&n];
        let first = asked[0] - world.started;
        // Eight new turns each 10 ms.
        assert!(first <= Duration::from_millis(200), "server {n} waited {first:?} behind those that hang");
        assert!(gaps(&asked[1..]).iter().all(|gap| *gap == 1000));
    }
    assert_eq!(state.kernel.table().services[&key(1)].destinations.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn of_far_servers_no_more_are_asked_at_once_at_a_start_than_their_way_takes() {
    let all: Vec<u8> = (1..=200).collect();
    let world = World::with(vec![service(1, &all)], all_are(&all, Answer::Slow(50))).await;
    sleep(Duration::from_millis(300)).await;
    let state = lock(&world.state);
    assert_eq!(state.asked.len(), 200);
    let busy = state.most_busy;
    assert!((40..=56).contains(&busy), "{busy} at once: eight each 10 ms, for 50 ms each");
}

impl World {
    fn asked(&self, n: u8) -> Vec<Instant> {
        lock(&self.state).asked.get(&n).cloned().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_longer_than_its_interval_never_overlaps_itself() {
    // The scripted probe itself panics when it is asked twice at once; the timeout is half a second.
    let world = World::with(vec![service(1, &[1])], |state| {
        state.answers.insert(1, Answer::Slow(450));
    })
    .await;
    sleep(SECOND * 3).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
    assert!(gaps(&world.asked(1)[1..]).iter().all(|gap| *gap == 1000));
    world.answer(1, Answer::Hang);
    sleep(SECOND * 3).await;
    assert_eq!(world.stands(1).unwrap(), [(fallback(), 1)], "past its deadline it is down");
}

// ---- more to do than can be done ------------------------------------------------------------------

impl World {
    async fn look(&self) -> Snapshot {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Ask(Ask::Look(None, reply))).await;
        answer.await.unwrap()
    }

    /// How often something of this id was told.
    async fn told(&self, id: &str) -> usize {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Ask(Ask::Recent(reply))).await;
        answer.await.unwrap().told.iter().filter(|one| one.id == id).count()
    }

    /// How often each server was asked since.
    fn asked_since(&self, start: Instant) -> Vec<usize> {
        let state = lock(&self.state);
        state.asked.values().map(|asked| asked.iter().filter(|at| **at > start).count()).collect()
    }

    /// Sees that intervals are stretched so far, in percent, all alike, that it is told once, and that no server
    /// suffers; then that its end is told once, when servers answer at once.
    async fn bears(&self, all: &[u8], stretch: std::ops::RangeInclusive<u64>) {
        let start = Instant::now();
        sleep(SECOND * 60).await;
        let asked = self.asked_since(start);
        let (least, most) = (asked.iter().min().unwrap(), asked.iter().max().unwrap());
        assert_eq!(asked.len(), all.len());
        assert!(most - least <= 1 + most / 20, "not alike: {asked:?}");
        assert!(stretch.contains(&(100 * 60 / *most as u64)), "asked {most} times in 60 s");
        let pace = self.look().await.pace;
        // A window holds a few rounds only.
        let about = stretch.start() - 10..=stretch.end() + 10;
        assert!(pace.overloaded && about.contains(&pace.stretch), "{pace:?}");
        assert_eq!(pace.running, all.len());
        assert_eq!((self.told("overloaded").await, self.told("overload-over").await), (1, 0));
        let ops = self.ops();
        assert!(!ops.iter().any(|op| op.contains("remove") || op.contains("delete")), "{ops:?}");
        assert_eq!(self.stands(1).unwrap().len(), all.len());
        all.iter().for_each(|n| self.answer(*n, Answer::Good));
        sleep(SECOND * 30).await;
        let pace = self.look().await.pace;
        assert!(!pace.overloaded && pace.stretch == 100 && pace.missed == 0, "{pace:?}");
        assert_eq!((self.told("overloaded").await, self.told("overload-over").await), (1, 1));
    }
}

fn all_are(all: &[u8], answer: Answer) -> impl FnOnce(&mut State) {
    let all = all.to_vec();
    move |state| state.answers.extend(all.into_iter().map(|n| (n, answer)))
}

#[tokio::test(start_paused = true)]
async fn where_one_can_be_asked_at_a_time_all_wait_alike_and_no_deadline_runs_meanwhile() {
    // Three seconds for all of them, at an interval of one and with half a second for each.
    let all: Vec<u8> = (1..=10).collect();
    let world = World::with(vec![service(1, &all)], |state| {
        all_are(&all, Answer::Slow(300))(state);
        state.slots = Some(1);
    })
    .await;
    world.bears(&all, 290..=310).await;
    assert_eq!(lock(&world.state).most_busy, 1);
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_is_too_slow_stretches_all_intervals_alike_and_takes_nobody_down() {
    // 1.2 s of work for each second; all of them at once would take that long each, and half a second is allowed.
    let all: Vec<u8> = (1..=200).collect();
    let world = World::with(vec![service(1, &all)], all_are(&all, Answer::Busy(2))).await;
    world.bears(&all, 115..=125).await;
    let busy = lock(&world.state).most_busy;
    assert!(busy <= 40, "{busy} at once");
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_for_a_while_does_not_ask_all_at_once_and_that_is_no_overload() {
    let all: Vec<u8> = (1..=200).collect();
    let world = World::with(vec![service(1, &all)], all_are(&all, Answer::Slow(1))).await;
    sleep(SECOND * 20).await;
    lock(&world.state).most_busy = 0;
    // Time jumps over what is between.
    let start = Instant::now() + SECOND * 2;
    advance(SECOND * 3).await;
    sleep(SECOND).await;
    let asked = world.asked_since(start);
    let busy = lock(&world.state).most_busy;
    assert!(busy <= 20, "{busy} at once");
    assert!(asked.iter().all(|n| (1..=2).contains(n)), "{asked:?}");
    sleep(SECOND * 20).await;
    assert_eq!(world.told("overloaded").await, 0);
    let state = lock(&world.state);
    assert!(
        state.asked.values().all(|asked| gaps(&asked[asked.len() - 10..]).iter().all(|gap| *gap == 1000))
    );
}

#[tokio::test(start_paused = true)]
async fn servers_that_hang_longer_than_their_interval_are_no_overload() {
    let world = World::with(vec![service(1, &[1, 2, 3])], |state| {
        state.answers.insert(1, Answer::Hang);
        state.timeout = Some(Duration::from_millis(3700));
    })
    .await;
    sleep(SECOND * 60).await;
    let pace = world.look().await.pace;
    assert!(!pace.overloaded && pace.missed == 0 && pace.stretch == 100, "{pace:?}");
}

// ---- from a verdict to the kernel -----------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_server_is_added_with_its_first_good_answer_and_removed_with_its_first_bad_one() {
    let world = World::with(vec![service(1, &[1, 2])], |state| {
        state.answers.insert(2, Answer::Bad);
    })
    .await;
    sleep(SECOND / 100).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
    world.answer(2, Answer::Good);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1), (at(2), 1)]);
    world.answer(1, Answer::Bad);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(2), 1)]);
    world.answer(2, Answer::Bad);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(fallback(), 1)]);
    world.answer(1, Answer::Good);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_start_over_a_table_that_is_right_changes_nothing() {
    let world = World::with(vec![service(1, &[1, 2])], |state| state.kernel = full()).await;
    sleep(SECOND * 20).await;
    assert_eq!(world.ops(), Vec::<String>::new());
}

/// What service 1 with servers 1 and 2 looks like when all is well.
fn full() -> Memory {
    let mut entry = Entry::new(settings("wrr"));
    for n in [1, 2] {
        entry.destinations.insert(at(n), Destination::new(Forward::Masq, Weight::ONE));
    }
    Memory::new(Table { services: [(key(1), entry.into())].into() })
}

#[tokio::test(start_paused = true)]
async fn a_table_that_somebody_emptied_is_filled_again() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND).await;
    world.by_hand(Op::DelService(key(1)));
    sleep(SECOND * 6).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1), (at(2), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_change_by_hand_is_seen_before_the_next_change_of_ours_to_that_service() {
    // Server 1 is removed by hand; when server 2 fails a moment later, 1 must come back first.
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND).await;
    world.ops();
    world.by_hand(Op::DelDestination(key(1), at(1)));
    world.answer(2, Answer::Bad);
    sleep(SECOND).await;
    let ops = world.ops();
    assert!(ops[0].starts_with("add server 10.0.0.1:80"), "{ops:?}");
    assert!(ops[1].starts_with("remove server 10.0.0.2:80"), "{ops:?}");
}

#[tokio::test(start_paused = true)]
async fn a_weight_set_by_hand_holds_until_the_next_transition() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND).await;
    let heavy = Destination::new(Forward::Masq, Weight::new(7).unwrap());
    world.by_hand(Op::SetDestination(key(1), at(1), heavy));
    sleep(SECOND * 20).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 7), (at(2), 1)]);
    world.answer(1, Answer::Bad);
    sleep(SECOND).await;
    world.answer(1, Answer::Good);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1), (at(2), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_weight_set_by_hand_is_put_right_where_the_policy_says_so() {
    let mut strict = service(1, &[1, 2]);
    strict.policy.by_hand = ByHand::Repair;
    let world = World::new(vec![strict]).await;
    sleep(SECOND).await;
    let heavy = Destination::new(Forward::Masq, Weight::new(7).unwrap());
    world.by_hand(Op::SetDestination(key(1), at(1), heavy));
    sleep(SECOND * 6).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1), (at(2), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_operation_is_tried_again_later_and_later() {
    let world = World::with(vec![service(1, &[1])], |state| state.refuse_ops = usize::MAX).await;
    sleep(SECOND * 60).await;
    let tries = lock(&world.state).reads.len();
    assert!((8..60).contains(&tries), "{tries} tries in a minute");
    lock(&world.state).refuse_ops = 0;
    sleep(SECOND * 31).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cannot_be_read_for_a_while_is_put_right_afterwards() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND).await;
    lock(&world.state).refuse_reads = 3;
    world.answer(1, Answer::Bad);
    sleep(SECOND * 5).await;
    assert_eq!(world.stands(1).unwrap(), [(at(2), 1)]);
}

#[tokio::test(start_paused = true)]
async fn services_of_others_are_left_alone() {
    let foreign = Entry {
        destinations: [(at(99), Destination::new(Forward::Ipip, Weight::ONE))].into(),
        settings: settings("wrr"),
    };
    let kept = foreign.clone();
    let world = World::with(vec![service(1, &[1])], |state| {
        state.kernel = Memory::new(Table { services: [(key(9), foreign.into())].into() });
    })
    .await;
    sleep(SECOND * 10).await;
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    let table = lock(&world.state).kernel.table();
    assert_eq!(table.services, BTreeMap::from([(key(9), kept.into())]));
}

// ---- reload and stop ------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_reload_touches_only_what_changed_and_keeps_everybody_elses_place_in_the_schedule() {
    let world = World::new(vec![service(1, &[1, 2]), service(2, &[3, 4])]).await;
    sleep(SECOND * 3).await;
    world.ops();
    let mut heavier = service(2, &[3, 4]);
    heavier.servers[1].weight = Weight::new(5).unwrap();
    world.reload(Loadable::Plan(vec![Arc::new(service(1, &[1, 2])), Arc::new(heavier)])).await;
    sleep(SECOND * 3).await;
    assert_eq!(world.ops(), ["change server 10.0.0.4:80 (masq, weight 5) of 192.0.2.2:80"]);
    for n in 1..=4 {
        assert!(gaps(&world.asked(n)[1..]).iter().all(|gap| *gap == 1000), "server {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_configuration_changes_nothing() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND).await;
    world.ops();
    world.reload(Loadable::Broken).await;
    sleep(SECOND * 3).await;
    assert_eq!(world.ops(), Vec::<String>::new());
    world.answer(1, Answer::Bad);
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(2), 1)], "checks go on and count");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_emptied_takes_no_service_away_unless_somebody_asks_for_it() {
    let world = World::new(vec![service(1, &[1])]).await;
    sleep(SECOND).await;
    lock(&world.state).loads.push(Loadable::Plan(Vec::new()));
    world.send(Event::FileChanged).await;
    sleep(SECOND * 10).await;
    assert!(world.stands(1).is_some(), "nobody asked for it");
    world.reload(Loadable::Plan(Vec::new())).await;
    sleep(SECOND * 10).await;
    assert_eq!(world.stands(1), None, "somebody did");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_leaves_the_configuration_leaves_the_kernel_and_its_probes_end() {
    let world = World::new(vec![service(1, &[1]), service(2, &[2])]).await;
    sleep(SECOND).await;
    world.reload(Loadable::Plan(vec![Arc::new(service(1, &[1]))])).await;
    sleep(SECOND / 100).await;
    assert_eq!(world.stands(2), None);
    let asked = world.asked(2).len();
    sleep(SECOND * 5).await;
    assert_eq!(world.asked(2).len(), asked, "nobody asks it any more");
    // Made again by somebody else, it is a stranger.
    world.by_hand(Op::NewService(key(2), settings("wrr")));
    sleep(SECOND * 20).await;
    assert_eq!(world.stands(2), Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_reload_adds_and_that_stands_already_is_taken_over_as_it_stands() {
    let world = World::new(vec![service(2, &[9])]).await;
    sleep(SECOND).await;
    world.by_hand(Op::NewService(key(1), settings("wrr")));
    for n in [1, 2, 77] {
        let there = Destination::new(Forward::Masq, Weight::ONE);
        world.by_hand(Op::NewDestination(key(1), at(n), there));
    }
    world.ops();
    world.answer(1, Answer::Slow(400));
    world.answer(2, Answer::Bad);
    world.reload(Loadable::Plan(vec![Arc::new(service(1, &[1, 2])), Arc::new(service(2, &[9]))])).await;
    sleep(SECOND * 2).await;
    // The stranger goes since configured servers serve, then the one that failed its check.
    let ops = ["remove server 10.0.0.77:80 from 192.0.2.1:80", "remove server 10.0.0.2:80 from 192.0.2.1:80"];
    let mut done = world.ops();
    done.sort();
    let mut ops = ops.map(String::from).to_vec();
    ops.sort();
    assert_eq!(done, ops);
}

#[tokio::test(start_paused = true)]
async fn two_reloads_in_quick_succession_end_with_the_newer_configuration() {
    let world = World::new(vec![service(1, &[1])]).await;
    sleep(SECOND).await;
    lock(&world.state).loads.push(Loadable::Plan(vec![Arc::new(service(1, &[1, 2]))]));
    lock(&world.state).loads.push(Loadable::Plan(vec![Arc::new(service(1, &[1, 2, 3]))]));
    world.send(Event::Reload).await;
    world.send(Event::Reload).await;
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1), (at(2), 1), (at(3), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_removes_what_cleanstop_says_and_leaves_the_rest_as_it_stands() {
    let mut stays = service(2, &[2]);
    stays.policy.clean_stop = false;
    let world = World::new(vec![service(1, &[1]), stays]).await;
    sleep(SECOND).await;
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    let table = lock(&world.state).kernel.table();
    assert_eq!(table.services.keys().collect::<Vec<_>>(), [&key(2)]);
    assert_eq!(table.services[&key(2)].destinations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_within_its_time_though_the_kernel_refuses_everything() {
    let world = World::new(vec![service(1, &[1])]).await;
    sleep(SECOND).await;
    lock(&world.state).refuse_ops = usize::MAX;
    let asked = Instant::now();
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    assert!(asked.elapsed() <= SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_told_once_it_has_come_to_rest_and_only_when_it_changed() {
    let folder = std::env::temp_dir().join(format!("lvsentry-watch-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.cf");
    std::fs::write(&path, "one").unwrap();
    let (sender, mut events) = mpsc::channel(8);
    let task = tokio::spawn(watch(path.clone(), sender));
    sleep(SECOND * 10).await;
    assert!(events.try_recv().is_err(), "nothing changed");
    std::fs::write(&path, "two").unwrap();
    std::fs::write(&path, "one").unwrap();
    sleep(SECOND * 3).await;
    assert!(events.try_recv().is_err(), "it was only touched");
    std::fs::write(folder.join("new"), "another text").unwrap();
    std::fs::rename(folder.join("new"), &path).unwrap();
    sleep(SECOND * 3).await;
    assert!(matches!(events.try_recv(), Ok(Event::FileChanged)));
    // A slow copy: it grows at every look, and is told once, when it is whole.
    for n in 2..8 {
        std::fs::write(&path, "x".repeat(n * 100)).unwrap();
        sleep(SECOND).await;
    }
    assert!(events.try_recv().is_err(), "still being written");
    sleep(SECOND * 3).await;
    assert!(matches!(events.try_recv(), Ok(Event::FileChanged)));
    sleep(SECOND * 10).await;
    assert!(events.try_recv().is_err(), "told twice");
    // Taken away, and put back as it was.
    for (from, to) in [(&path, &folder.join("away")), (&folder.join("away"), &path)] {
        std::fs::rename(from, to).unwrap();
        sleep(SECOND * 3).await;
        assert!(matches!(events.try_recv(), Ok(Event::FileChanged)), "{to:?}");
        assert!(events.try_recv().is_err(), "told twice");
    }
    task.abort();
    std::fs::remove_dir_all(&folder).unwrap();
}

// ---- operators, and what is remembered ------------------------------------------------------------

fn wish(server: &str, deed: Deed) -> Wish {
    let named = Named { server: server.into(), service: None };
    Wish { named, deed, reason: None, lasting: None, deadline: None }
}

impl World {
    async fn order(&self, wish: Wish) -> Obeyed {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Ask(Ask::Order(wish, reply))).await;
        answer.await.unwrap().unwrap()
    }

    /// Somebody else's connections.
    fn connect(&self, n: u8, server: u8, count: u32) {
        lock(&self.state).kernel.connect(key(n), at(server), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_leaves_when_its_last_connection_has_ended() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND * 2).await;
    assert_eq!(lock(&world.state).looks.len(), 0, "nobody is drained, nothing is counted");
    world.connect(1, 1, 3);
    world.order(wish("10.0.0.1", Deed::Drain)).await;
    sleep(SECOND * 20).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 0), (at(2), 1)], "it has connections");
    let looks = lock(&world.state).looks.clone();
    assert!(
        (15..=21).contains(&looks.len()) && gaps(&looks).iter().all(|gap| *gap >= 1000),
        "counted in 20 s: {:?}",
        gaps(&looks)
    );
    world.connect(1, 1, 0);
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(1).unwrap(), [(at(2), 1)]);
    let counted = lock(&world.state).looks.len();
    sleep(SECOND * 10).await;
    assert_eq!(lock(&world.state).looks.len(), counted, "it is drained, nothing is counted any more");
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_over_at_its_deadline_and_counts_that_fail_end_none() {
    let world = World::new(vec![service(1, &[1, 2])]).await;
    sleep(SECOND * 2).await;
    world.connect(1, 1, 1);
    world.order(Wish { deadline: Some(SECOND * 10), ..wish("10.0.0.1:80", Deed::Drain) }).await;
    sleep(SECOND * 3).await;
    // The table can not be read, and nobody says that it is empty.
    lock(&world.state).refuse_reads = 2;
    sleep(SECOND * 6).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 0), (at(2), 1)]);
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(1).unwrap(), [(at(2), 1)]);
}

/// A state file of one test, in a folder that is gone with it.
struct Remembered(PathBuf);

impl Remembered {
    fn new(test: &str) -> Remembered {
        let folder = std::env::temp_dir().join(format!("lvsentry-state-{}-{test}", std::process::id()));
        Remembered(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("test.json")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_remembered_to_be_ours_before_it_is_made_and_forgotten_once_it_is_gone() {
    let memory = Remembered::new("before");
    let file = memory.file();
    let world = World::made(
        vec![service(1, &[1])],
        |state| state.file = Some(file.clone()),
        |daemon| daemon.with_state(file.clone()),
    )
    .await;
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
    assert_eq!(lock(&world.state).remembered, [true]);
    world.reload(Loadable::Plan(vec![Arc::new(service(2, &[1]))])).await;
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(1), None);
    assert_eq!(lock(&world.state).remembered, [true, true]);
    assert!(memory.text().contains("tcp:192.0.2.2:80") && !memory.text().contains("tcp:192.0.2.1:80"));
    // The end: a clean stop takes it from the kernel, and from the file.
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    assert!(memory.text().contains("\"services\": []"), "{}", memory.text());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_costs_nobody_his_traffic() {
    let memory = Remembered::new("full");
    std::fs::create_dir_all(&memory.0).unwrap();
    // The file's folder is a file.
    let wrong = memory.0.join("taken");
    std::fs::write(&wrong, "x").unwrap();
    let world =
        World::made(vec![service(1, &[1])], |_| {}, |daemon| daemon.with_state(wrong.join("a.json"))).await;
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(1).unwrap(), [(at(1), 1)]);
    let obeyed = world.order(wish("10.0.0.1", Deed::Disable)).await;
    assert!(obeyed.forgotten.is_some_and(|why| why.contains("can not be written")));
    sleep(SECOND).await;
    assert_eq!(world.stands(1).unwrap(), [(fallback(), 1)], "the order is in force all the same");
    // It is tried again, and then all of it is there.
    std::fs::remove_file(&wrong).unwrap();
    sleep(SECOND * 31).await;
    let text = std::fs::read_to_string(wrong.join("a.json")).unwrap();
    assert!(text.contains("disable") && text.contains("tcp:192.0.2.1:80"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_orders_are_in_force_at_once_and_what_was_dropped_meanwhile_leaves() {
    let memory = Remembered::new("crash");
    let file = memory.file();
    let services = vec![service(1, &[1, 2]), service(2, &[3])];
    let first = World::made(services, |_| {}, |daemon| daemon.with_state(file.clone())).await;
    sleep(SECOND * 2).await;
    first.order(Wish { lasting: Some(SECOND * 3600), ..wish("10.0.0.1", Deed::Disable) }).await;
    first
        .order(Wish {
            lasting: Some(SECOND / 100),
            ..wish("10.0.0.2", Deed::Weight(Weight::new(7).unwrap()))
        })
        .await;
    first.daemon.abort();
    // Somebody puts it back, and has a service of his own; ours of the second is configured no more.
    let mut kernel = lock(&first.state).kernel.clone();
    let table = kernel.table();
    assert!(table.services.contains_key(&key(2)));
    let stranger = Op::NewService(key(9), settings("wrr"));
    let back = Op::NewDestination(key(1), at(1), Destination::new(Forward::Masq, Weight::ONE));
    let _ = kernel.apply(&[back, stranger]);
    let second = World::made(
        vec![service(1, &[1, 2])],
        |state| state.kernel = kernel,
        |daemon| daemon.with_state(file.clone()),
    )
    .await;
    sleep(SECOND).await;
    let ops = second.ops();
    assert!(ops.contains(&"remove service 192.0.2.2:80".into()), "{ops:?}");
    assert!(ops.contains(&"remove server 10.0.0.1:80 from 192.0.2.10:80".replace("2.10", "2.1")), "{ops:?}");
    assert_eq!(ops.len(), 2, "nothing else is touched: {ops:?}");
    assert_eq!(second.stands(9), Some(Vec::new()), "the stranger's stays");
    assert!(!memory.text().contains("tcp:192.0.2.2:80"), "it is gone, and not ours any more");
}

#[tokio::test(start_paused = true)]
async fn a_state_file_that_can_not_be_used_is_put_aside_and_ends_nobody() {
    let memory = Remembered::new("garbage");
    let file = memory.file();
    let world = World::made(vec![service(1, &[1])], |_| {}, |daemon| daemon.with_state(file.clone())).await;
    sleep(SECOND * 2).await;
    world.order(wish("10.0.0.1", Deed::Drain)).await;
    let whole = memory.text();
    world.daemon.abort();
    let newer = whole.replace("\"version\": 1", "\"version\": 2");
    let torn = [&whole[..whole.len() / 2], &whole[..whole.len() - 3], "", "{}", "\0\0\0", &newer];
    for text in torn {
        std::fs::write(&file, text).unwrap();
        let world =
            World::made(vec![service(1, &[1])], |_| {}, |daemon| daemon.with_state(file.clone())).await;
        sleep(SECOND * 2).await;
        assert_eq!(world.stands(1).unwrap(), [(at(1), 1)], "with {text:?}");
        assert_eq!(std::fs::read_to_string(memory.0.join("test.json.bad")).unwrap(), text);
        assert!(memory.text().contains("tcp:192.0.2.1:80"), "a new one is there");
        world.daemon.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_leaves_the_old_file_whole_and_the_next_try_succeeds() {
    let memory = Remembered::new("enospc");
    let file = memory.file();
    let remembered = |world: World| async move {
        sleep(SECOND * 2).await;
        world.daemon.abort();
    };
    remembered(World::made(vec![service(1, &[1])], |_| {}, |daemon| daemon.with_state(file.clone())).await)
        .await;
    let before = memory.text();
    // What is written next ends on a device that is always full.
    std::os::unix::fs::symlink("/dev/full", memory.0.join("test.json.new")).unwrap();
    let services = vec![service(1, &[1]), service(2, &[1])];
    let world = World::made(services, |_| {}, |daemon| daemon.with_state(file.clone())).await;
    sleep(SECOND * 2).await;
    assert_eq!(memory.text(), before);
    assert_eq!(world.stands(2).unwrap(), [(at(1), 1)], "it is made all the same");
    sleep(SECOND * 31).await;
    assert!(memory.text().contains("tcp:192.0.2.2:80"), "{}", memory.text());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_stalls_is_not_read_before_its_writer_has_closed_it() {
    use std::io::Write;
    let folder = std::env::temp_dir().join(format!("lvsentry-stall-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("stall.cf");
    std::fs::write(&path, "one").unwrap();
    let (sender, mut events) = mpsc::channel(8);
    let task = tokio::spawn(watch(path.clone(), sender));
    sleep(SECOND * 2).await;
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"half").unwrap();
    sleep(SECOND * 20).await;
    assert!(events.try_recv().is_err(), "it is half a file");
    file.write_all(b" and half").unwrap();
    drop(file);
    sleep(SECOND * 3).await;
    assert!(matches!(events.try_recv(), Ok(Event::FileChanged)));
    // One who never closes it is no copy.
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"kept open").unwrap();
    sleep(SECOND * 100).await;
    assert!(matches!(events.try_recv(), Ok(Event::FileChanged)));
    task.abort();
    std::fs::remove_dir_all(&folder).unwrap();
}
