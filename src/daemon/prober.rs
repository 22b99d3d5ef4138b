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
use super::lane::{BURST, Lane, lock};
use super::load::{Change, Load, WINDOW};
use super::threads::Threads;
use super::{Event, Task};
use crate::config::Inquiry;
use crate::model::ProbeKey;
use crate::probe::{self, Tools};

/// So many questions go out together. Those that are answered by then end before the next few begin, so that
/// memory is for what servers take their time over, not for all that are due at once.
const FEW: u64 = 16;

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

    /// Makes the running probes these: new ones begin, those no longer wanted end, and the rest
    /// keep their place in the schedule.
    pub fn set(&mut self, inquiries: &BTreeMap<ProbeKey, Inquiry>) {
        self.end(|key| !inquiries.contains_key(key));
        let mut new = vec![Vec::new(); self.lanes.len()];
        for (key, inquiry) in inquiries {
            if self.running.contains_key(key) {
                continue;
            }
            let prober = Arc::new(Prober {
                key: key.clone(),
                inquiry: inquiry.clone(),
                phase: phase(self.begun, inquiry.interval),
                state: Mutex::new(State::Waits),
            });
            new[(self.begun % self.lanes.len() as u64) as usize].push(prober.clone());
            self.begun += 1;
            self.running.insert(key.clone(), prober);
        }
        for (lane, new) in self.lanes.iter().zip(new) {
            let tasks = new.len().min(BURST);
            let new = Arc::new(Mutex::new(new.into_iter()));
            (0..tasks).for_each(|_| drop(lane.spawn(firsts(self.shared.clone(), lane.clone(), new.clone()))));
        }
    }

    /// Ends the probes of these keys.
    fn end(&mut self, ends: impl Fn(&ProbeKey) -> bool) {
        let ended: Vec<_> = self.running.extract_if(.., |key, _| ends(key)).collect();
        ended.iter().for_each(|(_, prober)| prober.end());
        if !ended.is_empty() {
            self.lanes.iter().for_each(|lane| lane.keep(Prober::is_wanted));
        }
    }

    /// Ends all probes.
    pub fn stop(&mut self) {
        self.end(|_| true);
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
        ask(&shared, &lane, &prober, None, [turn, slot]);
    }
}

/// Asks each that is on the lane's agenda when it is due.
async fn rounds(shared: Arc<Shared>, lane: Arc<Lane>) {
    loop {
        lane.sleep().await;
        for n in 1_u64.. {
            let Some((due, prober)) = lane.take() else { break };
            later(&shared, &lane, &prober, due).await;
            if n % FEW == 0 {
                yield_now().await;
            }
        }
    }
}

/// Asks one that is due. Who waits here is no server's fault: the deadline does not run yet. All others wait
/// behind.
async fn later(shared: &Arc<Shared>, lane: &Arc<Lane>, prober: &Arc<Prober>, due: Instant) {
    let mut begun = Instant::now();
    let mut turn = None;
    if begun.saturating_duration_since(due) > GRAIN {
        turn = lane.turn().await;
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
}

/// Begins a question, for the slot `at` or the first one, if it is still wanted.
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
    let mut outcome = probe::ask(probe.as_ref(), *timeout, &shared.tools).await;
    shared.evidence.examine(&mut outcome, probe.peer()).await;
    let ended = Instant::now();
    // The receiver is gone only when the daemon ends, and this task with it.
    if let Err(TrySendError::Full(event)) =
        shared.events.try_send(Event::Answered(prober.key.clone(), outcome))
    {
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
