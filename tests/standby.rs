//! Who keeps the table: a daemon that stands by, is promoted and demoted, over a kernel in memory and
//! scripted servers, with paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lvsentry::config::{self, Inquiry, Loaded, SystemNames};
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::ipvs::error::{OpError, ReadError};
use lvsentry::ipvs::{Kernel, Memory, Scope};
use lvsentry::model::{Forward, ServiceKey, Watch, Weight};
use lvsentry::outcome::{Failure, Phase, Reason};
use lvsentry::probe::{Asking, Call, Probe, Tools};
use lvsentry::span::Source;
use lvsentry::table::flow::Flows;
use lvsentry::table::{Destination, Entry, Op, Table};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::plan::{at, key, settings};

// ---- a world ------------------------------------------------------------------------------------

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for all that follows from an event at once.
const MOMENT: Duration = Duration::from_millis(1);

/// Two services; the second has a fallback.
const TWO: &str = "
defaults: { forward: masq, check: connect, drain: off }
services:
  - { listen: '192.0.2.1:80', servers: [10.0.0.1, 10.0.0.2, 10.0.0.3] }
  - { listen: '192.0.2.2:80', servers: [10.0.0.4], fallback: ['127.0.0.1:80'], clean_stop: true }
";

fn standing_by(text: &str) -> String {
    format!("role: standby{text}")
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Good,
    Bad,
    Hang,
}

#[derive(Default)]
struct State {
    /// Servers, by the last number of their address, that do not answer well.
    answers: BTreeMap<u8, Answer>,
    kernel: Memory,
    reads: usize,
    /// What was asked of the kernel in one go, as far as it did it, and when.
    batches: Vec<(Instant, Vec<String>)>,
    refuse: bool,
    /// Who is told, while the next change is made, that we are to stand by.
    demote: Option<mpsc::Sender<Event>>,
    refuse_reads: bool,
    /// What the next load reads.
    text: String,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

struct Scripted(u8, Shared);

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scripted({})", self.0)
    }
}

impl Probe for Scripted {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let answer = lock(&self.1).answers.get(&self.0).copied();
            match answer.unwrap_or(Answer::Good) {
                Answer::Good => Ok("well".into()),
                Answer::Bad => Err(Failure::new(Phase::Connect, Reason::Refused, "connection refused")),
                Answer::Hang => std::future::pending().await,
            }
        })
    }

    fn identity(&self) -> String {
        format!("scripted {}", self.0)
    }
}

struct TestKernel(Shared);

impl Kernel for TestKernel {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        let mut state = lock(&self.0);
        state.reads += 1;
        if state.refuse_reads { Err(ReadError::Timeout) } else { state.kernel.read(scope) }
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        lock(&self.0).kernel.flows(keys)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut state = lock(&self.0);
        if let Some(events) = state.demote.take() {
            events.blocking_send(Event::Demote("a change is under way".into())).unwrap();
        }
        if state.refuse {
            return ops.iter().map(|_| Err(OpError::Other(12))).collect();
        }
        state.batches.push((Instant::now(), ops.iter().map(Op::to_string).collect()));
        state.kernel.apply(ops)
    }
}

fn load(text: &str, state: &Shared) -> Loaded {
    let source = Source::new("test.yaml", text.as_bytes());
    let mut loaded =
        config::load_text(source, &SystemNames::new()).unwrap_or_else(|report| panic!("{report}"));
    let services: Vec<_> = loaded.config.plan.services.values().cloned().collect();
    for server in services.iter().flat_map(|service| &service.servers) {
        let (Watch::Probe(key), SocketAddr::V4(at)) = (&server.watch, server.address) else { continue };
        let probe = Arc::new(Scripted(at.ip().octets()[3], state.clone()));
        // Who hangs does so for a while.
        let inquiry = Inquiry { probe, interval: SECOND, timeout: SECOND * 10 };
        loaded.config.inquiries.insert(*key, inquiry);
    }
    loaded
}

struct World {
    state: Shared,
    events: mpsc::Sender<Event>,
    daemon: JoinHandle<()>,
}

impl World {
    fn new(text: &str) -> World {
        World::with(text, |_| {})
    }

