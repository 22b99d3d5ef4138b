//! Random configurations: three services that share six servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lvsentry::model::{
    ByHand, FailOpen, Fallback, Forward, Hold, OnFailure, Plan, Policy, ProbeKey, Removal, Server, Service,
    ServiceKey, Watch, Weight,
};
use lvsentry::span::Place;

use super::random::Random;
use crate::support::plan::{at, key, settings};

/// Servers there are.
pub(super) const SERVERS: u8 = 6;

/// The server that is a fallback and nothing else, and the one that is checked.
pub(super) const LAST: [u8; 2] = [8, 9];

pub(super) fn probe(n: u8) -> ProbeKey {
    ProbeKey::of(&format!("probe {n}"))
}

fn place() -> Place {
    Place { file: "test".into(), line: 1 }
}

pub(super) fn plan(random: &mut Random) -> Plan {
    let mut services: Vec<Service> = (1..=3).map(|n| service(key(n), random)).collect();
    let kept = 1 + random.below(3) as usize;
    services.truncate(kept);
    Plan { services: services.into_iter().map(|service| (service.key, Arc::new(service))).collect() }
}

fn service(key: ServiceKey, random: &mut Random) -> Service {
    let count = random.below(5);
    let numbers: BTreeSet<u8> = (0..count).map(|_| 1 + random.below(SERVERS.into()) as u8).collect();
    let servers = numbers.into_iter().map(|n| server(n, random)).collect();
    Service {
        key,
        settings: settings(random.of(&["rr", "wlc"])),
        servers,
        policy: policy(random),
        origin: place(),
    }
}

fn server(n: u8, random: &mut Random) -> Server {
    let watch = match random.below(12) {
        0 => Watch::On,
        1 => Watch::Off,
        _ => Watch::Probe(probe(n)),
    };
    let weight = Weight::new(random.of(&[0, 1, 1, 10, 10])).unwrap();
    let (entry, forward) = (at(n), Forward::Masq);
    Server { entry, address: entry, forward, weight, upper: 0, lower: 0, watch, origin: place() }
}

fn policy(random: &mut Random) -> Policy {
    let seconds = Duration::from_secs;
    let last = |n: u8, watch| Fallback { entry: at(n), address: at(n), forward: Forward::Masq, watch };
    let fallbacks = match random.below(6) {
        0 | 1 => vec![],
        2 | 3 => vec![last(LAST[0], Watch::On)],
        // A server of the service may be its fallback too.
        4 => vec![last(1, Watch::On)],
        _ => vec![last(LAST[1], Watch::Probe(probe(LAST[1]))), last(LAST[0], Watch::On)],
    };
    Policy {
        fall: 1 + random.below(3) as u32,
        rise: 1 + random.below(2) as u32,
        on_failure: random.of(&[OnFailure::Remove, OnFailure::Quiesce]),
        by_hand: random.of(&[ByHand::Hold, ByHand::Repair]),
        removal: random.of(&[Removal::AsFailed, Removal::Drain(seconds(10))]),
        hold: random.of(&[None, None, Some(Hold { falls: 2, within: seconds(20), time: seconds(15) })]),
        slow_start: random.of(&[None, None, Some(seconds(10))]),
        fallbacks,
        zero_serves: random.chance(1, 2),
        fail_open: random.of(&[FailOpen::No, FailOpen::No, FailOpen::KeepLast, FailOpen::KeepAll]),
        clean_stop: true,
    }
}
