//! The pure core: events in, the desired table out, with the reason for every weight.
//!
//! Methods come in families: [`Director::handle`] takes what happened, [`Director::entry`] and
//! [`Director::decisions`] say what should be and why, [`Director::poll_notice`] and
//! [`Director::poll_changed`] hand out what others must act on, [`Director::deadline`] is when to
//! come back. There is no task, clock, socket, file or log in here: time comes in as an argument.

pub mod event;
pub mod health;
pub mod pool;
pub mod repeat;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{Moment, Plan, ProbeKey, ServiceKey, Watch};
use crate::outcome::Outcome;
use crate::table::{Entry, Table};
use event::{Decision, Event, Held, Notice};
use pool::Pool;

/// What is known of all services, and what follows from it.
#[derive(Debug, Default)]
pub struct Director {
    pools: BTreeMap<ServiceKey, Pool>,
    /// Who wants to hear a probe: service, and place among its servers.
    listeners: BTreeMap<ProbeKey, Vec<(ServiceKey, usize)>>,
    /// Services that wait for first results: the only ones that time alone can change.
    waiting: BTreeSet<ServiceKey>,
    /// Services with servers that no check has spoken about yet.
    unheard: BTreeSet<ServiceKey>,
    /// Services whose entry may have changed, not handed out yet.
    changed: BTreeSet<ServiceKey>,
    notices: VecDeque<Notice>,
    /// Who is in maintenance.
    held: Held,
}

impl Director {
    /// A director for `plan` that finds `stands` in the kernel.
    pub fn new(plan: Plan, stands: &Table, now: Moment) -> Director {
        let mut director = Director::default();
        for (key, service) in plan.services {
            let pool = Pool::new(service, stands.services.get(&key), now);
            director.enter(key, pool, now);
        }
        director.listen();
        director
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Moment) {
        match event {
            Event::Answered(probe, outcome) => self.answered(&probe, Arc::new(outcome), now),
            Event::Found(key, entry) => self.update(key, |pool, _| pool.found(&entry, now)),
            Event::SetByHand(key, at, weight) => {
                self.update(key, |pool, notices| pool.set_by_hand(at, weight, notices));
            }
            Event::Maintenance(held) => self.maintenance(held, now),
            Event::Reloaded(plan) => self.reloaded(plan, now),
            Event::Tick => {
                for key in std::mem::take(&mut self.waiting) {
                    self.update(key, |pool, notices| pool.tick(now, notices));
                }
            }
        }
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        self.waiting.iter().filter_map(|key| self.pools.get(key)?.deadline()).min()
    }

    /// Whether every server that is checked has had a result since it came to us.
    pub fn has_heard_all(&self) -> bool {
        self.unheard.is_empty()
    }

    /// The next notice, oldest first.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The services whose entries may have changed since the last call.
    pub fn poll_changed(&mut self) -> BTreeSet<ServiceKey> {
        std::mem::take(&mut self.changed)
    }

    /// What the kernel should hold of a service; none when it is not ours to keep.
    pub fn entry(&self, key: &ServiceKey) -> Option<Entry> {
        self.pools.get(key).map(Pool::entry)
    }

    /// What the kernel should hold of all our services.
    pub fn table(&self) -> Table {
        Table { services: self.pools.iter().map(|(key, pool)| (*key, pool.entry())).collect() }
    }

    /// Why each server's weight is what it is: all services in order, servers as configured.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        self.pools.values().flat_map(Pool::decisions)
    }

    /// The servers that a probe speaks for: service, and place among its servers.
    pub fn listeners(&self, probe: &ProbeKey) -> &[(ServiceKey, usize)] {
        self.listeners.get(probe).map_or(&[], Vec::as_slice)
    }

    /// One service with what is known of it.
    pub fn pool(&self, key: &ServiceKey) -> Option<&Pool> {
        self.pools.get(key)
    }

    /// The services in force.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }

    fn answered(&mut self, probe: &ProbeKey, outcome: Arc<Outcome>, now: Moment) {
        // A probe that a reload dropped may still answer: nobody listens then.
        let Some(heard) = self.listeners.get(probe).cloned() else { return };
        for (key, i) in heard {
            self.update(key, |pool, notices| pool.answered(i, &outcome, now, notices));
        }
    }

    fn reloaded(&mut self, plan: Plan, now: Moment) {
        let mut old = std::mem::take(&mut self.pools);
        self.unheard.clear();
        for (key, service) in plan.services {
            let pool = match old.remove(&key) {
                Some(same) if *same.service() == service => same,
                Some(pool) => pool.reconfigured(service, now),
                None => Pool::new(service, None, now),
            };
            self.enter(key, pool, now);
        }
        self.changed.extend(old.keys());
        self.listen();
        self.share(now);
    }

    /// Lets servers that are new hear what their probe has said already for others: the question
    /// is the same, and so is the answer.
    fn share(&mut self, now: Moment) {
        let mut news = Vec::new();
        for heard in self.listeners.values().filter(|heard| heard.len() > 1) {
            let said = |(key, i): &(ServiceKey, usize)| self.pools.get(key)?.settled_answer(*i);
            let Some(answer) = heard.iter().find_map(said) else { continue };
            news.extend(
                heard.iter().filter(|listener| said(listener).is_none()).map(|l| (*l, answer.clone())),
            );
        }
        for ((key, i), answer) in news {
            self.update(key, |pool, notices| !pool.has_heard(i) && pool.answered(i, &answer, now, notices));
        }
    }

    fn enter(&mut self, key: ServiceKey, pool: Pool, now: Moment) {
        self.changed.insert(key);
        if !pool.has_heard_all() {
            self.unheard.insert(key);
        }
        self.pools.insert(key, pool);
        self.maintain(key, now);
    }

    fn maintenance(&mut self, held: Held, now: Moment) {
        self.held = held;
        let keys: Vec<_> = self.pools.keys().copied().collect();
        for key in keys {
            self.maintain(key, now);
        }
    }

    fn maintain(&mut self, key: ServiceKey, now: Moment) {
        let held = std::mem::take(&mut self.held);
        self.update(key, |pool, notices| pool.maintain(&held, now, notices));
        self.held = held;
    }

    fn listen(&mut self) {
        self.listeners.clear();
        for (key, pool) in &self.pools {
            for (i, server) in pool.service().servers.iter().enumerate() {
                if let Watch::Probe(probe) = &server.watch {
                    self.listeners.entry(probe.clone()).or_default().push((*key, i));
                }
            }
        }
    }

    /// Lets `what` happen to a service and notes what follows; `what` says whether the entry may
    /// have changed.
    fn update(&mut self, key: ServiceKey, what: impl FnOnce(&mut Pool, &mut Vec<Notice>) -> bool) {
        let Some(pool) = self.pools.get_mut(&key) else { return };
        let mut notices = Vec::new();
        if what(pool, &mut notices) {
            self.changed.insert(key);
        }
        if pool.deadline().is_some() {
            self.waiting.insert(key);
        } else {
            self.waiting.remove(&key);
        }
        if self.unheard.contains(&key) && pool.has_heard_all() {
            self.unheard.remove(&key);
        }
        self.notices.extend(notices);
    }
}
