//! The rules, with somebody else in the kernel's place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::outcome::{Failure, Phase};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 7));
const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 1));

/// A host, and what was asked of it.
#[derive(Debug, Clone)]
struct Host {
    way: Option<Way>,
    carrier: bool,
    /// What is thought of the gateway before it is asked, and after.
    states: (State, State),
    asked: Arc<Mutex<Vec<&'static str>>>,
    /// How long each question hangs.
    hangs: Duration,
}

impl Host {
    fn new() -> Host {
        let way = Some(Way::Out { interface: 2, gateway: Some(GATEWAY) });
        let states = (State::Believed, State::Believed);
        Host { way, carrier: true, states, asked: Arc::default(), hangs: Duration::ZERO }
    }

    fn note(&self, what: &'static str) {
        self.asked.lock().unwrap().push(what);
        std::thread::sleep(self.hangs);
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn evidence(&self) -> Evidence {
        Evidence::with(Some(Box::new(self.clone())))
    }

    /// What a timeout of the server is put down to.
    async fn blames(&self) -> Option<Illness> {
        judged(&self.evidence(), Reason::Timeout).await
    }
}

impl Look for Host {
    fn way(&mut self, _: IpAddr) -> Option<Way> {
        self.note("way");
        self.way
    }

    fn has_carrier(&mut self, _: u32) -> bool {
        self.note("carrier");
        self.carrier
    }

    fn state(&mut self, _: Gateway) -> State {
        self.note("state");
        self.states.0
    }

