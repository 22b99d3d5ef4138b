//! The services and servers of tests without a network, by their numbers.

use std::net::SocketAddr;

use lvsentry::model::{Protocol, ServiceKey, Settings};

/// Server n.
pub fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

/// Service n.
pub fn key(n: u8) -> ServiceKey {
    ServiceKey::Address(Protocol::Tcp, SocketAddr::from(([192, 0, 2, n], 80)))
}

/// With that scheduler, and nothing else that is not plain.
pub fn settings(scheduler: &str) -> Settings {
    Settings { scheduler: scheduler.into(), flags: 0, one_packet: false, persistence: None, engine: None }
}
