//! Reasons that others give: maintenance files and orders take servers of a service out and let them back. Pure.

use std::sync::Arc;

use super::Pool;
use crate::director::event::{Held, Notice};
use crate::director::order::{Deed, Order, Orders};
use crate::director::reason::Reason;
use crate::model::{Moment, Removal};

impl Pool {
    /// Takes out the servers that are held by maintenance files or orders, at once, and lets the others
    /// back in with their next good result.
    pub fn direct(&mut self, held: &Held, orders: &Orders, now: Moment, notices: &mut Vec<Notice>) {
        let was_up = self.any_up();
        let mut changed = false;
        for i in 0..self.service.servers.len() {
            let server = self.service.servers[i].address;
            let about: Vec<Arc<Order>> = orders.about(self.service.key, server).cloned().collect();
            changed |= self.lift(i, held.get(&server), &about, now, notices);
            changed |= self.impose(i, held.get(&server), &about, now, notices);
            changed |= self.weigh(i, &about, notices);
        }
        self.relieve(was_up && changed);
        self.tick(now, notices);
    }

    /// Drops the reasons of the server at place `i` that are no longer given.
    fn lift(
        &mut self,
        i: usize,
        file: Option<&Arc<str>>,
        orders: &[Arc<Order>],
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let stays = |reason: &Reason| match reason {
            Reason::Maintenance(_) => file.is_some(),
            Reason::Order(order) => orders.contains(order),
            Reason::Hold(_) => true,
        };
        if self.roll[i].special().reasons.iter().all(stays) {
            return false;
        }
        let service = self.service.clone();
        let gone: Vec<Reason> = self.change(i, |member| {
            let reasons = &mut member.special_mut().reasons;
            let gone = reasons.extract_if(.., |reason| !stays(reason)).collect();
            member.let_back(&service.servers[i].watch, now);
            gone
        });
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
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let mut changed = false;
        if let Some(file) = file {
            let drain = match self.service.policy.removal {
                Removal::Drain(time) => Some(Some(now.after(time))),
                Removal::AsFailed => None,
            };
            let is_file = |reason: &Reason| matches!(reason, Reason::Maintenance(_));
            if let Some(known) = self.roll[i].special().reasons.iter().position(is_file) {
                let reason = Reason::Maintenance(file.clone());
                self.change(i, |member| member.special_mut().reasons[known] = reason);
            } else {
                self.take_out(i, Reason::Maintenance(file.clone()), drain, now);
                notices.push(Notice::Maintenance(self.decision(i), file.clone()));
                changed = true;
            }
        }
        for order in orders.iter().filter(|order| !matches!(order.deed, Deed::Weight(_))) {
            let reason = Reason::Order(order.clone());
            if self.roll[i].special().reasons.contains(&reason) {
                continue;
            }
            let drain = (order.deed == Deed::Drain).then_some(order.deadline);
            self.take_out(i, reason, drain, now);
            notices.push(Notice::Ordered(self.decision(i), order.clone()));
            changed = true;
        }
        changed
    }

    pub(super) fn take_out(&mut self, i: usize, reason: Reason, drain: Option<Option<Moment>>, now: Moment) {
        let server = &self.service.servers[i];
        let (was_up, (_, stands)) = (self.roll[i].is_up(&server.watch), self.wanted(i));
        self.last_up = self.last_up.filter(|at| *at != server.entry);
        self.change(i, |member| member.take_out(reason, was_up, drain.filter(|_| stands.is_some()), now));
    }

    /// Sets the weight that an operator ordered for the server at place `i`.
    fn weigh(&mut self, i: usize, orders: &[Arc<Order>], notices: &mut Vec<Notice>) -> bool {
        let order = orders.iter().rev().find_map(|order| match order.deed {
            Deed::Weight(weight) => Some((weight, order)),
            Deed::Drain | Deed::Disable => None,
        });
        let weight = order.map(|(weight, _)| weight);
        if self.roll[i].special().ordered == weight {
            return false;
        }
        self.change(i, |member| {
            let special = member.special_mut();
            (special.ordered, special.by_hand) = (weight, None);
        });
        notices.push(match order {
            Some((_, order)) => Notice::Ordered(self.decision(i), order.clone()),
            None => Notice::WeightBack(self.decision(i)),
        });
        true
    }
}
