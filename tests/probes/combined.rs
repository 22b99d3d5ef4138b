//! `checktype=N`: which part is asked when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lvsentry::outcome::{Failure, Phase, Reason};
use lvsentry::probe::combined::combined;
use lvsentry::probe::{Asking, Call, Probe, Tools, ask};

use crate::support::probe::LONG;

/// What the parts answer; each asking is noted by the part's letter.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Good,
    Bad,
    Silent,
}

#[derive(Debug)]
struct Part {
    letter: char,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<String>>,
}

impl Probe for Part {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            self.seen.lock().unwrap().push(self.letter);
            call.enter(Phase::Connect);
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Good => Ok("good".to_owned()),
                Mood::Bad => Err(Failure::new(Phase::Connect, Reason::Refused, "bad")),
                Mood::Silent => std::future::pending().await,
            }
        })
    }

    fn identity(&self) -> String {
        self.letter.to_string()
    }
}

struct Rig {
    probe: Arc<dyn Probe>,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<String>>,
}

impl Rig {
    fn new(connects: u32) -> Rig {
        let (mood, seen) = (Arc::new(Mutex::new(Mood::Good)), Arc::<Mutex<String>>::default());
        let part = |letter| Arc::new(Part { letter, mood: mood.clone(), seen: seen.clone() });
        let probe = combined(part('n'), part('c'), connects, Duration::from_secs(2));
        Rig { probe, mood, seen }
    }

    /// Asks so many times while the server is in this mood.
    async fn ask(&self, mood: Mood, times: usize) {
        *self.mood.lock().unwrap() = mood;
        for _ in 0..times {
            let outcome = ask(&*self.probe, LONG, &Tools::new()).await;
            assert_eq!(outcome.is_good(), mood == Mood::Good);
        }
    }

    fn seen(&self) -> String {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn one_negotiate_check_then_so_many_connects() {
    for (connects, wanted) in
        [(0, "nnnnnnn"), (1, "ncncncn"), (2, "nccnccn"), (5, "ncccccn"), (u32::MAX, "ncccccc")]
    {
        let rig = Rig::new(connects);
        rig.ask(Mood::Good, 7).await;
        assert_eq!(rig.seen(), wanted, "N={connects}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_negotiate_is_asked_until_it_succeeds() {
    for bad in [Mood::Bad, Mood::Silent] {
        let rig = Rig::new(2);
        rig.ask(bad, 3).await;
        rig.ask(Mood::Good, 2).await;
        assert_eq!(rig.seen(), "nnnnc");
        // The second connect fails.
        rig.ask(bad, 1).await;
        rig.ask(bad, 1).await;
        rig.ask(Mood::Good, 4).await;
        assert_eq!(rig.seen(), "cnnccn");
    }
}

#[tokio::test(start_paused = true)]
async fn the_connect_part_has_a_timeout_of_its_own() {
    let rig = Rig::new(1);
    rig.ask(Mood::Good, 1).await;
    *rig.mood.lock().unwrap() = Mood::Silent;
    let outcome = ask(&*rig.probe, LONG, &Tools::new()).await;
    assert_eq!(outcome.into_result().unwrap_err().to_string(), "connect-timeout: no connection within 2 s");
    let outcome = ask(&*rig.probe, LONG, &Tools::new()).await;
    assert_eq!(outcome.into_result().unwrap_err().to_string(), "connect-timeout: no connection within 20 s");
}

#[tokio::test]
async fn both_parts_and_the_rhythm_make_the_identity() {
    let part = |letter| -> Arc<dyn Probe> {
        Arc::new(Part { letter, mood: Arc::new(Mutex::new(Mood::Good)), seen: Arc::default() })
    };
    let second = Duration::from_secs(1);
    let all: std::collections::BTreeSet<_> = [
        combined(part('n'), part('c'), 1, second),
        combined(part('m'), part('c'), 1, second),
        combined(part('n'), part('d'), 1, second),
        combined(part('n'), part('c'), 2, second),
        combined(part('n'), part('c'), 1, second * 2),
    ]
    .map(|probe| probe.identity())
    .into();
    assert_eq!(all.len(), 5);
}