    fn solicit(&mut self, _: Gateway) {
        self.note("solicit");
        self.states.0 = self.states.1;
    }
}

async fn judged(evidence: &Evidence, reason: Reason) -> Option<Illness> {
    let failure = Failure::new(Phase::Connect, reason, "no connection");
    let mut outcome = Outcome::new(Err(failure), Duration::from_secs(1));
    evidence.examine(&mut outcome, Some(SERVER)).await;
    outcome.illness
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_well_has_nothing_against_it() {
    assert_eq!(Host::new().blames().await, None);
    let on_link = Host { way: Some(Way::Out { interface: 2, gateway: None }), ..Host::new() };
    assert_eq!(on_link.blames().await, None);
    assert_eq!(on_link.asked(), ["way", "carrier"], "a neighbour that is silent is at fault itself");
    assert_eq!(Host { way: None, ..Host::new() }.blames().await, None);
    assert_eq!(judged(&Evidence::with(None), Reason::Timeout).await, None);
}

#[tokio::test(start_paused = true)]
async fn no_route_no_carrier_and_a_silent_gateway_are_evidence() {
    assert_eq!(Host { way: Some(Way::None), ..Host::new() }.blames().await, Some(Illness::NoRoute));
    assert_eq!(Host { carrier: false, ..Host::new() }.blames().await, Some(Illness::NoCarrier));
    let silent = Host { states: (State::Silent, State::Silent), ..Host::new() };
    assert_eq!(silent.blames().await, Some(Illness::Gateway));
    assert_eq!(judged(&silent.evidence(), Reason::Unreachable).await, Some(Illness::Gateway));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_there_a_while_ago_is_asked_anew() {
    for (after, blames) in [
        (State::Believed, None),
        (State::Silent, Some(Illness::Gateway)),
        (State::Asking, Some(Illness::Gateway)),
        (State::Unknown, None),
    ] {
        let host = Host { states: (State::Believed, after), ..Host::new() };
        let start = Instant::now();
        assert_eq!(host.blames().await, blames, "{after:?}");
        let took = start.elapsed();
        match after {
            State::Asking => assert!(took >= PATIENCE && took < PATIENCE + 2 * GLANCE, "{took:?}"),
            _ => assert!(took < GLANCE, "{took:?}"),
        }
        assert_eq!(host.asked()[..5], ["way", "carrier", "state", "solicit", "state"]);
    }
    let fixed = Host { states: (State::Unknown, State::Unknown), ..Host::new() };
    assert_eq!(fixed.blames().await, None);
    assert_eq!(fixed.asked(), ["way", "carrier", "state"], "what others look after is left alone");
}

/// A host whose interface gets its carrier back, and loses it again, as this says.
#[derive(Debug, Clone, Default)]
struct Plug(Arc<AtomicBool>);

impl Plug {
    fn is(&self, well: bool) {
        self.0.store(well, Ordering::Relaxed);
    }
}

impl Look for Plug {
    fn way(&mut self, _: IpAddr) -> Option<Way> {
        Some(Way::Out { interface: 2, gateway: None })
    }
    fn has_carrier(&mut self, _: u32) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    fn state(&mut self, _: Gateway) -> State {
        State::Unknown
    }
    fn solicit(&mut self, _: Gateway) {}
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_an_illness_ended_is_still_put_down_to_it() {
    let plug = Plug::default();
    let evidence = Evidence::with(Some(Box::new(plug.clone())));
    let judged = || judged(&evidence, Reason::Timeout);
    assert_eq!(judged().await, Some(Illness::NoCarrier));
    plug.is(true);
    // Two exchanges of a second each that began before a look found the way well.
    sleep(Duration::from_secs(10)).await;
    assert_eq!(judged().await, Some(Illness::NoCarrier));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(judged().await, Some(Illness::NoCarrier));
    // And one that began since.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(judged().await, None);
    // A good answer ends it as well.
    plug.is(false);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(judged().await, Some(Illness::NoCarrier));
    plug.is(true);
    let mut good = Outcome::new(Ok("well".into()), Duration::ZERO);
    evidence.examine(&mut good, Some(SERVER)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(judged().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_search_for_a_neighbour_that_began_without_carrier_is_put_down_to_that() {
    let plug = Plug::default();
    let evidence = Evidence::with(Some(Box::new(plug.clone())));
    assert_eq!(judged(&evidence, Reason::Timeout).await, Some(Illness::NoCarrier));
    plug.is(true);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(judged(&evidence, Reason::Timeout).await, Some(Illness::NoCarrier), "its look finds it gone");
    // The exchange began since, but the kernel had begun to look for the neighbour before.
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(judged(&evidence, Reason::Unreachable).await, Some(Illness::NoCarrier));
    sleep(NEIGHBOUR).await;
    assert_eq!(judged(&evidence, Reason::Unreachable).await, None);
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_server_and_good_results_are_not_looked_into() {
    let host = Host { carrier: false, ..Host::new() };
    let evidence = host.evidence();
    for reason in [Reason::Refused, Reason::Reset, Reason::Closed, Reason::Status, Reason::Mismatch] {
        assert_eq!(judged(&evidence, reason).await, None, "{reason:?}");
    }
    let mut good = Outcome::new(Ok("well".into()), Duration::ZERO);
    evidence.examine(&mut good, Some(SERVER)).await;
    let late = Failure::new(Phase::Connect, Reason::Timeout, "").blaming(Some(Illness::Late));
    let mut late = Outcome::new(Err(late), Duration::ZERO);
    evidence.examine(&mut late, Some(SERVER)).await;
    assert_eq!((good.illness, late.illness), (None, Some(Illness::Late)));
    let mut script = Outcome::new(Err(Failure::new(Phase::Run, Reason::Timeout, "")), Duration::ZERO);
    evidence.examine(&mut script, None).await;
    assert_eq!(script.illness, None);
    assert_eq!(host.asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn many_failures_at_once_cost_one_look() {
    let host = Host { states: (State::Believed, State::Asking), ..Host::new() };
    let evidence = Arc::new(host.evidence());
    let all: Vec<_> = (0..200)
        .map(|_| {
            let evidence = evidence.clone();
            tokio::spawn(async move { judged(&evidence, Reason::Timeout).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Some(Illness::Gateway));
    }
    let asked = host.asked();
    let times = |what| asked.iter().filter(|asked| **asked == what).count();
    assert_eq!((times("way"), times("carrier"), times("solicit")), (1, 1, 1));
    assert!(times("state") < 100, "{}", times("state"));
}

#[tokio::test]
async fn a_kernel_that_hangs_holds_nobody_up() {
    let host = Host { hangs: Duration::from_millis(200), ..Host::new() };
    let evidence = host.evidence();
    let asked = timeout(Duration::from_millis(20), judged(&evidence, Reason::Timeout)).await;
    assert!(asked.is_err(), "it hangs");
    assert_eq!(judged(&evidence, Reason::Timeout).await, None);
    assert_eq!(host.asked(), ["way"], "nobody queues behind a question that hangs");
}
