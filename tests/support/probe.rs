//! Asks a kind of check, as the daemon would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lvsentry::config::{Config, Inquiry};
use lvsentry::model::{ProbeKey, Protocol, ServiceKey};
use lvsentry::outcome::Failure;
use lvsentry::probe::options::Options;
use lvsentry::probe::{Check, KINDS, Probe, Target, Tools, ask, kind};
use lvsentry::span::Fault;

/// Long enough never to pass where an answer is expected.
pub const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for.
pub const SHORT: Duration = Duration::from_millis(300);

/// A target behind a TCP service.
pub fn target(check: SocketAddr) -> Target {
    let service = ServiceKey::Address(Protocol::Tcp, "192.0.2.10:80".parse().unwrap());
    Target { service, server: check, check }
}

/// A target behind a UDP service.
pub fn udp_target(check: SocketAddr) -> Target {
    let service = ServiceKey::Address(Protocol::Udp, "192.0.2.10:53".parse().unwrap());
    Target { service, ..target(check) }
}

/// Makes a check.
pub fn make(name: &str, target: &Target, options: &[(&'static str, &str)]) -> Result<Check, Fault> {
    let mut given = Options::default();
    for (name, text) in options {
        // Latin-1: each character is one byte.
        let text: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let span = 100..100 + text.len();
        given.give(name, text, span);
    }
    let check = (kind(name).unwrap().make)(target, &mut given);
    assert_eq!(given.unused().count(), 0, "an option was not taken");
    check
}

/// Makes a check that asks.
pub fn probe(name: &str, target: &Target, options: &[(&'static str, &str)]) -> Arc<dyn Probe> {
    match make(name, target, options).unwrap() {
        Check::Ask(probe) => probe,
        other => panic!("{other:?} asks nothing"),
    }
}

/// The answer's description, or the failure.
pub type Answer = Result<String, Failure>;

/// What makes a probe of a configuration the one it is: its key is a digest of this.
pub fn said(config: &Config, key: &ProbeKey) -> String {
    let Inquiry { probe, interval, timeout } = &config.inquiries[key];
    let mut all =
        KINDS.iter().map(|kind| format!("{} {timeout:?} {interval:?} {}", kind.name, probe.identity()));
    all.find(|text| ProbeKey::of(text) == *key).expect("the text of one kind gives the key")
}

/// Asks once, with enough time.
pub async fn outcome(name: &str, at: SocketAddr, options: &[(&'static str, &str)]) -> Answer {
    outcome_within(LONG, name, at, options).await
}

/// Asks once, with a deadline that is kept.
pub async fn outcome_within(
    limit: Duration,
    name: &str,
    at: SocketAddr,
    options: &[(&'static str, &str)],
) -> Answer {
    let probe = probe(name, &target(at), options);
    let outcome = ask(&*probe, limit, &Tools::new()).await;
    assert!(
        outcome.took < limit + Duration::from_secs(2),
        "took {:?}, the limit was {limit:?}",
        outcome.took
    );
    outcome.into_result()
}

/// The code of an expected failure.
#[track_caller]
pub fn code(answer: Answer) -> String {
    answer.unwrap_err().code()
}

/// An address where nothing listens.
pub async fn closed() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
