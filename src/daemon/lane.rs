//! A thread's share of the probes: when they are due, how many may begin there at once, and how late they do.
//!
//! A probe that is on time begins without asking. Who is late, because this process was not let run or has more
//! to do than it can, waits for a turn, and then all others wait behind: so nobody is overtaken, all
//! intervals stretch alike, and there are never so many exchanges under way that they run into
//! their deadlines for want of a processor. A turn is free again when its exchange ends, and while some wait it does not count
//! any more when that takes long.
//!
//! Nearly all that happens to a lane happens on its own thread; the lock is contended by reloads only.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::agenda::{Agenda, GRAIN};
use super::load::Count;
use super::lock;
use super::prober::Prober;

/// How many turns there are, so that neither a start with thousands of servers nor a process that was
/// stopped for a while overflows anybody's queue or takes memory for all of them. One that is answered makes
/// room for the next, so that the burst is as fast as the answers.
pub(super) const BURST: usize = 8;

/// How long a turn counts while some wait: servers that hang must not delay the checks of the others.
const TURN: Duration = Duration::from_millis(10);

/// How long a thread is at work in that time when it has as much as it can do.
const BUSY: Duration = Duration::from_millis(8);

/// One thread's share.
pub(super) struct Lane {
    runtime: Handle,
    agenda: Mutex<Agenda<Prober>>,
    /// Told when another is the first on the agenda.
    sooner: Notify,
    /// Closed when others take their place.
    turns: Mutex<Arc<Semaphore>>,
    /// How many wait for a turn.
    waiting: AtomicUsize,
    /// Whether somebody sees to it that they get one.
    renewing: AtomicBool,
    pub(super) tally: Tally,
}

impl Lane {
    /// A lane on this runtime, which has one thread.
    pub(super) fn new(runtime: Handle) -> Lane {
        Lane {
            runtime,
            agenda: Mutex::default(),
            sooner: Notify::new(),
            turns: Mutex::new(Arc::new(Semaphore::new(BURST))),
            waiting: AtomicUsize::new(0),
            renewing: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    /// Runs a task on it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Puts a probe on the agenda.
    pub(super) fn add(&self, due: Instant, prober: Arc<Prober>) {
        if lock(&self.agenda).add(due, prober) {
            self.sooner.notify_one();
        }
    }

    /// Makes room on the agenda for so many.
    pub(super) fn reserve(&self, count: usize) {
        lock(&self.agenda).reserve(count);
    }

    /// Takes the first that is due by `now`, with when it was to be.
    pub(super) fn take(&self, now: Instant) -> Option<(Instant, Arc<Prober>)> {
        lock(&self.agenda).take(now)
    }

    /// Keeps those on the agenda that are still wanted.
    pub(super) fn keep(&self, is_wanted: impl Fn(&Prober) -> bool) {
        lock(&self.agenda).keep(|prober| is_wanted(prober));
    }

    /// Waits until the first is due, or until another is the first.
    pub(super) async fn sleep(&self) {
        let first = lock(&self.agenda).first();
        let sooner = self.sooner.notified();
        match first {
            // Either is as good. The outer timer never fires: it is there so that the runtime, when the inner one has,
            // knows of one that comes before the deadlines of the exchanges that begin then. For each
            // timer that comes before all it knows, it wakes itself: a write, and a look for events.
            Some(due) => drop(timeout_at(due + GRAIN, timeout_at(due, sooner)).await),
            None => sooner.await,
        }
    }

    /// How long its thread has been at work since it began.
    fn busy(&self) -> Duration {
        self.runtime.metrics().worker_total_busy_duration(0)
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Lane>) -> OwnedSemaphorePermit {
        if let Ok(turn) = self.turns().try_acquire_owned() {
            return turn;
        }
        if !self.renewing.swap(true, Relaxed) {
            self.spawn(renew(self.clone()));
        }
        self.waiting.fetch_add(1, Relaxed);
        let turn = loop {
            if let Ok(turn) = self.turns().acquire_owned().await {
                break turn;
            }
        };
        self.waiting.fetch_sub(1, Relaxed);
        turn
    }

    fn turns(&self) -> Arc<Semaphore> {
        lock(&self.turns).clone()
    }
}

/// Gives out new turns for as long as somebody waits for one: those that exchanges hold for longer than others do
/// do not count any more. Where it is not servers that take their time but this thread that can't keep up, as its
/// own timer and its work show, more at once would only be slower, and take memory for all of them.
async fn renew(lane: Arc<Lane>) {
    loop {
        let (due, busy) = (Instant::now() + TURN, lane.busy());
        sleep_until(due).await;
        if lane.waiting.load(Relaxed) == 0 {
            break;
        }
        if due.elapsed() < TURN && lane.busy().saturating_sub(busy) < BUSY {
            let new = Arc::new(Semaphore::new(BURST));
            std::mem::replace(&mut *lock(&lane.turns), new).close();
        }
    }
    lane.renewing.store(false, Relaxed);
}

/// What a lane counts, first questions left out: those come when they can.
#[derive(Default)]
pub(super) struct Tally {
    begun: AtomicU64,
    missed: AtomicU64,
    waited: AtomicU64,
    /// In microseconds.
    worst: AtomicU64,
}

impl Tally {
    /// A question went out, so late.
    pub(super) fn began(&self, late: Duration) {
        self.begun.fetch_add(1, Relaxed);
        self.worst.fetch_max(late.as_micros() as u64, Relaxed);
    }

    /// So many were left out, since the one before began late.
    pub(super) fn missed(&self, slots: u32) {
        self.missed.fetch_add(slots.into(), Relaxed);
    }

    /// One had to wait since all descriptors were in use.
    pub(super) fn waited(&self) {
        self.waited.fetch_add(1, Relaxed);
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Count {
        let take = |number: &AtomicU64| number.swap(0, Relaxed);
        Count {
            begun: take(&self.begun),
            missed: take(&self.missed),
            waited: take(&self.waited),
            worst: Duration::from_micros(take(&self.worst)),
        }
    }
}
