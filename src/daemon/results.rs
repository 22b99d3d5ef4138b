//! The last results of each probe, kept small: there are as many of these as there are servers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::http::ask::Heard;
use crate::model::{Moment, ProbeKey, Watch};
use crate::outcome::{Failure, Illness, Outcome};

/// How many results of each probe are kept.
const RESULTS: usize = 5;

/// A result as it is kept: 24 bytes, and a text that it shares with the one before where they say the same.
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
pub(super) struct Results(BTreeMap<ProbeKey, VecDeque<Kept>>);

impl Results {
    /// A result came in.
    pub(super) fn add(&mut self, probe: &ProbeKey, outcome: &Outcome, at: Moment) {
        match self.0.get_mut(probe) {
            Some(some) => {
                let kept = Kept::new(outcome, at, some.back());
                if some.len() == RESULTS {
                    some.pop_front();
                }
                some.push_back(kept);
            }
            None => {
                let mut some = VecDeque::with_capacity(RESULTS);
                some.push_back(Kept::new(outcome, at, None));
                self.0.insert(*probe, some);
            }
        }
    }

    /// These probes are not asked any more.
    pub(super) fn forget(&mut self, gone: &[ProbeKey]) {
        gone.iter().for_each(|probe| drop(self.0.remove(probe)));
    }

    /// Those of a server, the oldest first.
    pub(super) fn of(&self, watch: &Watch) -> Vec<Heard> {
        match watch {
            Watch::Probe(probe) => self.0.get(probe).into_iter().flatten().map(Kept::heard).collect(),
            Watch::On | Watch::Off => Vec::new(),
        }
    }
}

impl Kept {
    fn new(outcome: &Outcome, at: Moment, before: Option<&Kept>) -> Kept {
        let same = before.filter(|before| *before.result == outcome.result);
        Kept {
            result: same.map_or_else(|| Arc::new(outcome.result.clone()), |before| before.result.clone()),
            at: u64::try_from(at.0.as_micros()).unwrap_or(u64::MAX),
            took: u32::try_from(outcome.took.as_micros()).unwrap_or(u32::MAX),
            illness: outcome.illness,
        }
    }

    fn heard(&self) -> Heard {
        let (result, took) = (self.result.as_ref().clone(), Duration::from_micros(self.took.into()));
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
            results.add(&probe, outcome, Moment(Duration::from_secs(n)));
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
    fn what_is_kept_of_a_server_that_stays_as_it_is_is_small() {
        let (mut results, probe) = (Results::default(), ProbeKey::of("a question"));
        for n in 0..9 {
            results.add(&probe, &outcome(Ok("200 OK"), n), Moment::default());
        }
        let kept = &results.0[&probe];
        assert!(kept.iter().all(|one| Arc::ptr_eq(&one.result, &kept[0].result)), "they share one text");
        assert_eq!((kept.capacity(), size_of::<Kept>()), (RESULTS, 24));
    }
}
