//! What somebody else changed in our services since we last looked. Pure.

use std::fmt;
use std::net::SocketAddr;

use super::{Destination, Entry, Table};
use crate::model::{ServiceKey, Weight};

/// One thing that somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The service.
    pub service: ServiceKey,
    /// What happened to it.
    pub what: What,
}

/// What somebody else did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The service is gone.
    Gone,
    /// Its scheduler, flags or persistence differ.
    Settings,
    /// A destination was added.
    Added(SocketAddr),
    /// A destination was removed.
    Removed(SocketAddr),
    /// A destination's forwarding method or thresholds differ.
    Changed(SocketAddr),
    /// A destination has another weight, and is otherwise as it was.
    Weight(SocketAddr, Weight, Weight),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service;
        match &self.what {
            What::Gone => write!(f, "virtual server {service} was removed by somebody else"),
            What::Settings => write!(f, "settings of virtual server {service} were changed by somebody else"),
            What::Added(at) => write!(f, "real server {at} ({service}) was added by somebody else"),
            What::Removed(at) => write!(f, "real server {at} ({service}) was removed by somebody else"),
            What::Changed(at) => write!(f, "real server {at} ({service}) was changed by somebody else"),
            What::Weight(at, from, to) => {
                write!(
                    f,
                    "weight of real server {at} ({service}) was set from {from} to {to} by somebody else"
                )
            }
        }
    }
}

/// How `actual` differs from `view`, for the services that `view` has.
pub fn drift(view: &Table, actual: &Table) -> Vec<Drift> {
    let mut found = Vec::new();
    for (key, was) in &view.services {
        let mut add = |what| found.push(Drift { service: *key, what });
        match actual.services.get(key) {
            None => add(What::Gone),
            Some(is) => changes(was, is).for_each(&mut add),
        }
    }
    found
}

fn changes<'a>(was: &'a Entry, is: &'a Entry) -> impl Iterator<Item = What> + 'a {
    let settings = (was.settings != is.settings).then_some(What::Settings);
    let kept = was.destinations.iter().filter_map(|(at, before)| match is.destinations.get(at) {
        None => Some(What::Removed(*at)),
        Some(after) if after == before => None,
        Some(after) if (Destination { weight: before.weight, ..after.clone() }) == *before => {
            Some(What::Weight(*at, before.weight, after.weight))
        }
        Some(_) => Some(What::Changed(*at)),
    });
    let added = is.destinations.keys().filter(|at| !was.destinations.contains_key(at));
    settings.into_iter().chain(kept).chain(added.map(|at| What::Added(*at)))
}
