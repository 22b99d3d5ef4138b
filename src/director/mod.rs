//! The pure core: events in, the desired table out, with the reason for every weight.
//!
//! Methods come in families: [`Director::handle`] takes what happened, [`Director::entry`] and
//! [`Director::decisions`] say what should be and why, [`Director::poll_notice`] and
//! [`Director::poll_changed`] hand out what others must act on, [`Director::deadline`] is when to
//! come back. There is no task, clock, socket, file or log in here: time comes in as an argument.

mod agenda;
pub mod event;
pub mod health;
mod listeners;
pub mod member;
pub mod order;
pub mod pool;
pub mod reason;
pub mod repeat;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{Moment, Plan, ProbeKey, ServiceKey};
use crate::outcome::{Illness, Outcome};
use crate::table::{Entry, Table};
use agenda::Agenda;
use event::{Decision, Event, Held, Notice};
use listeners::Listeners;
use order::{Order, Orders};
use pool::Pool;

/// Room for notices that is kept.
const NOTICES: usize = 64;

/// What is known of all services, and what follows from it.
#[derive(Debug, Default)]
pub struct Director {
    pools: BTreeMap<ServiceKey, Pool>,
    /// Who wants to hear a probe.
    listeners: Listeners,
    /// When time alone changes something about a service.
    agenda: Agenda<ServiceKey>,
    /// Services with servers that no check has spoken about yet.
    unheard: BTreeSet<ServiceKey>,
    /// Services whose entry may have changed, not handed out yet.
    changed: BTreeSet<ServiceKey>,
    notices: VecDeque<Notice>,
    /// Who is in maintenance.
    held: Held,
    /// What operators decided.
    orders: Orders,
    /// Services that left the configuration and whose servers are drained.
    dismissed: BTreeMap<ServiceKey, Pool>,
    /// Services of which somebody's connections are waited for.
    draining: BTreeSet<ServiceKey>,
    /// Services with servers whose removal is delayed, since we are unwell.
    ill: BTreeSet<ServiceKey>,
}

impl Director {
    /// A director for `plan` that finds `stands` in the kernel.
    pub fn new(plan: Plan, stands: &Table, now: Moment) -> Director {
        let mut director = Director::default();
        for (key, service) in plan.services {
            let pool = Pool::new(service, stands.services.get(&key).map(Arc::as_ref), now);
            director.enter(key, pool, now);
        }
        director.listeners = Listeners::of_all(director.pools());
        director
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Moment) {
        match event {
            Event::Answered(probe, outcome) => self.answered(&probe, &outcome, now),
            Event::Found(key, entry) => self.update(key, |pool, _| pool.found(&entry, now)),
            Event::SetByHand(key, at, weight) => {
                self.update(key, |pool, notices| pool.set_by_hand(at, weight, notices));
            }
            Event::Maintenance(held) if held == self.held => {}
            Event::Maintenance(held) => {
                self.held = held;
                self.direct_all(now);
            }
            // One that was remembered may be over by now.
            Event::Ordered(order) if order.until.is_some_and(|until| until <= now) => {}
            Event::Ordered(order) => {
                self.orders.give(order);
                self.direct_all(now);
            }
            Event::Lifted(whom, sorts) => {
                self.orders.lift(&whom, &sorts);
                self.direct_all(now);
            }
            Event::Idle(key, idle) => self.update(key, |pool, notices| pool.idle(&idle, now, notices)),
            Event::LetGo => {
                let keys: Vec<_> = self.pools.keys().copied().collect();
                keys.into_iter().for_each(|key| self.update(key, |pool, _| pool.let_go(now)));
            }
            Event::Reloaded(plan) => self.reloaded(plan, now),
            Event::Tick => self.tick(now),
        }
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        [self.agenda.first(), self.orders.deadline()].into_iter().flatten().min()
    }

