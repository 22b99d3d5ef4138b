//! The last results of each probe, kept small: there are as many of these as there are servers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::http::ask::Heard;
use crate::model::{Moment, ProbeKey, Watch};
use crate::outcome::{Failure, Illness, Outcome};

/// How many results of each probe are kept.
const RESULTS: usize = 5;

/// So many different results are looked through for one that says the same.
const COMMON: usize = 8;

/// A result as it is kept: 24 bytes, and what it says, which it shares.
struct Kept {
    result: Arc<Result<String, Failure>>,
    /// When it came, in microseconds since the start.
    at: u64,
    /// How long the exchange took, in microseconds; more than an hour is an hour and a bit.
    took: u32,
    illness: Option<Illness>,
}

/// The last results of each probe.
#[derive(Default)]
pub(super) struct Results {
    /// The oldest first; the first of these are missing until there were so many.
    of: BTreeMap<ProbeKey, Box<[Option<Kept>; RESULTS]>>,
    /// What came last, the latest first: most servers say the same, and it is kept once.
    common: VecDeque<Arc<Result<String, Failure>>>,
}

impl Results {
    /// A result came in. Lets it share what it says with others that say the same.
    pub(super) fn add(&mut self, probe: &ProbeKey, outcome: &mut Outcome, at: Moment) {
        self.share(&mut outcome.result);
        let kept = self.of.entry(*probe).or_default();
        kept.rotate_left(1);
        kept[RESULTS - 1] = Some(Kept::new(outcome, at));
    }

    fn share(&mut self, result: &mut Arc<Result<String, Failure>>) {
        let place = self.common.iter().position(|common| common == result);
        if let Some(same) = place.and_then(|place| self.common.remove(place)) {
            *result = same;
        }
        self.common.push_front(result.clone());
        self.common.truncate(COMMON);
    }

    /// These probes are not asked any more.
    pub(super) fn forget(&mut self, gone: &[ProbeKey]) {
        gone.iter().for_each(|probe| drop(self.of.remove(probe)));
    }

    /// Those of a server, the oldest first.
    pub(super) fn of(&self, watch: &Watch) -> Vec<Heard> {
        match watch {
            Watch::Probe(probe) => self.heard(probe),
            Watch::On | Watch::Off => Vec::new(),
        }
    }

    fn heard(&self, probe: &ProbeKey) -> Vec<Heard> {
        let kept = self.of.get(probe).into_iter().flat_map(|kept| kept.iter());
        kept.flatten().map(Kept::heard).collect()
    }
}

impl Kept {
    fn new(outcome: &Outcome, at: Moment) -> Kept {
        Kept {
            result: outcome.result.clone(),
            at: u64::try_from(at.0.as_micros()).unwrap_or(u64::MAX),
            took: u32::try_from(outcome.took.as_micros()).unwrap_or(u32::MAX),
            illness: outcome.illness,
        }
    }

    fn heard(&self) -> Heard {
        let (result, took) = (self.result.clone(), Duration::from_micros(self.took.into()));
        let outcome = Outcome { result, took, illness: self.illness };
        Heard { at: Moment(Duration::from_micros(self.at)), outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Phase, Reason};

    fn outcome(text: Result<&str, &str>, ms: u64) -> Outcome {
        let fail = |why: &str| Failure::new(Phase::Connect, Reason::Refused, why);
        Outcome::new(text.map(str::to_owned).map_err(fail), Duration::from_millis(ms))
    }

    #[test]
    fn the_last_results_are_given_back_as_they_came() {
        let (mut results, probe) = (Results::default(), ProbeKey::of("a question"));
        let watch = Watch::Probe(probe);
        assert!(results.of(&watch).is_empty());
        let texts = [Ok("0"), Ok("200 OK"), Ok("200 OK"), Err("port 80"), Err("port 81"), Ok("200 OK")];
        let ill = |n: u64, outcome| Outcome { illness: (n == 4).then_some(Illness::Late), ..outcome };
        let all: Vec<_> = texts.iter().zip(0..).map(|(text, n)| ill(n, outcome(*text, 3 * n))).collect();
        for (outcome, n) in all.iter().zip(0..) {
            results.add(&probe, &mut outcome.clone(), Moment(Duration::from_secs(n)));
        }
        let heard = results.of(&watch);
        assert_eq!(
            heard.iter().map(|heard| &heard.outcome).collect::<Vec<_>>(),
            all[1..].iter().collect::<Vec<_>>()
        );
        assert_eq!(heard.iter().map(|heard| heard.at.0.as_secs()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        results.forget(&[probe]);
        assert!(results.of(&watch).is_empty());
    }

    #[test]
    fn what_is_kept_of_servers_that_say_the_same_is_small() {
        let (mut results, probes) = (Results::default(), ["one", "other"].map(ProbeKey::of));
        let mut last = outcome(Ok("200 OK"), 0);
        for n in 0..9 {
            // Others come between, but not so many.
            for text in ["200 OK", &n.to_string()] {
                last = outcome(Ok(text), n);
                probes.iter().for_each(|probe| results.add(probe, &mut last, Moment::default()));
            }
        }
        let all: Vec<_> = probes.iter().flat_map(|probe| results.of[probe].iter().flatten()).collect();
        let same: Vec<_> = all.iter().filter(|kept| *kept.result == Ok("200 OK".into())).collect();
        assert_eq!(same.len(), 4);
        assert!(same.iter().all(|kept| Arc::ptr_eq(&kept.result, &same[0].result)), "they share one text");
        assert!(Arc::ptr_eq(&last.result, &all[RESULTS - 1].result), "and so does who hears of it");
        assert_eq!(size_of_val(&*results.of[&probes[0]]), RESULTS * 24);
        assert!(results.common.len() <= COMMON);
    }
}
