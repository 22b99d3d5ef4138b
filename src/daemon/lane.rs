//! A thread's share of the probes: how many may begin there at once, and how late they do.
//!
//! A probe that is on time begins without asking. Who is late, because this process was not let run or has more
//! to do than it can, waits for a turn, and then all others wait behind: so nobody is overtaken, all
//! intervals stretch alike, and there are never so many exchanges under way that they run into
//! their deadlines for want of a processor. A turn is free again when its exchange ends.
//!
//! All that happens to a lane happens on its own thread; atomics are here for the compiler's sake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::load::Count;
use super::prober::GRAIN;

/// How many turns there are, so that neither a start with thousands of servers nor a process that was
/// stopped for a while overflows anybody's queue or takes memory for all of them. One that is answered makes
/// room for the next, so that the burst is as fast as the answers.
const BURST: usize = 16;

/// How often as many more may go out while some wait: servers that hang must not delay the checks of
/// the others.
const RELIEF: Duration = Duration::from_millis(25);

/// One thread's share.
pub(super) struct Lane {
    runtime: Handle,
    burst: Semaphore,
    /// How many wait for a turn.
    waiting: AtomicUsize,
    /// How many of them are late.
    overdue: AtomicUsize,
    /// Whether somebody sees to it that they get one.
    relieving: AtomicBool,
    pub(super) tally: Tally,
}

impl Lane {
    /// A lane on this runtime, which has one thread.
    pub(super) fn new(runtime: Handle) -> Lane {
        Lane {
            runtime,
            burst: Semaphore::new(BURST),
            waiting: AtomicUsize::new(0),
            overdue: AtomicUsize::new(0),
            relieving: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    /// Runs a task on it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Whether somebody who is so late needs no turn.
    pub(super) fn lets_pass(&self, late: Duration) -> bool {
        late <= GRAIN && self.overdue.load(Relaxed) == 0
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Lane>) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.burst.try_acquire() {
            return Some(turn);
        }
        if !self.relieving.swap(true, Relaxed) {
            self.spawn(relieve(self.clone()));
        }
        let _waits = Waits::new(&self.waiting);
        // The semaphore is never closed, so that the permit is always there.
        self.burst.acquire().await.ok()
    }

    /// Waits for a turn; who is on time does not overtake.
    pub(super) async fn overdue_turn(self: &Arc<Lane>) -> Option<SemaphorePermit<'_>> {
        let _waits = Waits::new(&self.overdue);
        self.turn().await
    }
}

/// Counts somebody who waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn new(count: &AtomicUsize) -> Waits<'_> {
        count.fetch_add(1, Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Widens the burst for as long as somebody waits for it, then makes it as narrow as it was. Where it is not
/// servers that hang but this thread that can't keep up, as its own timer shows, more at once would only be slower.
async fn relieve(lane: Arc<Lane>) {
    let mut added = 0;
    loop {
        let due = Instant::now() + RELIEF;
        sleep_until(due).await;
        let is_busy = due.elapsed() >= RELIEF;
        match lane.waiting.load(Relaxed) {
            0 if added == 0 => break,
            // Those that are in use come back one by one.
            0 => added -= lane.burst.forget_permits(added),
            _ if is_busy => {}
            _ => {
                lane.burst.add_permits(BURST);
                added += BURST;
            }
        }
    }
    lane.relieving.store(false, Relaxed);
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
