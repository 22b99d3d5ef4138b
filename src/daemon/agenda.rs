//! When probes are due: the slots that each has, and what comes next of all that a lane has.
//!
//! Intervals run from start to start. Each probe has its slots at a phase of the interval that it keeps for life.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Slots are at multiples of this, so that one wake-up serves all that are due by then. To wake costs
/// more than half of what a check does: by then the processor has forgotten code and data.
pub(super) const GRAIN: Duration = Duration::from_millis(20);

/// What is due when. Those that are due at the same moment have an order among them that stays the same, so that each
/// comes as long after the moment as it did the time before.
pub(super) struct Agenda<T>(BinaryHeap<Entry<T>>);

struct Entry<T> {
    due: Instant,
    what: Arc<T>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda(BinaryHeap::new())
    }
}

impl<T> Agenda<T> {
    /// Adds something. Says whether it is the first now.
    pub(super) fn add(&mut self, due: Instant, what: Arc<T>) -> bool {
        let is_first = self.first().is_none_or(|first| due < first);
        self.0.push(Entry { due, what });
        is_first
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, count: usize) {
        self.0.reserve_exact(count.saturating_sub(self.0.len()));
    }

    /// When the first is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.0.peek().map(|entry| entry.due)
    }

    /// Takes the first, with when it is due, if that is by `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Instant, Arc<T>)> {
        self.first().filter(|first| *first <= now)?;
        self.0.pop().map(|entry| (entry.due, entry.what))
    }

    /// Keeps what is still wanted.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(&T) -> bool) {
        self.0.retain(|entry| is_wanted(&entry.what));
    }
}

/// The greatest is the one that comes first: by when it is due, then by where it lies in memory.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due).then_with(|| Arc::as_ptr(&other.what).cmp(&Arc::as_ptr(&self.what)))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

/// The phase of the n-th probe: multiples of the golden ratio fill the interval evenly, however
/// many there are, and no probe's phase depends on those that come after it. It is a whole number of grains.
pub(super) fn phase(n: u64, interval: Duration) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let exact = interval.mul_f64((n as f64 * GOLDEN).fract()).as_nanos();
    // A short interval has some phases, too.
    let grain = GRAIN.min(interval / 8).as_nanos().max(1);
    Duration::from_nanos_u128(exact - exact % grain)
}

/// The first moment after `now` that lies `phase` after a whole number of intervals.
pub(super) fn next_slot(epoch: Instant, phase: Duration, interval: Duration, now: Instant) -> Instant {
    let since = now.saturating_duration_since(epoch + phase);
    let rounds = since.as_nanos() / interval.as_nanos().max(1) + 1;
    let first = epoch + phase;
    if now < first { first } else { first + interval.saturating_mul(rounds.min(u128::from(u32::MAX)) as u32) }
}

/// The last slot by `due`, which is no sooner than the first.
pub(super) fn slot_at(epoch: Instant, phase: Duration, interval: Duration, due: Instant) -> Instant {
    next_slot(epoch, phase, interval, due) - interval
}

/// The slot after `slot`; those that have passed by more than half an interval are left out, so
/// that a probe that takes longer than its interval does not ask in bursts afterwards.
pub(super) fn following(slot: Instant, interval: Duration, now: Instant) -> Instant {
    let mut next = slot + interval;
    let behind = now.saturating_duration_since(next + interval / 2);
    if !behind.is_zero() {
        let missed = (behind.as_nanos() / interval.as_nanos().max(1)) as u32 + 1;
        next += interval.saturating_mul(missed);
    }
    next
}

/// How many slots after `slot` have passed by `begun`: one question stands for all of them.
pub(super) fn passed(slot: Instant, interval: Duration, begun: Instant) -> u32 {
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
        let current = [300, 310, 1299, 1300, 9900].map(|ms| slot_at(epoch, phase, SECOND, at(ms)));
        assert_eq!(current, [300, 300, 300, 1300, 9300].map(at));
        assert_eq!(following(at(300), SECOND, at(310)), at(1300), "a quick answer");
        assert_eq!(following(at(300), SECOND, at(1301)), at(1300), "just late: at once");
        assert_eq!(following(at(300), SECOND, at(1900)), at(2300), "far too late: the next one");
        assert_eq!(following(at(300), SECOND, at(9900)), at(10300));
        assert_eq!([300, 310, 1299, 1300, 9900].map(|ms| passed(at(300), SECOND, at(ms))), [0, 0, 0, 1, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_taken_in_order_and_the_rest_when_its_time_comes() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut agenda = Agenda::default();
        assert_eq!((agenda.first(), agenda.take(at(99))), (None, None));
        let firsts = [30, 10, 20, 10, 40].map(|ms| agenda.add(at(ms), Arc::new(ms)));
        assert_eq!(firsts, [true, true, false, false, false]);
        assert_eq!(agenda.take(at(9)), None);
        let taken: Vec<_> = std::iter::from_fn(|| agenda.take(at(20))).collect();
        assert_eq!(taken, [10, 10, 20].map(|ms| (at(ms), Arc::new(ms))));
        agenda.keep(|ms| *ms != 30);
        assert_eq!(agenda.first(), Some(at(40)));
        assert_eq!((agenda.take(at(40)), agenda.take(at(99))), (Some((at(40), Arc::new(40))), None));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_due_together_come_in_the_same_order_each_time() {
        let (mut now, mut agenda) = (Instant::now(), Agenda::default());
        for n in [5, 2, 7, 1, 9, 3, 8] {
            agenda.add(now, Arc::new(n));
        }
        let mut round = || {
            let taken: Vec<_> = std::iter::from_fn(|| agenda.take(now)).map(|(_, what)| what).collect();
            now += SECOND;
            // Answers come in an order of their own.
            for what in taken[3..].iter().chain(&taken[..3]) {
                agenda.add(now, what.clone());
            }
            taken
        };
        let first = round();
        assert!((0..3).all(|_| round() == first));
    }
}
