//! A task for each probe: when to ask, within what deadline, never twice at once.
//!
//! Every probe has its own task, so that a slow server delays only itself. First questions go out
//! at once, as fast as the burst lets them; later ones are spread over the interval, each probe at a
//! phase that it keeps for life. Intervals run from start to start. A task ends when
//! its handle is dropped, and with it the exchange it is in.
//!
//! Probes are dealt out to lanes, one for each thread that asks; without workers the only lane is the
//! daemon's own runtime. An exchange lives on one lane from its beginning to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Event;
use super::illness::Evidence;
use super::lane::Lane;
use super::load::{Change, Load, WINDOW};
use super::threads::Threads;
use crate::config::Inquiry;
use crate::model::ProbeKey;
use crate::probe::{self, Tools};

/// Probes wake at multiples of this, so that one wake-up serves all that are due by then. To wake costs
/// more than half of what a check does: by then the processor has forgotten code and data.
pub(super) const GRAIN: Duration = Duration::from_millis(20);

/// All running probes.
pub struct Probers {
    running: BTreeMap<ProbeKey, JoinHandle<()>>,
    /// How many probes were ever begun: gives the next one its phase and its lane.
    begun: u64,
    lanes: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
    load: Load,
    /// Since when is counted.
    since: Instant,
    /// The threads of the lanes, where these are not the daemon's own; they end with this.
    _threads: Threads,
}

/// What all tasks share.
struct Shared {
    tools: Tools,
    /// Bounds the exchanges in flight by the descriptors this process may have.
    slots: Semaphore,
    events: mpsc::Sender<Event>,
    epoch: Instant,
    evidence: Evidence,
}

impl Probers {
    /// No probes yet. At most `slots` exchanges will be in flight; answers go to `events`. With more than
    /// one worker exchanges run on as many threads, else on the runtime that this is called within.
    pub fn new(tools: Tools, slots: usize, events: mpsc::Sender<Event>, workers: usize) -> Probers {
        let (slots, epoch, evidence) = (Semaphore::new(slots), Instant::now(), Evidence::from_kernel());
        let shared = Arc::new(Shared { tools, slots, events, epoch, evidence });
        let threads = Threads::start(workers);
        let lanes = threads.handles().map(|handle| Arc::new(Lane::new(handle))).collect();
        let (running, load, since) = (BTreeMap::new(), Load::default(), epoch);
        Probers { running, begun: 0, lanes, shared, load, since, _threads: threads }
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
        for (key, inquiry) in inquiries {
            if self.running.contains_key(key) {
                continue;
            }
            let phase = phase(self.begun, inquiry.interval);
            let lane = &self.lanes[(self.begun % self.lanes.len() as u64) as usize];
            self.begun += 1;
            let rounds = rounds(self.shared.clone(), lane.clone(), key.clone(), inquiry.clone(), phase);
            self.running.insert(key.clone(), lane.spawn(rounds));
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
async fn rounds(shared: Arc<Shared>, lane: Arc<Lane>, key: ProbeKey, inquiry: Inquiry, phase: Duration) {
    let interval = inquiry.interval;
    let mut ended = first(&shared, &lane, &key, &inquiry).await;
    let mut slot = next_slot(shared.epoch, phase, interval, ended);
    loop {
        sleep_until(slot).await;
        // A probe that was still under way at its slot is due at its end: that is the server's slowness, not ours.
        let due = slot.max(ended);
        let begun;
        (begun, ended) = later(&shared, &lane, &key, &inquiry, due).await;
        if begun > due {
            let missed = passed(slot, interval, begun);
            lane.tally.missed(missed);
            slot += interval.saturating_mul(missed);
        }
        slot = following(slot, interval, ended);
    }
}

/// The first question, within the burst. Says when the exchange ended.
async fn first(shared: &Shared, lane: &Arc<Lane>, key: &ProbeKey, inquiry: &Inquiry) -> Instant {
    let _turn = lane.turn().await;
    let _slot = shared.slots.acquire().await;
    Box::pin(exchange(shared, key, inquiry)).await
}

/// A question that is due. Says when the exchange began and when it ended.
async fn later(
    shared: &Shared,
    lane: &Arc<Lane>,
    key: &ProbeKey,
    inquiry: &Inquiry,
    due: Instant,
) -> (Instant, Instant) {
    let mut begun = Instant::now();
    let _turn = match lane.lets_pass(begun.saturating_duration_since(due)) {
        true => None,
        false => {
            let turn = lane.overdue_turn().await;
            begun = Instant::now();
            turn
        }
    };
    let _slot = match shared.slots.try_acquire() {
        Ok(slot) => Some(slot),
        Err(_) => {
            // The deadline does not run yet: to wait here is no server's fault. Those who wait have their turns in order.
            lane.tally.waited();
            let slot = shared.slots.acquire().await.ok();
            begun = Instant::now();
            slot
        }
    };
    lane.tally.began(begun.saturating_duration_since(due));
    (begun, Box::pin(exchange(shared, key, inquiry)).await)
}

/// Asks, and hands over the answer. Says when the exchange ended. Those who call it box it, so that a probe
/// that sleeps, as nearly all do, holds nothing of an exchange.
async fn exchange(shared: &Shared, key: &ProbeKey, inquiry: &Inquiry) -> Instant {
    let mut outcome = probe::ask(inquiry.probe.as_ref(), inquiry.timeout, &shared.tools).await;
    shared.evidence.examine(&mut outcome, inquiry.probe.peer()).await;
    let ended = Instant::now();
    // The receiver is gone only when the daemon ends, and this task with it.
    if let Err(TrySendError::Full(event)) = shared.events.try_send(Event::Answered(key.clone(), outcome)) {
        let _ = shared.events.send(event).await;
    }
    ended
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

/// How many slots after `slot` have passed by `begun`: one question stands for all of them.
fn passed(slot: Instant, interval: Duration, begun: Instant) -> u32 {
    (begun.saturating_duration_since(slot).as_nanos() / interval.as_nanos().max(1)) as u32
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
        assert_eq!([300, 310, 1299, 1300, 9900].map(|ms| passed(at(300), SECOND, at(ms))), [0, 0, 0, 1, 9]);
    }
}
