//! Plans and tables of a given size.

use std::net::SocketAddr;
use std::sync::Arc;

use lvsentry::model::{
    Forward, Plan, Policy, ProbeKey, Protocol, Server, Service, ServiceKey, Settings, Watch, Weight,
};
use lvsentry::span::Place;
use lvsentry::table::{Destination, Entry, Table};

/// How many services, with how many servers each.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) each: usize,
}

/// 10,000 servers.
pub(crate) const LARGE: Size = Size { services: 1000, each: 10 };

impl Size {
    pub(crate) fn keys(self) -> impl Iterator<Item = ServiceKey> {
        (0..self.services).map(key)
    }

    /// The servers of the service at place `i`.
    pub(crate) fn servers(self, i: usize) -> impl Iterator<Item = SocketAddr> {
        (i * self.each..(i + 1) * self.each).map(server)
    }

    /// A table in which all servers are up.
    pub(crate) fn table(self) -> Table {
        let entry = |i| {
            let up = |at| (at, Destination::new(Forward::Masq, Weight::ONE));
            Entry { destinations: self.servers(i).map(up).collect(), ..Entry::new(settings()) }
        };
        Table { services: (0..self.services).map(|i| (key(i), Arc::new(entry(i)))).collect() }
    }

    /// A plan in which each server has a probe of its own.
    pub(crate) fn plan(self) -> Plan {
        let service = |i| Service {
            key: key(i),
            settings: settings(),
            servers: self.servers(i).map(checked).collect(),
            policy: Policy::default(),
            origin: place(),
        };
        Plan { services: (0..self.services).map(|i| (key(i), Arc::new(service(i)))).collect() }
    }
}

fn key(i: usize) -> ServiceKey {
    let [.., high, low] = i.to_be_bytes();
    ServiceKey::Address(Protocol::Tcp, ([10, 0, high, low], 80).into())
}

fn server(n: usize) -> SocketAddr {
    let [.., high, low] = n.to_be_bytes();
    ([10, 1, high, low], 80).into()
}

fn checked(at: SocketAddr) -> Server {
    // As long as the program's own keys, which begin alike too.
    let probe =
        ProbeKey::of(&format!("http {at} interval 5s timeout 2s GET / HTTP/1.1 host {at} receive OK"));
    Server {
        entry: at,
        address: at,
        forward: Forward::Masq,
        weight: Weight::ONE,
        upper: 0,
        lower: 0,
        watch: Watch::Probe(probe),
        origin: place(),
    }
}

fn settings() -> Settings {
    Settings { scheduler: "wrr".into(), flags: 0, one_packet: false, persistence: None, engine: None }
}

fn place() -> Place {
    Place { file: "micro.cf".into(), line: 1 }
}
