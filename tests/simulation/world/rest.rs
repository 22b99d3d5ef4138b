//! What must be so: after every step, and when nothing happens any more.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lvsentry::director::order::Deed;
use lvsentry::model::{ByHand, FailOpen, Server, ServiceKey, Watch};

use super::super::truth::Ways;
use super::{FOREIGN, World, live};
use crate::support::plan::{at, key};

impl World {
    pub(super) fn is_sound(&self) -> Result<(), String> {
        self.truth().broken.clone().map_or(Ok(()), Err)
    }

    /// Every weight has its reason: what is decided is what is wanted.
    pub(super) fn is_explained(&self) -> Result<(), String> {
        for pool in self.director.pools() {
            let entry = pool.entry();
            for decision in pool.decisions() {
                let wanted = entry.destinations.get(&decision.entry).map(|d| d.weight);
                let is_last = pool.service().policy.fallbacks.iter().any(|f| f.entry == decision.entry);
                if !is_last && decision.weight.is_some() && wanted != decision.weight {
                    return Err(format!("{decision} has weight {:?}, wanted is {wanted:?}", decision.weight));
                }
            }
        }
        Ok(())
    }

    /// At rest the table is what the truth says.
    pub(super) fn is_right(&self) -> Result<(), String> {
        let truth = self.truth();
        for (key, service) in &truth.plan.services {
            let Some(entry) = truth.table.services.get(key) else { return Err(format!("{key} is missing")) };
            if entry.settings != service.settings {
                return Err(format!("{key} has other settings"));
            }
            let live = live(entry);
            let ordered = |server: SocketAddr| {
                let mut orders: Vec<_> = self.in_force().filter(|o| o.whom.means(*key, server)).collect();
                orders.sort_by_key(|order| (order.whom, order.deed.sort()));
                orders.iter().rev().find_map(|order| match order.deed {
                    Deed::Weight(weight) => Some(weight),
                    Deed::Drain | Deed::Disable => None,
                })
            };
            let well = |n: SocketAddr| truth.ways.iter().any(|(k, ways)| at(*k) == n && *ways == Ways::Well);
            let is_up = |server: &Server| {
                let answers = match server.watch {
                    Watch::Probe(_) => well(server.address),
                    Watch::On => true,
                    Watch::Off => false,
                };
                answers && !truth.barred.contains_key(&(*key, server.entry))
            };
            let up: Vec<_> = service.servers.iter().filter(|server| is_up(server)).collect();
            let weight = |server: &Server| ordered(server.address).unwrap_or(server.weight);
            let serves = up.iter().any(|server| service.policy.zero_serves || weight(server).is_live());
            let fallback = service.policy.fallbacks.iter().find(|f| f.watch == Watch::On || well(f.address));
            let as_fallback = |at| !serves && fallback.is_some_and(|fallback| fallback.entry == at);
            for server in up.iter().filter(|server| !as_fallback(server.entry)) {
                let weight = ordered(server.address).unwrap_or(server.weight);
                let stands = entry.destinations.get(&server.entry).map(|d| d.weight);
                if stands != Some(weight) && service.policy.by_hand != ByHand::Hold {
                    return Err(format!("{} of {key} is well, and stands with {stands:?}", server.entry));
                }
                if stands.is_none() {
                    return Err(format!("{} of {key} is well, and missing", server.entry));
                }
            }
            let mut allowed: BTreeSet<SocketAddr> = match (serves, fallback) {
                (true, _) => up.iter().map(|server| server.entry).collect(),
                (false, Some(fallback)) => [fallback.entry].into(),
                (false, None) if service.policy.fail_open != FailOpen::No => {
                    service.servers.iter().map(|server| server.entry).collect()
                }
                (false, None) => BTreeSet::new(),
            };
            if service.policy.by_hand == ByHand::Hold {
                // A weight by hand holds, even where the configured one or an order is 0.
                allowed.extend(up.iter().map(|server| server.entry));
            }
            if let Some(wrong) = live.difference(&allowed).next() {
                return Err(format!("{wrong} of {key} carries traffic, and should not"));
            }
            if !serves && fallback.is_some() && live.is_empty() {
                return Err(format!("{key} has a fallback, and nobody"));
            }
        }
        let strange = |key: &&ServiceKey| !truth.plan.services.contains_key(key);
        match truth.table.services.keys().filter(strange).find(|at| **at != key(FOREIGN)) {
            Some(left) => Err(format!("{left} is not configured any more, and stands")),
            None => Ok(()),
        }
    }
}