    fn with(text: &str, prepare: impl FnOnce(&mut State)) -> World {
        let state = Shared::default();
        prepare(&mut lock(&state));
        let shared = state.clone();
        let loader = Arc::new(move || {
            let text = lock(&shared).text.clone();
            Ok(load(&text, &shared))
        });
        let kernel = Box::new(TestKernel(state.clone()));
        let config = load(text, &state).config;
        let path = PathBuf::from("test.yaml");
        let daemon = Daemon::new(Setup { config, path, loader, kernel, tools: Tools::new(), slots: 1000 });
        let daemon = daemon.unwrap();
        let events = daemon.sender();
        World { state, events, daemon: tokio::spawn(daemon.run()) }
    }

    async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
        sleep(MOMENT).await;
    }

    async fn promote(&self) {
        self.send(Event::Promote("a test".into())).await;
    }

    async fn demote(&self) {
        self.send(Event::Demote("a test".into())).await;
    }

    async fn reload(&self, text: &str) {
        lock(&self.state).text = text.to_owned();
        self.send(Event::Reload).await;
    }

    fn answer(&self, n: u8, answer: Answer) {
        lock(&self.state).answers.insert(n, answer);
    }

    fn table(&self) -> Table {
        lock(&self.state).kernel.table()
    }

    /// The whole table in short: `1: 10.0.0.1 1` for each destination, `1:` for a service without any.
    fn stands(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, entry) in self.table().services {
            let ServiceKey::Address(_, SocketAddr::V4(at)) = key else { continue };
            let n = at.ip().octets()[3];
            if entry.destinations.is_empty() {
                lines.push(format!("{n}:"));
            }
            lines.extend(entry.destinations.iter().map(|(at, d)| format!("{n}: {} {}", at.ip(), d.weight)));
        }
        lines
    }

    fn reads(&self) -> usize {
        lock(&self.state).reads
    }

    /// What was asked of the kernel since the last call, batch by batch.
    fn batches(&self) -> Vec<Vec<String>> {
        lock(&self.state).batches.drain(..).map(|(_, batch)| batch).collect()
    }

    fn by_hand(&self, op: Op) {
        assert_eq!(lock(&self.state).kernel.apply(&[op]), [Ok(())]);
    }
}

fn one() -> Destination {
    Destination::new(Forward::Masq, Weight::ONE)
}

/// A service with these servers as it stands in the kernel.
fn entry(servers: &[u8]) -> Entry {
    let mut entry = Entry::new(settings("wrr"));
    entry.destinations.extend(servers.iter().map(|n| (at(*n), one())));
    entry
}

fn table(services: &[(u8, &[u8])]) -> Memory {
    let services = services.iter().map(|(n, servers)| (key(*n), entry(servers).into()));
    Memory::new(Table { services: services.collect() })
}

const NONE: [Vec<String>; 0] = [];

// ---- standby --------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_standby_leaves_the_kernel_alone_whatever_its_checks_say_and_at_its_end_too() {
    let before = table(&[(1, &[1, 77]), (2, &[]), (9, &[9])]);
    let kept = before.table();
    let world = World::with(&standing_by(TWO), |state| state.kernel = before);
    for (answer, n) in [(Answer::Good, 1), (Answer::Bad, 4), (Answer::Good, 4), (Answer::Bad, 1)] {
        world.answer(n, answer);
        sleep(SECOND * 10).await;
    }
    world.reload(&standing_by(TWO).replace(", 10.0.0.3", "")).await;
    sleep(SECOND * 10).await;
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    let state = lock(&world.state);
    assert_eq!((state.reads, state.batches.len()), (1, 0), "one look at the start");
    assert_eq!(state.kernel.table(), kept);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_reads_once_and_makes_the_whole_table_of_what_is_known_at_once() {
    let world = World::with(&standing_by(TWO), |state| {
        state.answers = [(2, Answer::Bad), (3, Answer::Hang), (4, Answer::Bad)].into();
    });
    sleep(SECOND * 3).await;
    world.promote().await;
    // Server 2 is down, server 3 was never heard of, and no server of the second service is up.
    assert_eq!(world.stands(), ["1: 10.0.0.1 1", "2: 127.0.0.1 1"]);
    assert_eq!((world.reads(), world.batches().len()), (2, 1), "the start's read, one more, one change");
    // And it is in charge from now on.
    world.answer(2, Answer::Good);
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(), ["1: 10.0.0.1 1", "1: 10.0.0.2 1", "2: 127.0.0.1 1"]);
    world.by_hand(Op::DelService(key(1)));
    sleep(SECOND * 6).await;
    assert_eq!(world.stands().len(), 3, "what others undo is put right");
}

