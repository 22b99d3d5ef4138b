//! A task for each probe: when to ask, within what deadline, never twice at once.
//!
//! Every probe has its own task, so that a slow server delays only itself. First questions go out
//! at once, as fast as the burst lets them; later ones are spread over the interval, each probe at a
//! phase that it keeps for life. Intervals run from start to start. A task ends when
//! its handle is dropped, and with it the exchange it is in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::Event;
use super::illness::Evidence;
use crate::config::Inquiry;
use crate::model::ProbeKey;
use crate::probe::{self, Tools};

/// How many first questions may be on their way at once, so that a start with thousands of servers
/// neither overflows anybody's queue nor takes memory for all of them. One that is answered makes
/// room for the next, so that the burst is as fast as the answers.
const BURST: usize = 16;

/// How often as many more may go out while some wait: servers that hang must not delay the first
/// check of the others.
const RELIEF: Duration = Duration::from_millis(25);

/// Probes wake at multiples of this, so that one wake-up serves all that are due by then. To wake costs
/// more than half of what a check does: by then the processor has forgotten code and data.
const GRAIN: Duration = Duration::from_millis(20);

/// All running probes.
pub struct Probers {
    running: BTreeMap<ProbeKey, JoinHandle<()>>,
    /// How many probes were ever begun: gives the next one its phase.
    begun: u64,
    shared: Arc<Shared>,
}

/// What all tasks share.
struct Shared {
    tools: Tools,
    burst: Semaphore,
    /// How many first questions wait for the burst.
    waiting: AtomicUsize,
    /// Bounds the exchanges in flight by the descriptors this process may have.
    slots: Semaphore,
    events: mpsc::Sender<Event>,
    epoch: Instant,
    evidence: Evidence,
}

impl Probers {
    /// No probes yet. At most `slots` exchanges will be in flight; answers go to `events`.
    pub fn new(tools: Tools, slots: usize, events: mpsc::Sender<Event>) -> Probers {
        let (burst, slots) = (Semaphore::new(BURST), Semaphore::new(slots));
        let (waiting, epoch, evidence) = (AtomicUsize::new(0), Instant::now(), Evidence::from_kernel());
        let shared = Shared { tools, burst, waiting, slots, events, epoch, evidence };
        Probers { running: BTreeMap::new(), begun: 0, shared: Arc::new(shared) }
    }

    /// Makes the running probes these: new ones begin, those no longer wanted end, and the rest
    /// keep their place in the schedule.
    pub fn set(&mut self, inquiries: &BTreeMap<ProbeKey, Inquiry>) {
        self.running.retain(|key, task| {
            let stays = inquiries.contains_key(key);
            if !stays {
                task.abort();
            }
            stays
        });
        let before = self.begun;
        for (key, inquiry) in inquiries {
            if self.running.contains_key(key) {
                continue;
            }
            let phase = phase(self.begun, inquiry.interval);
            self.begun += 1;
            let rounds = rounds(self.shared.clone(), key.clone(), inquiry.clone(), phase);
            self.running.insert(key.clone(), tokio::spawn(rounds));
        }
        if self.begun > before {
            tokio::spawn(relieve(self.shared.clone()));
        }
    }

    /// Ends all probes.
    pub fn stop(&mut self) {
        self.set(&BTreeMap::new());
    }

    /// How many probes are running.
    pub fn count(&self) -> usize {
        self.running.len()
    }
}

/// The phase of the n-th probe: multiples of the golden ratio fill the interval evenly, however
/// many there are, and no probe's phase depends on those that come after it. It is a whole number of grains.
fn phase(n: u64, interval: Duration) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let exact = interval.mul_f64((n as f64 * GOLDEN).fract()).as_nanos();
    // A short interval has some phases, too.
    let grain = GRAIN.min(interval / 8).as_nanos().max(1);
    Duration::from_nanos_u128(exact - exact % grain)
}

/// Asks at once, then at `phase` of every interval.
async fn rounds(shared: Arc<Shared>, key: ProbeKey, inquiry: Inquiry, phase: Duration) {
    first(&shared, &key, &inquiry).await;
    let mut slot = next_slot(shared.epoch, phase, inquiry.interval, Instant::now());
    loop {
        sleep_until(slot).await;
        // Boxed, so that a probe that sleeps, as nearly all do, holds nothing of an exchange.
        Box::pin(once(&shared, &key, &inquiry)).await;
        slot = following(slot, inquiry.interval, Instant::now());
    }
}

