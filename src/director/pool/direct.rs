//! Reasons that others give: maintenance files and orders take servers of a service out and let them back. Pure.

use std::sync::Arc;

use super::Pool;
use crate::director::event::{Held, Notice};
use crate::director::order::{Deed, Order, Orders};
use crate::director::reason::Reason;
use crate::model::{Moment, Removal};

impl Pool {
    /// Takes out the servers that are held by maintenance files or orders, at once, and lets the others
    /// back in with their next good result. Says whether the entry may have changed.
    pub fn direct(&mut self, held: &Held, orders: &Orders, now: Moment, notices: &mut Vec<Notice>) -> bool {
        self.now = now;
        let was_up = self.any_up();
        let told = notices.len();
        let mut changed = false;
        for i in 0..self.members.len() {
            let server = self.service.servers[i].address;
            let about: Vec<Arc<Order>> = orders.about(self.service.key, server).cloned().collect();
            changed |= self.lift(i, held.get(&server), &about, notices);
            changed |= self.impose(i, held.get(&server), &about, notices);
            changed |= self.weigh(i, &about, notices);
        }
        self.relieve(was_up && changed);
        self.tick(now, notices) || changed || notices.len() > told
    }

    /// Drops the reasons of the server at place `i` that are no longer given.
    fn lift(
        &mut self,
        i: usize,
        file: Option<&Arc<str>>,
        orders: &[Arc<Order>],
        notices: &mut Vec<Notice>,
    ) -> bool {
        let watch = self.service.servers[i].watch.clone();
        let member = &mut self.members[i];
        let stays = |reason: &Reason| match reason {
            Reason::Maintenance(_) => file.is_some(),
            Reason::Order(order) => orders.contains(order),
            Reason::Hold(_) => true,
        };
        let gone: Vec<Reason> = member.reasons.extract_if(.., |reason| !stays(reason)).collect();
        if gone.is_empty() {
            return false;
        }
        member.let_back(&watch, self.now);
        notices.extend(gone.into_iter().filter_map(|reason| match reason {
            Reason::Maintenance(_) => Some(Notice::MaintenanceOver(self.decision(i))),
            // The same in other words follows.
            Reason::Order(order) if orders.iter().any(|new| new.deed == order.deed) => None,
            Reason::Order(order) => Some(Notice::OrderOver(self.decision(i), order)),
            Reason::Hold(_) => None,
        }));
        true
    }

    /// Adds the reasons of the server at place `i` that are new.
    fn impose(
        &mut self,
        i: usize,
        file: Option<&Arc<str>>,
        orders: &[Arc<Order>],
        notices: &mut Vec<Notice>,
    ) -> bool {
        let mut changed = false;
        if let Some(file) = file {
            let drain = match self.service.policy.removal {
                Removal::Drain(time) => Some(Some(self.now.after(time))),
                Removal::AsFailed => None,
            };
            let known = self.members[i].reasons.iter_mut().find_map(|reason| match reason {
                Reason::Maintenance(known) => Some(known),
                _ => None,
            });
            if let Some(known) = known {
                *known = file.clone();
            } else {
                self.take_out(i, Reason::Maintenance(file.clone()), drain);
                notices.push(Notice::Maintenance(self.decision(i), file.clone()));
                changed = true;
            }
        }
        for order in orders.iter().filter(|order| !matches!(order.deed, Deed::Weight(_))) {
            let reason = Reason::Order(order.clone());
            if self.members[i].reasons.contains(&reason) {
                continue;
            }
            let drain = (order.deed == Deed::Drain).then_some(order.deadline);
            self.take_out(i, reason, drain);
            notices.push(Notice::Ordered(self.decision(i), order.clone()));
            changed = true;
        }
        changed
    }

    pub(super) fn take_out(&mut self, i: usize, reason: Reason, drain: Option<Option<Moment>>) {
        let stands = self.wanted(i).is_some();
        let member = &mut self.members[i];
        let was_up = member.is_up(&self.service.servers[i].watch);
        self.last_up = self.last_up.filter(|at| *at != self.service.servers[i].entry);
        member.take_out(reason, was_up, drain.filter(|_| stands), self.now);
    }

    /// Sets the weight that an operator ordered for the server at place `i`.
    fn weigh(&mut self, i: usize, orders: &[Arc<Order>], notices: &mut Vec<Notice>) -> bool {
        let order = orders.iter().rev().find_map(|order| match order.deed {
            Deed::Weight(weight) => Some((weight, order)),
            Deed::Drain | Deed::Disable => None,
        });
        let weight = order.map(|(weight, _)| weight);
        let before = std::mem::replace(&mut self.members[i].ordered, weight);
        if before == weight {
            return false;
        }
        self.members[i].by_hand = None;
        notices.push(match order {
            Some((_, order)) => Notice::Ordered(self.decision(i), order.clone()),
            None => Notice::WeightBack(self.decision(i)),
        });
        true
    }
}
