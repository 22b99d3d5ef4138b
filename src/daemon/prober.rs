//! All probes: each is asked again and again, within a deadline, and never twice at once.
//!
//! Between its questions a probe is no more than an entry in an agenda. Each question has a task of its own,
//! so that a slow server delays only itself; it puts the probe back when it ends. First questions go out
//! at once, as fast as the burst lets them; later ones are spread over the interval.
//!
//! Probes are dealt out to lanes, one for each thread that asks; without workers the only lane is the
//! daemon's own runtime. An exchange lives on one lane from its beginning to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::vec;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::Instant;

use super::agenda::{GRAIN, following, next_slot, passed, phase, slot_at};
use super::illness::Evidence;
use super::lane::{BURST, Lane};
use super::load::{Change, Load, WINDOW};
use super::threads::Threads;
use super::{Event, Task, lock};
use crate::config::Inquiry;
use crate::model::ProbeKey;
use crate::probe::dial::Stopwatch;
use crate::probe::{self, Tools};

/// So many questions go out together. Those that are answered by then end before the next few begin, so that
/// memory is for what servers take their time over, not for all that are due at once.
const FEW: u64 = 8;

/// All running probes.
pub struct Probers {
    running: BTreeMap<ProbeKey, Arc<Prober>>,
    /// How many probes were ever begun: gives the next one its phase and its lane.
    begun: u64,
    lanes: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
    load: Load,
    /// Since when is counted.
    since: Instant,
    /// What sees to the agendas.
    _tasks: Vec<Task>,
    /// The threads of the lanes, where these are not the daemon's own; they end with this.
    _threads: Threads,
}

/// A running probe.
pub(super) struct Prober {
    key: ProbeKey,
    inquiry: Inquiry,
    phase: Duration,
    state: Mutex<State>,
}

/// Where a probe stands.
enum State {
    /// It waits for its time, or for its turn.
    Waits,
    /// A question is under way.
    Asks(AbortHandle),
    /// Nobody wants it any more.
    Ended,
}

/// What all probes share.
struct Shared {
    tools: Tools,
    /// Bounds the exchanges in flight by the descriptors this process may have.
    slots: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
    epoch: Instant,
    evidence: Evidence,
}

impl Probers {
    /// No probes yet. At most `slots` exchanges will be in flight; answers go to `events`. With more than
    /// one worker exchanges run on as many threads, else on the runtime that this is called within.
    pub fn new(tools: Tools, slots: usize, events: mpsc::Sender<Event>, workers: usize) -> Probers {
        let (slots, epoch, evidence) =
            (Arc::new(Semaphore::new(slots)), Instant::now(), Evidence::from_kernel());
        let shared = Arc::new(Shared { tools, slots, events, epoch, evidence });
        let threads = Threads::start(workers);
        let lanes: Vec<_> = threads.handles().map(|handle| Arc::new(Lane::new(handle))).collect();
        let tasks = lanes.iter().map(|lane| Task(lane.spawn(rounds(shared.clone(), lane.clone())))).collect();
        let (running, load, since) = (BTreeMap::new(), Load::default(), epoch);
        Probers { running, begun: 0, lanes, shared, load, since, _tasks: tasks, _threads: threads }
    }

    /// Ends the probes that are `gone`, and begins the `new` ones, of which none runs yet; the rest keep
    /// their place in the schedule.
    pub fn change(&mut self, gone: &[ProbeKey], new: impl IntoIterator<Item = (ProbeKey, Inquiry)>) {
        self.end(gone);
        let mut shares = vec![Vec::new(); self.lanes.len()];
        for (key, inquiry) in new {
            let phase = phase(self.begun, inquiry.interval);
            let prober = Arc::new(Prober { key, inquiry, phase, state: Mutex::new(State::Waits) });
            shares[(self.begun % self.lanes.len() as u64) as usize].push(prober.clone());
            self.begun += 1;
            self.running.insert(key, prober);
        }
        for (lane, share) in self.lanes.iter().zip(shares) {
            lane.reserve(self.running.len().div_ceil(self.lanes.len()));
            let tasks = share.len().min(BURST);
            let new = Arc::new(Mutex::new(share.into_iter()));
            (0..tasks).for_each(|_| drop(lane.spawn(firsts(self.shared.clone(), lane.clone(), new.clone()))));
        }
    }

    /// Ends the probes of these keys.
    fn end(&mut self, gone: &[ProbeKey]) {
        let ended = gone.iter().filter_map(|key| self.running.remove(key));
        ended.for_each(|prober| prober.end());
        if !gone.is_empty() {
            self.lanes.iter().for_each(|lane| lane.keep(Prober::is_wanted));
        }
    }

    /// Ends all probes.
    pub fn stop(&mut self) {
        let all: Vec<_> = self.running.keys().copied().collect();
        self.end(&all);
    }