/// The first question, within the burst.
async fn first(shared: &Arc<Shared>, key: &ProbeKey, inquiry: &Inquiry) {
    let waits = Waits::new(&shared.waiting);
    // The semaphore is never closed, so that the permit is always there.
    let Ok(_permit) = shared.burst.acquire().await else { return };
    drop(waits);
    Box::pin(once(shared, key, inquiry)).await;
}

/// Counts somebody who waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn new(count: &AtomicUsize) -> Waits<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Widens the burst for as long as somebody waits for it, then makes it as narrow as it was.
async fn relieve(shared: Arc<Shared>) {
    let mut added = 0;
    loop {
        sleep(RELIEF).await;
        if shared.waiting.load(Ordering::Relaxed) == 0 {
            break;
        }
        shared.burst.add_permits(BURST);
        added += BURST;
    }
    while added > 0 {
        // Those that are in use come back one by one.
        added -= shared.burst.forget_permits(added);
        sleep(RELIEF * 40).await;
    }
}

async fn once(shared: &Arc<Shared>, key: &ProbeKey, inquiry: &Inquiry) {
    let Ok(_slot) = shared.slots.acquire().await else { return };
    let mut outcome = probe::ask(inquiry.probe.as_ref(), inquiry.timeout, &shared.tools).await;
    shared.evidence.examine(&mut outcome, inquiry.probe.peer()).await;
    // The receiver is gone only when the daemon ends, and this task with it.
    let _ = shared.events.send(Event::Answered(key.clone(), outcome)).await;
}

/// The first moment after `now` that lies `phase` after a whole number of intervals.
fn next_slot(epoch: Instant, phase: Duration, interval: Duration, now: Instant) -> Instant {
    let since = now.saturating_duration_since(epoch + phase);
    let rounds = since.as_nanos() / interval.as_nanos().max(1) + 1;
    let first = epoch + phase;
    if now < first { first } else { first + interval.saturating_mul(rounds.min(u128::from(u32::MAX)) as u32) }
}

/// The slot after `slot`; those that have passed by more than half an interval are left out, so
/// that a probe that takes longer than its interval does not ask in bursts afterwards.
fn following(slot: Instant, interval: Duration, now: Instant) -> Instant {
    let mut next = slot + interval;
    let behind = now.saturating_duration_since(next + interval / 2);
    if !behind.is_zero() {
        let missed = (behind.as_nanos() / interval.as_nanos().max(1)) as u32 + 1;
        next += interval.saturating_mul(missed);
    }
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn phases_fill_the_interval_evenly() {
        for n in [10_u64, 100, 1000] {
            let mut phases: Vec<_> = (0..n).map(|k| phase(k, SECOND)).collect();
            phases.sort();
            let widest = phases.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(SECOND);
            let even = SECOND / n as u32;
            assert!(
                widest <= even * 2 + GRAIN,
                "{n} probes leave a gap of {widest:?}, even would be {even:?}"
            );
            let grains = SECOND.div_duration_f64(GRAIN);
            let most = phases.chunk_by(|a, b| a == b).map(<[Duration]>::len).max().unwrap_or(0);
            assert!(most as f64 <= n as f64 / grains + 2.0, "{most} of {n} probes have one phase");
        }
    }

    #[test]
    fn probes_share_wake_ups() {
        let phases: BTreeSet<_> = (0..1000).map(|k| phase(k, SECOND)).collect();
        assert_eq!(phases.len() as u128, SECOND.as_nanos() / GRAIN.as_nanos());
        let other: BTreeSet<_> = (0..1000).map(|k| phase(k, SECOND * 3)).collect();
        assert!(phases.is_subset(&other), "probes of other intervals wake at the same moments");
    }

    #[test]
    fn a_short_interval_has_several_phases() {
        let phases: BTreeSet<_> = (0..100).map(|k| phase(k, Duration::from_millis(40))).collect();
        assert_eq!(phases.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn slots_keep_their_phase_and_leave_out_what_has_passed() {
        let epoch = Instant::now();
        let phase = Duration::from_millis(300);
        let at = |ms| epoch + Duration::from_millis(ms);
        assert_eq!(next_slot(epoch, phase, SECOND, at(0)), at(300));
        assert_eq!(next_slot(epoch, phase, SECOND, at(300)), at(1300));
        assert_eq!(next_slot(epoch, phase, SECOND, at(5299)), at(5300));
        assert_eq!(following(at(300), SECOND, at(310)), at(1300), "a quick answer");
        assert_eq!(following(at(300), SECOND, at(1301)), at(1300), "just late: at once");
        assert_eq!(following(at(300), SECOND, at(1900)), at(2300), "far too late: the next one");
        assert_eq!(following(at(300), SECOND, at(9900)), at(10300));
    }
}
