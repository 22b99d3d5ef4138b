//! Timers that come late: this process was not let run, and that is no evidence against a server.

use std::time::Duration;

use lvsentry::outcome::{Failure, Illness, Outcome, Phase, Reason};
use lvsentry::probe::{Asking, Call, Probe, Tools, ask};
use tokio::time::{advance, sleep};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A server that says nothing, or refuses in the end, while this process stands still once.
#[derive(Debug)]
struct Still {
    /// When, after the beginning of the exchange.
    after: Duration,
    /// For how long.
    stands: Duration,
    /// What comes then.
    answer: Option<Result<String, Failure>>,
}

impl Probe for Still {
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            call.enter(Phase::Receive);
            sleep(self.after).await;
            // Time passes at once: nobody's timers ring meanwhile.
            advance(self.stands).await;
            match &self.answer {
                Some(answer) => answer.clone(),
                None => std::future::pending().await,
            }
        })
    }

    fn identity(&self) -> String {
        String::new()
    }
}

async fn outcome(after: u64, stands: u64, answer: Option<Result<String, Failure>>) -> Outcome {
    let (after, stands) = (Duration::from_millis(after), Duration::from_millis(stands));
    ask(&Still { after, stands, answer }, TIMEOUT, &Tools::new()).await
}

#[tokio::test(start_paused = true)]
async fn a_timeout_while_this_process_stood_still_is_our_own() {
    for (after, stands) in [(0, 5000), (100, 5000), (1900, 5000), (1999, 1100), (10, 1700)] {
        let outcome = outcome(after, stands, None).await;
        assert_eq!(outcome.clone().into_result().unwrap_err().code(), "receive-timeout");
        assert_eq!(outcome.illness, Some(Illness::Late), "after {after} ms for {stands} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_late_by_less_than_half_a_timeout_is_no_excuse() {
    for (after, stands) in [(0, 0), (100, 900), (1900, 1000), (1000, 100)] {
        let outcome = outcome(after, stands, None).await;
        assert_eq!(outcome.clone().into_result().unwrap_err().code(), "receive-timeout");
        assert_eq!(outcome.illness, None, "after {after} ms for {stands} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_said_counts_however_long_we_stood_still() {
    let refused = Failure::new(Phase::Connect, Reason::Refused, "connection refused");
    let refused = outcome(100, 5000, Some(Err(refused))).await;
    assert_eq!(refused.clone().into_result().unwrap_err().code(), "connect-refused");
    assert_eq!(refused.illness, None);
    let good = outcome(100, 5000, Some(Ok("well".into()))).await;
    assert_eq!((good.illness, good.into_result()), (None, Ok("well".into())));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_within_a_probe_and_a_server_that_did_not_wait_are_our_own_as_well() {
    let silent = Failure::new(Phase::Connect, Reason::Timeout, "no connection within 1 s");
    let silent = outcome(100, 5000, Some(Err(silent))).await;
    assert_eq!(silent.illness, Some(Illness::Late));
    // A server does not wait for ever for our next word.
    let closed = || Failure::new(Phase::Receive, Reason::Closed, "the connection was closed");
    assert_eq!(outcome(100, 5000, Some(Err(closed()))).await.illness, Some(Illness::Late));
    assert_eq!(outcome(100, 0, Some(Err(closed()))).await.illness, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_failure_says_of_us_comes_with_the_outcome() {
    let full = Failure::new(Phase::Connect, Reason::Local, "too many open files");
    let outcome = outcome(0, 0, Some(Err(full.blaming(Some(Illness::Descriptors))))).await;
    assert_eq!(outcome.illness, Some(Illness::Descriptors));
}