    /// What operators decided, as far as it is in force.
    pub fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.orders.iter()
    }

    /// The services of which somebody's connections are waited for: [`Event::Idle`] tells of them.
    pub fn draining(&self) -> impl Iterator<Item = ServiceKey> {
        self.draining.iter().copied()
    }

    /// How much of what we look at we can see, in percent: the share of servers whose last result holds no
    /// evidence of our own illness. For a cluster that has to choose among directors.
    pub fn fitness(&self) -> u8 {
        let (all, ill) = self.pools.values().map(Pool::sight).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        // A share of 100 fits.
        ((all - ill) * 100).checked_div(all).map_or(100, |share| share as u8)
    }

    /// What makes us unwell, while removals are delayed for it.
    pub fn illness(&self) -> Option<Illness> {
        self.ill.iter().find_map(|key| self.pools.get(key)?.illness())
    }

    /// Whether every server that is checked has had a result since it came to us.
    pub fn has_heard_all(&self) -> bool {
        self.unheard.is_empty()
    }

    /// The next notice, oldest first.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front();
        if notice.is_none() {
            // Thousands at once are rare: what they took is given back.
            self.notices.shrink_to(NOTICES);
        }
        notice
    }

    /// The services whose entries may have changed since the last call.
    pub fn poll_changed(&mut self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut self.changed)
    }

    /// What the kernel should hold of a service; none when it is not ours to keep.
    pub fn entry(&self, key: &ServiceKey) -> Option<Entry> {
        self.pool_or_dismissed(key).map(Pool::entry)
    }

    /// What the kernel should hold of all our services.
    pub fn table(&self) -> Table {
        let all = self.pools.iter().chain(&self.dismissed);
        Table { services: all.map(|(key, pool)| (*key, Arc::new(pool.entry()))).collect() }
    }

    /// Why each server's weight is what it is: all services in order, servers as configured.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        self.pools.values().flat_map(Pool::decisions)
    }

    /// The servers that a probe speaks for: service, and place among its servers.
    pub fn listeners(&self, probe: &ProbeKey) -> impl Iterator<Item = (ServiceKey, usize)> {
        self.listeners.of(probe)
    }

    /// One service with what is known of it.
    pub fn pool(&self, key: &ServiceKey) -> Option<&Pool> {
        self.pools.get(key)
    }

    /// The services in force.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    fn answered(&mut self, probe: &ProbeKey, outcome: &Outcome, now: Moment) {
        let listeners = std::mem::take(&mut self.listeners);
        // A probe that a reload dropped may still answer: nobody listens then.
        for (key, i) in listeners.of(probe) {
            self.update(key, |pool, notices| pool.answered(i, outcome, now, notices));
        }
        self.listeners = listeners;
    }

    fn reloaded(&mut self, plan: Plan, now: Moment) {
        let mut old = std::mem::take(&mut self.dismissed);
        old.append(&mut self.pools);
        self.unheard.clear();
        self.draining.clear();
        self.agenda = Agenda::default();
        let was_ill = !self.ill.is_empty();
        self.ill.retain(|key| plan.services.contains_key(key));
        if was_ill && self.ill.is_empty() {
            self.notices.push_back(Notice::Well);
        }
        for (key, service) in plan.services {
            match old.remove(&key) {
                Some(same) if *same.service() == service && !same.is_dismissed() => {
                    self.pools.insert(key, same);
                    self.note(key);
                }
                Some(pool) => self.enter(key, pool.reconfigured(service, now), now),
                None => self.enter(key, Pool::new(service, None, now), now),
            }
        }
        self.changed.extend(old.keys());
        self.dismiss(old, now);
        self.listeners = Listeners::of_all(self.pools());
        self.share(now);
    }

    /// Lets servers that are new hear what their probe has said already for others: the question
    /// is the same, and so is the answer.
    fn share(&mut self, now: Moment) {
        let mut news = Vec::new();
        for heard in self.listeners.shared() {
            let said = |(key, i): &(ServiceKey, usize)| self.pools.get(key)?.settled_answer(*i);
            let Some(answer) = heard.iter().find_map(said) else { continue };
            let silent = heard.into_iter().filter(|listener| said(listener).is_none());
            news.extend(silent.map(|listener| (listener, answer.clone())));
        }
        for ((key, i), answer) in news {
            self.update(key, |pool, notices| {
                if !pool.has_heard(i) {
                    pool.answered(i, &answer, now, notices);
                }
            });
        }
    }

    fn enter(&mut self, key: ServiceKey, pool: Pool, now: Moment) {
        self.changed.insert(key);
        self.pools.insert(key, pool);
        self.direct(key, now);
    }

    /// What leaves the configuration is drained first, where that is wanted.
    fn dismiss(&mut self, old: BTreeMap<ServiceKey, Pool>, now: Moment) {
        for (key, pool) in old {
            let leaving = if pool.is_dismissed() { Some(pool) } else { pool.dismissed(now) };
            if let Some(leaving) = leaving {
                self.dismissed.insert(key, leaving);
                self.note(key);
            }
        }
    }

    fn tick(&mut self, now: Moment) {
        if self.orders.expire(now) {
            self.direct_all(now);
        }
        for key in self.agenda.due(now) {
            self.update(key, |pool, notices| pool.tick(now, notices));
        }
    }

    fn direct_all(&mut self, now: Moment) {
        let keys: Vec<_> = self.pools.keys().copied().collect();
        keys.into_iter().for_each(|key| self.direct(key, now));
    }

    /// Lets maintenance files and orders count for a service.
    fn direct(&mut self, key: ServiceKey, now: Moment) {
        let (held, orders) = (std::mem::take(&mut self.held), std::mem::take(&mut self.orders));
        self.update(key, |pool, notices| pool.direct(&held, &orders, now, notices));
        (self.held, self.orders) = (held, orders);
    }

    fn pool_or_dismissed(&self, key: &ServiceKey) -> Option<&Pool> {
        self.pools.get(key).or_else(|| self.dismissed.get(key))
    }

    /// Lets `what` happen to a service and notes what follows.
    fn update(&mut self, key: ServiceKey, what: impl FnOnce(&mut Pool, &mut Vec<Notice>)) {
        let pool = self.pools.get_mut(&key).or_else(|| self.dismissed.get_mut(&key));
        let Some(pool) = pool else { return };
        let mut notices = Vec::new();
        what(pool, &mut notices);
        if pool.take_changed() {
            self.changed.insert(key);
        }
        let illness = pool.illness();
        if self.dismissed.get(&key).is_some_and(Pool::is_over) {
            self.dismissed.remove(&key);
        }
        self.note(key);
        self.notices.extend(notices);
        self.note_illness(key, illness);
    }

    /// Keeps what is known of all services in step with this one.
    fn note(&mut self, key: ServiceKey) {
        let pool = self.pool_or_dismissed(&key);
        let due = pool.and_then(Pool::deadline);
        let is_draining = pool.is_some_and(Pool::is_draining);
        let is_unheard = pool.is_some_and(|pool| !pool.has_heard_all());
        self.agenda.set(key, due);
        belongs(&mut self.draining, key, is_draining);
        belongs(&mut self.unheard, key, is_unheard);
    }

    /// Tells of our own illness once, and once that it is over.
    fn note_illness(&mut self, key: ServiceKey, illness: Option<Illness>) {
        let was_well = self.ill.is_empty();
        match illness {
            Some(illness) => {
                self.ill.insert(key);
                if was_well {
                    self.notices.push_back(Notice::Ill(illness));
                }
            }
            None if self.ill.remove(&key) && self.ill.is_empty() => {
                let is_blind = self.pools.values().any(Pool::is_blind);
                self.notices.push_back(if is_blind { Notice::StillIll } else { Notice::Well });
            }
            None => {}
        }
    }
}

/// Puts a key into a set, or takes it out.
fn belongs(set: &mut BTreeSet<ServiceKey>, key: ServiceKey, is_in: bool) {
    if is_in {
        set.insert(key);
    } else {
        set.remove(&key);
    }
}
