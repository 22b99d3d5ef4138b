//! The IPVS table as a value: services and their destinations, ordered and comparable. Pure.
//!
//! The director says what the table should be, `ipvs` what it is, and [`diff`] what to do.

pub mod diff;
pub mod drift;
pub mod flow;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{Forward, ServiceKey, Settings, Weight};

/// A destination of a service, beside its address: what the kernel calls a real server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// How packets reach it.
    pub forward: Forward,
    /// Its share of new connections.
    pub weight: Weight,
    /// Above this many connections it gets no more; 0 = no limit.
    pub upper: u32,
    /// Below this many it gets some again; 0 = three quarters of `upper`.
    pub lower: u32,
}

impl Destination {
    /// A destination without thresholds.
    pub fn new(forward: Forward, weight: Weight) -> Destination {
        Destination { forward, weight, upper: 0, lower: 0 }
    }
}

/// One service of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the kernel holds of the service beside its key.
    pub settings: Settings,
    /// Its destinations by address and port.
    pub destinations: BTreeMap<SocketAddr, Destination>,
}

impl Entry {
    /// A service without destinations.
    pub fn new(settings: Settings) -> Entry {
        Entry { settings, destinations: BTreeMap::new() }
    }

    /// Whether some destination takes new connections.
    pub fn is_live(&self) -> bool {
        self.destinations.values().any(|d| d.weight.is_live())
    }
}

/// A table: what the kernel holds, or what it should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The services by key. Tables that hold the same share it: what is wanted, what is known, what is asked about.
    pub services: BTreeMap<ServiceKey, Arc<Entry>>,
}

/// One change to the kernel's table. `Set…` give the full entry, as the kernel wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Make a service.
    NewService(ServiceKey, Settings),
    /// Change a service in place.
    SetService(ServiceKey, Settings),
    /// Remove a service with all its destinations.
    DelService(ServiceKey),
    /// Add a destination.
    NewDestination(ServiceKey, SocketAddr, Destination),
    /// Change a destination in place.
    SetDestination(ServiceKey, SocketAddr, Destination),
    /// Remove a destination.
    DelDestination(ServiceKey, SocketAddr),
}

impl Op {
    /// The service it is about.
    pub fn service(&self) -> &ServiceKey {
        match self {
            Op::NewService(key, _) | Op::SetService(key, _) | Op::DelService(key) => key,
            Op::NewDestination(key, ..) | Op::SetDestination(key, ..) | Op::DelDestination(key, _) => key,
        }
    }
}

impl fmt::Display for Op {
    /// In words: `add server 10.0.0.1:80 (masq, weight 1) to 192.0.2.10:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::NewService(key, settings) => write!(f, "add service {key} ({})", settings.scheduler),
            Op::SetService(key, settings) => write!(f, "change service {key} ({})", settings.scheduler),
            Op::DelService(key) => write!(f, "remove service {key}"),
            Op::NewDestination(key, at, d) => {
                write!(f, "add server {at} ({}, weight {}) to {key}", d.forward, d.weight)
            }
            Op::SetDestination(key, at, d) => {
                write!(f, "change server {at} ({}, weight {}) of {key}", d.forward, d.weight)
            }
            Op::DelDestination(key, at) => write!(f, "remove server {at} from {key}"),
        }
    }
}

impl Table {
    /// Does to this table what the kernel would do: false when it would refuse, because what is
    /// to be made is there already or what is to be changed or removed is not.
    pub fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::NewService(key, settings) => {
                let fresh = !self.services.contains_key(key);
                if fresh {
                    self.services.insert(*key, Arc::new(Entry::new(settings.clone())));
                }
                fresh
            }
            Op::SetService(key, settings) => match self.entry_mut(key) {
                Some(entry) => {
                    entry.settings = settings.clone();
                    true
                }
                None => false,
            },
            Op::DelService(key) => self.services.remove(key).is_some(),
            Op::NewDestination(key, at, destination) => match self.entry_mut(key) {
                Some(entry) if !entry.destinations.contains_key(at) => {
                    entry.destinations.insert(*at, destination.clone());
                    true
                }
                _ => false,
            },
            Op::SetDestination(key, at, destination) => {
                match self.entry_mut(key).and_then(|entry| entry.destinations.get_mut(at)) {
                    Some(known) => {
                        *known = destination.clone();
                        true
                    }
                    None => false,
                }
            }
            Op::DelDestination(key, at) => {
                self.entry_mut(key).is_some_and(|entry| entry.destinations.remove(at).is_some())
            }
        }
    }

    /// A service.
    pub fn entry(&self, key: &ServiceKey) -> Option<&Entry> {
        self.services.get(key).map(Arc::as_ref)
    }

    /// A service, to be changed in this table and no other.
    pub fn entry_mut(&mut self, key: &ServiceKey) -> Option<&mut Entry> {
        self.services.get_mut(key).map(Arc::make_mut)
    }
}