    /// How many probes are running.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// On how many threads they are asked.
    pub fn workers(&self) -> usize {
        self.lanes.len()
    }

    /// When to look at the load again.
    pub fn deadline(&self) -> Instant {
        self.since + WINDOW
    }

    /// Looks at the load when it is time to. Says what is new.
    pub fn look(&mut self, now: Instant) -> Option<Change> {
        if now < self.deadline() {
            return None;
        }
        let count = self.lanes.iter().map(|lane| lane.tally.take()).sum();
        let lasted = now - self.since;
        self.since = now;
        self.load.counted(count, lasted)
    }

    /// How probes keep their interval.
    pub fn load(&self) -> Load {
        self.load
    }
}

impl Prober {
    fn is_wanted(&self) -> bool {
        !matches!(*lock(&self.state), State::Ended)
    }

    /// Its question has ended. Says whether it is to be asked again.
    fn waits(&self) -> bool {
        let mut state = lock(&self.state);
        let is_wanted = !matches!(*state, State::Ended);
        if is_wanted {
            *state = State::Waits;
        }
        is_wanted
    }

    /// Ends it, and the exchange that it is in.
    fn end(&self) {
        if let State::Asks(question) = std::mem::replace(&mut *lock(&self.state), State::Ended) {
            question.abort();
        }
    }
}

/// What an exchange holds as long as it lives: a turn, if it had to wait for one, and a slot.
type Held = [Option<OwnedSemaphorePermit>; 2];

/// Asks some of these for the first time, one after the other begins. There are as many such tasks as turns, so
/// that who is late waits behind as many, and not behind all.
async fn firsts(shared: Arc<Shared>, lane: Arc<Lane>, new: Arc<Mutex<vec::IntoIter<Arc<Prober>>>>) {
    loop {
        let Some(prober) = lock(&new).next() else { return };
        let turn = lane.turn().await;
        let slot = shared.slots.clone().acquire_owned().await.ok();
        ask(&shared, &lane, &prober, None, [Some(turn), slot]);
    }
}

/// Asks each that is on the lane's agenda when it is due.
async fn rounds(shared: Arc<Shared>, lane: Arc<Lane>) {
    loop {
        lane.sleep().await;
        let mut now = Instant::now();
        for n in 1_u64.. {
            let Some((due, prober)) = lane.take(now) else { break };
            now = later(&shared, &lane, &prober, due, now).await;
            if n % FEW == 0 {
                yield_now().await;
                now = Instant::now();
            }
        }
    }
}

/// Asks one that is due. Who waits here is no server's fault: the deadline does not run yet. All others wait
/// behind. Takes the time and says what it is then, so that the clock is not asked for each.
async fn later(
    shared: &Arc<Shared>,
    lane: &Arc<Lane>,
    prober: &Arc<Prober>,
    due: Instant,
    now: Instant,
) -> Instant {
    let (mut begun, mut turn) = (now, None);
    if begun.saturating_duration_since(due) > GRAIN {
        turn = Some(lane.turn().await);
        begun = Instant::now();
    }
    let mut slot = shared.slots.clone().try_acquire_owned().ok();
    if slot.is_none() {
        lane.tally.waited();
        slot = shared.slots.clone().acquire_owned().await.ok();
        begun = Instant::now();
    }
    lane.tally.began(begun.saturating_duration_since(due));
    let interval = prober.inquiry.interval;
    let mut at = slot_at(shared.epoch, prober.phase, interval, due);
    if begun > due {
        let missed = passed(at, interval, begun);
        lane.tally.missed(missed);
        at += interval.saturating_mul(missed);
    }
    ask(shared, lane, prober, Some(at), [turn, slot]);
    begun
}

/// Begins a question, if it is still wanted: for this slot, if it is not the first.
fn ask(shared: &Arc<Shared>, lane: &Arc<Lane>, prober: &Arc<Prober>, at: Option<Instant>, held: Held) {
    let mut state = lock(&prober.state);
    if !matches!(*state, State::Ended) {
        let question = question(shared.clone(), lane.clone(), prober.clone(), at, held);
        *state = State::Asks(lane.spawn(question).abort_handle());
    }
}