#[tokio::test(start_paused = true)]
async fn what_stands_at_a_promotion_is_believed_only_where_no_check_has_spoken() {
    let world = World::with(&standing_by(TWO), |state| {
        state.answers = [(2, Answer::Bad), (3, Answer::Hang)].into();
        state.kernel = table(&[(1, &[2, 3, 77]), (9, &[9])]);
    });
    sleep(SECOND * 3).await;
    world.promote().await;
    assert_eq!(world.stands(), ["1: 10.0.0.1 1", "1: 10.0.0.3 1", "2: 10.0.0.4 1", "9: 10.0.0.9 1"]);
    assert_eq!(world.reads(), 2);
    let batches = world.batches();
    assert_eq!(batches.len(), 2, "additions, then removals: {batches:?}");
    assert!(batches[0].iter().all(|op| op.starts_with("add")), "{batches:?}");
    assert!(batches[1].iter().all(|op| op.starts_with("remove server")), "{batches:?}");
    // It is a belief, until its check has spoken.
    sleep(SECOND * 10).await;
    assert_eq!(world.stands(), ["1: 10.0.0.1 1", "2: 10.0.0.4 1", "9: 10.0.0.9 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_stood_when_a_standby_started_is_not_believed_at_its_promotion() {
    let world = World::with(&standing_by(TWO), |state| {
        state.answers = [(1, Answer::Hang), (2, Answer::Hang), (3, Answer::Hang), (4, Answer::Hang)].into();
        state.kernel = table(&[(1, &[1, 2]), (2, &[4])]);
    });
    sleep(SECOND / 2).await;
    world.by_hand(Op::DelDestination(key(1), at(1)));
    world.by_hand(Op::DelService(key(2)));
    world.promote().await;
    assert_eq!(world.stands(), ["1: 10.0.0.2 1", "2:"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_believed_while_active_is_forgotten_by_the_next_promotion() {
    let world = World::with(TWO, |state| {
        state.answers = [(1, Answer::Hang), (2, Answer::Hang)].into();
        state.kernel = table(&[(1, &[1, 2])]);
    });
    sleep(SECOND).await;
    assert_eq!(world.stands()[..3], ["1: 10.0.0.1 1", "1: 10.0.0.2 1", "1: 10.0.0.3 1"]);
    world.demote().await;
    // The other director finds out that server 1 is dead.
    world.by_hand(Op::DelDestination(key(1), at(1)));
    world.promote().await;
    assert_eq!(world.stands(), ["1: 10.0.0.2 1", "1: 10.0.0.3 1", "2: 10.0.0.4 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_over_a_table_that_is_right_changes_nothing() {
    let right = table(&[(1, &[1, 2, 3]), (2, &[4])]);
    let world = World::with(&standing_by(TWO), |state| state.kernel = right);
    sleep(SECOND * 2).await;
    world.promote().await;
    sleep(SECOND * 20).await;
    assert_eq!(world.batches(), NONE);
}

#[tokio::test(start_paused = true)]
async fn a_weight_by_hand_ends_with_the_role() {
    let world = World::new(&TWO.replace("check: connect", "check: connect, by_hand: hold"));
    sleep(SECOND).await;
    let heavy = Destination::new(Forward::Masq, Weight::new(7).unwrap());
    world.by_hand(Op::SetDestination(key(1), at(1), heavy));
    sleep(SECOND * 6).await;
    assert!(world.stands().contains(&"1: 10.0.0.1 7".to_owned()), "it holds while we are active");
    world.demote().await;
    world.promote().await;
    assert!(world.stands().contains(&"1: 10.0.0.1 1".to_owned()), "{:?}", world.stands());
}

// ---- demotion ---------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_demotion_leaves_the_table_and_nothing_is_done_to_it_afterwards() {
    let world = World::new(TWO);
    sleep(SECOND).await;
    let (before, reads) = (world.table(), world.reads());
    world.batches();
    world.demote().await;
    (1..=4).for_each(|n| world.answer(n, Answer::Bad));
    sleep(SECOND * 60).await;
    assert_eq!((world.table(), world.reads(), world.batches()), (before, reads, NONE.to_vec()));
    world.promote().await;
    assert_eq!(world.stands(), ["1:", "2: 127.0.0.1 1"], "what it learnt meanwhile counts at once");
}

#[tokio::test(start_paused = true)]
async fn a_demotion_removes_what_is_ours_where_that_is_wanted_and_nothing_else() {
    let text = format!("on_demote: remove{TWO}");
    let world = World::with(&text, |state| state.kernel = table(&[(9, &[9])]));
    sleep(SECOND).await;
    world.demote().await;
    assert_eq!(world.stands(), ["9: 10.0.0.9 1"]);
    let reads = world.reads();
    sleep(SECOND * 60).await;
    assert_eq!(world.reads(), reads, "once that is done the kernel is left alone");
    // Made again by the other director it stays.
    world.by_hand(Op::NewService(key(1), entry(&[]).settings));
    sleep(SECOND * 60).await;
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    assert!(lock(&world.state).kernel.table().services.contains_key(&key(1)));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_the_kernel_refuses_is_tried_again_until_it_is_done() {
    let world = World::new(&format!("on_demote: remove{TWO}"));
    sleep(SECOND).await;
    lock(&world.state).refuse = true;
    world.demote().await;
    sleep(SECOND * 5).await;
    assert_eq!(world.stands().len(), 4);
    lock(&world.state).refuse = false;
    sleep(SECOND * 31).await;
    assert_eq!(world.stands(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_right_after_a_demotion_still_removes() {
    let world = World::new(&format!("on_demote: remove{TWO}"));
    sleep(SECOND).await;
    world.events.send(Event::Demote("a test".into())).await.unwrap();
    world.events.send(Event::Stop("TERM")).await.unwrap();
    world.daemon.await.unwrap();
    assert_eq!(lock(&world.state).kernel.table(), Table::default());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_reload_drops_while_we_stand_by_leaves_at_the_next_promotion() {
    let world = World::with(TWO, |state| state.kernel = table(&[(9, &[9])]));
    sleep(SECOND).await;
    world.demote().await;
    let less = TWO.lines().filter(|line| !line.contains("192.0.2.2")).collect::<Vec<_>>().join("\n");
    world.reload(&less).await;
    sleep(SECOND * 10).await;
    assert!(world.stands().contains(&"2: 10.0.0.4 1".to_owned()), "the kernel is left alone");
    world.promote().await;
    assert_eq!(world.stands(), ["1: 10.0.0.1 1", "1: 10.0.0.2 1", "1: 10.0.0.3 1", "9: 10.0.0.9 1"]);
}

// ---- trouble ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_promotion_that_the_kernel_refuses_is_carried_out_as_soon_as_it_does_not() {
    let world = World::new(&standing_by(TWO));
    sleep(SECOND).await;
    lock(&world.state).refuse_reads = true;
    world.promote().await;
    sleep(SECOND * 3).await;
    lock(&world.state).refuse = true;
    lock(&world.state).refuse_reads = false;
    sleep(SECOND * 3).await;
    assert_eq!(world.stands(), [""; 0]);
    lock(&world.state).refuse = false;
    sleep(SECOND * 31).await;
    assert_eq!(world.stands().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_demotion_while_the_kernel_refuses_gives_up_what_was_still_to_be_done() {
    let world = World::with(&standing_by(TWO), |state| state.refuse = true);
    sleep(SECOND).await;
    world.promote().await;
    sleep(SECOND * 2).await;
    world.demote().await;
    let reads = world.reads();
    lock(&world.state).refuse = false;
    sleep(SECOND * 60).await;
    assert_eq!((world.reads(), world.batches()), (reads, NONE.to_vec()));
    let asked = Instant::now();
    world.send(Event::Stop("TERM")).await;
    world.daemon.await.unwrap();
    assert!(asked.elapsed() < SECOND, "nothing is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_demotion_while_a_change_is_made_is_the_last_that_is_done() {
    for refuse in [true, false] {
        let world = World::with(&standing_by(TWO), |state| state.refuse = refuse);
        sleep(SECOND).await;
        lock(&world.state).demote = Some(world.events.clone());
        world.promote().await;
        let reads = world.reads();
        world.batches();
        lock(&world.state).refuse = false;
        (1..=4).for_each(|n| world.answer(n, Answer::Bad));
        sleep(SECOND * 60).await;
        assert_eq!((world.reads(), world.batches()), (reads, NONE.to_vec()));
        let asked = Instant::now();
        world.send(Event::Stop("TERM")).await;
        world.daemon.await.unwrap();
        assert!(asked.elapsed() < SECOND, "nothing is waited for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_flaps_ends_with_the_table_of_the_last_one() {
    for on_demote in ["leave", "remove"] {
        let world = World::with(&format!("on_demote: {on_demote}\n{}", standing_by(TWO)), |state| {
            state.answers = [(2, Answer::Bad)].into();
        });
        sleep(SECOND).await;
        // So close that they meet jobs that are under way, and further apart.
        for n in 0..300_u64 {
            let event = if n % 2 == 0 { Event::Promote } else { Event::Demote };
            world.events.send(event(n.to_string())).await.unwrap();
            match n % 7 {
                0..3 => {}
                3..5 => tokio::task::yield_now().await,
                wait => sleep(Duration::from_micros(wait * 100)).await,
            }
            // Nobody unverified, and nobody who failed, was ever let in.
            assert!(!world.stands().iter().any(|line| line.contains("10.0.0.2 ")));
        }
        let right = ["1: 10.0.0.1 1", "1: 10.0.0.3 1", "2: 10.0.0.4 1"];
        sleep(MOMENT).await;
        let wanted: &[&str] = if on_demote == "leave" { &right } else { &[] };
        assert_eq!(world.stands(), wanted, "{on_demote}");
        world.promote().await;
        assert_eq!(world.stands(), right, "{on_demote}");
        let reads = world.reads();
        world.promote().await;
        assert_eq!(world.reads(), reads, "active already");
    }
}

// ---- what decides ---------------------------------------------------------------------------------

/// A file that is not there yet, and goes with the test.
struct Sign(PathBuf);

impl Sign {
    fn new(test: &str) -> Sign {
        let path = std::env::temp_dir().join(format!("lvsentry-sign-{}-{test}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Sign(path)
    }

    fn put(&self) {
        std::fs::write(&self.0, "").unwrap();
    }

    fn take(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }

    fn role(&self) -> String {
        format!("on_demote: remove\nrole: {{ file: {} }}{TWO}", self.0.display())
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_follows_its_file_and_an_order_counts_until_that_changes() {
    let sign = Sign::new("follows");
    let world = World::new(&sign.role());
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(), [""; 0]);
    sign.put();
    sleep(SECOND / 2).await;
    assert_eq!(world.stands().len(), 4);
    sign.take();
    sleep(SECOND / 2).await;
    assert_eq!(world.stands(), [""; 0]);
    world.promote().await;
    sleep(SECOND * 10).await;
    assert_eq!(world.stands().len(), 4, "the order counts");
    sign.put();
    sleep(SECOND / 2).await;
    sign.take();
    sleep(SECOND / 2).await;
    assert_eq!(world.stands(), [""; 0], "the file counts again");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_there_at_the_start_makes_it_an_active_one_that_adopts() {
    let sign = Sign::new("start");
    sign.put();
    let world = World::with(&sign.role(), |state| state.kernel = table(&[(1, &[1, 2, 3]), (2, &[4])]));
    sleep(SECOND * 10).await;
    assert_eq!(world.batches(), NONE);
    world.answer(1, Answer::Bad);
    sleep(SECOND * 2).await;
    assert_eq!(world.stands().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_says_otherwise_who_is_active_changes_it_and_any_other_does_not() {
    let sign = Sign::new("reload");
    let world = World::new(TWO);
    sleep(SECOND).await;
    world.demote().await;
    world.reload(&TWO.replace(", 10.0.0.3", "")).await;
    sleep(SECOND * 10).await;
    assert_eq!(world.stands().len(), 4, "the order outlives a reload that says nothing of the role");
    world.reload(&standing_by(TWO)).await;
    world.reload(TWO).await;
    sleep(MOMENT).await;
    world.answer(1, Answer::Bad);
    sleep(SECOND * 2).await;
    assert_eq!(world.stands().len(), 3, "active again");
    // The file is not there: the look says so at once.
    world.reload(&sign.role()).await;
    sleep(SECOND).await;
    assert_eq!(world.stands(), [""; 0]);
    sign.put();
    sleep(SECOND).await;
    assert_eq!(world.stands().len(), 3);
    world.reload(&format!("on_demote: remove\n{}", standing_by(TWO))).await;
    sleep(SECOND).await;
    assert_eq!(world.stands(), [""; 0]);
    sign.take();
    sign.put();
    sleep(SECOND * 2).await;
    assert_eq!(world.stands(), [""; 0], "nobody looks at the file any more");
}