/// Asks, hands over the answer, and puts the probe back on the agenda.
async fn question(
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    prober: Arc<Prober>,
    at: Option<Instant>,
    _held: Held,
) {
    let Inquiry { probe, interval, timeout } = &prober.inquiry;
    let watch = Stopwatch::start();
    let mut outcome = probe::ask_since(watch, probe.as_ref(), *timeout, &shared.tools).await;
    shared.evidence.examine(&mut outcome, probe.peer()).await;
    // Nothing was looked up after a good answer: its end is known.
    let ended = if outcome.is_good() { watch.at(outcome.took) } else { Instant::now() };
    // The receiver is gone only when the daemon ends, and this task with it.
    if let Err(TrySendError::Full(event)) = shared.events.try_send(Event::Answered(prober.key, outcome)) {
        let _ = shared.events.send(event).await;
    }
    let slot = match at {
        Some(at) => following(at, *interval, ended),
        None => next_slot(shared.epoch, prober.phase, *interval, ended),
    };
    if prober.waits() {
        // A probe that was still under way at its slot is due at its end: that is the server's slowness, not ours.
        lane.add(slot.max(ended), prober.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    use super::*;
    use crate::probe::{Asking, Call, Probe};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Waits for a datagram, and sends it to itself if it is to end.
    #[derive(Debug, Default)]
    struct Echo {
        ends: bool,
        asked: AtomicUsize,
        busy: AtomicUsize,
        most: AtomicUsize,
    }

    struct Busy<'a>(&'a AtomicUsize);

    impl Drop for Busy<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }

    impl Probe for Echo {
        fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
            Box::pin(async move {
                self.asked.fetch_add(1, Relaxed);
                self.most.fetch_max(self.busy.fetch_add(1, Relaxed) + 1, Relaxed);
                let _busy = Busy(&self.busy);
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                if self.ends {
                    socket.send_to(b"?", socket.local_addr().unwrap()).await.unwrap();
                }
                socket.recv(&mut [0]).await.unwrap();
                Ok("well".into())
            })
        }

        fn identity(&self) -> String {
            unreachable!("the tests give them keys")
        }
    }

    /// So many probes that ask this once an hour.
    fn inquiries(count: usize, echo: &Arc<Echo>) -> BTreeMap<ProbeKey, Inquiry> {
        let inquiry = || Inquiry { probe: echo.clone(), interval: HOUR, timeout: HOUR };
        (0..count).map(|n| (ProbeKey::of(&n.to_string()), inquiry())).collect()
    }

    /// Lets others do what they have to until this is so.
    async fn until(is_so: impl Fn() -> bool) {
        let comes = async {
            while !is_so() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), comes).await.unwrap();
    }

    #[tokio::test]
    async fn those_that_are_answered_end_before_others_begin() {
        let echo = Arc::new(Echo { ends: true, ..Echo::default() });
        let (events, _answers) = mpsc::channel(200);
        let probers = Probers::new(Tools::new(), 200, events, 1);
        let due = Instant::now();
        for (key, inquiry) in inquiries(200, &echo) {
            let (phase, state) = (Duration::ZERO, Mutex::new(State::Waits));
            probers.lanes[0].add(due, Arc::new(Prober { key, inquiry, phase, state }));
        }
        until(|| echo.asked.load(Relaxed) == 200 && echo.busy.load(Relaxed) == 0).await;
        let most = echo.most.load(Relaxed);
        assert!(most <= 2 * FEW as usize, "{most} at once");
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_neither_asked_nor_kept() {
        let echo = Arc::new(Echo { ends: true, ..Echo::default() });
        let (events, _answers) = mpsc::channel(10);
        let mut probers = Probers::new(Tools::new(), 1, events, 1);
        probers.change(&[], inquiries(2, &echo));
        let waits = |prober: &Arc<Prober>| matches!(*lock(&prober.state), State::Waits);
        until(|| echo.asked.load(Relaxed) == 2 && probers.running.values().all(waits)).await;
        probers.stop();
        assert_eq!(Arc::strong_count(&echo), 1, "the agenda is empty");
        let hangs = Arc::new(Echo::default());
        probers.change(&[], inquiries(2, &hangs));
        until(|| hangs.busy.load(Relaxed) == 1).await;
        probers.stop();
        until(|| Arc::strong_count(&hangs) == 1).await;
        let (asked, busy) = (hangs.asked.load(Relaxed), hangs.busy.load(Relaxed));
        assert_eq!((asked, busy), (1, 0), "an exchange ends, and who waited for its slot is not asked");
    }

    /// How many writes this thread has made (proc_pid_io(5)).
    fn writes() -> u64 {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn the_runtime_does_not_wake_itself_for_each_deadline() {
        let (events, mut answers) = mpsc::channel(10);
        let mut probers = Probers::new(Tools::new(), 10, events, 1);
        let echo = Arc::new(Echo { ends: true, ..Echo::default() });
        let often = |(key, inquiry)| (key, Inquiry { interval: GRAIN * 8, ..inquiry });
        probers.change(&[], inquiries(8, &echo).into_iter().map(often));
        // To wake the test itself takes a write, to wake a task does not.
        let asked = tokio::spawn(async move {
            let mut hear = async |count| {
                for _ in 0..count {
                    answers.recv().await.unwrap();
                }
                writes()
            };
            // The first ones come as they can.
            let before = hear(16).await;
            hear(40).await - before
        });
        let writes = asked.await.unwrap();
        assert!(writes < 20, "{writes} writes for 40 questions");
    }
}
