//! What somebody asks over the control socket, answered by the loop: small values, made fast; what is
//! large is put into words by whoever asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::named::Meant;
use super::{Daemon, Event};
use crate::director::event::Event as Input;
use crate::director::order::{DRAIN, Deed, Order};
use crate::director::pool::Pool;
use crate::http::ask::{Ask, Heard, Leaving, Lift, Obeyed, Refusal, Reloaded, Seen, Snapshot, Wish};
use crate::model::{Moment, ProbeKey, Watch};
use crate::outcome::Outcome;

/// How many orders there may be.
const ORDERS: usize = 10_000;

/// How many results of each probe are kept.
const RESULTS: usize = 5;

/// Somebody who waits for a reload to be done.
pub(super) type Waiter = oneshot::Sender<Result<Reloaded, Refusal>>;

/// The last results of each probe.
#[derive(Default)]
pub(super) struct Results(BTreeMap<ProbeKey, VecDeque<Kept>>);

/// A result. Of each probe there are several, and most say the same: that is kept once.
struct Kept {
    at: Moment,
    /// How long the exchange took, in microseconds.
    took: u32,
    said: Arc<Outcome>,
}

impl Results {
    pub(super) fn add(&mut self, probe: &ProbeKey, outcome: &Outcome, at: Moment) {
        let some = self.0.entry(probe.clone()).or_insert_with(|| VecDeque::with_capacity(RESULTS));
        let says =
            |kept: &&Kept| (&kept.said.result, kept.said.illness) == (&outcome.result, outcome.illness);
        let said =
            some.iter().rfind(says).map_or_else(|| Arc::new(outcome.clone()), |kept| kept.said.clone());
        if some.len() == RESULTS {
            some.pop_front();
        }
        // A deadline is far below what does not fit: over an hour.
        let took = outcome.took.as_micros().try_into().unwrap_or(u32::MAX);
        some.push_back(Kept { at, took, said });
    }

    /// Other probes are not asked any more.
    pub(super) fn keep(&mut self, is_asked: impl Fn(&ProbeKey) -> bool) {
        self.0.retain(|probe, _| is_asked(probe));
    }

    fn of(&self, watch: &Watch) -> Vec<Heard> {
        let heard = |kept: &Kept| Heard {
            at: kept.at,
            outcome: Outcome { took: Duration::from_micros(kept.took.into()), ..Outcome::clone(&kept.said) },
        };
        match watch {
            Watch::Probe(probe) => self.0.get(probe).into_iter().flatten().map(heard).collect(),
            Watch::On | Watch::Off => Vec::new(),
        }
    }
}

impl Daemon {
    pub(super) fn asked(&mut self, ask: Ask) {
        // Who does not wait for his answer any more does not get it.
        match ask {
            Ask::Look(reply) => drop(reply.send(self.snapshot(false))),
            Ask::LookBack(reply) => drop(reply.send(self.snapshot(true))),
            Ask::Recent(reply) => drop(reply.send(self.recent.all())),
            Ask::Order(_, reply) | Ask::Lift(_, reply) if self.stopping.is_some() => {
                drop(reply.send(Err(Refusal::Ending)));
            }
            Ask::Order(wish, reply) => {
                let obeyed = self.order(&wish);
                self.answer(obeyed, reply);
            }
            Ask::Lift(lift, reply) => {
                let obeyed = self.lift(&lift);
                self.answer(obeyed, reply);
            }
            Ask::Reload(reply) if self.stopping.is_some() => drop(reply.send(Err(Refusal::Ending))),
            Ask::Reload(reply) => {
                self.reload_asked.push(reply);
                self.take(Event::Reload);
            }
            Ask::Turn(active, reply) => {
                let turned = self.duty.active != active && self.stopping.is_none();
                let why = "by hand".to_owned();
                self.take(if active { Event::Promote(why) } else { Event::Demote(why) });
                let _ = reply.send(turned);
            }
            Ask::Stop(reply) => {
                // Before the loop ends, so that it is heard.
                let _ = reply.send(());
                self.stop("STOP", false);
            }
        }
    }

    /// Answers once what was decided is on disk, or can not be.
    fn answer(&mut self, obeyed: Result<Obeyed, Refusal>, reply: oneshot::Sender<Result<Obeyed, Refusal>>) {
        match obeyed {
            Ok(obeyed) => self.keeper.remember(Some(Box::new(move |forgotten| {
                let _ = reply.send(Ok(Obeyed { forgotten, ..obeyed }));
            }))),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn order(&mut self, wish: &Wish) -> Result<Obeyed, Refusal> {
        let meant = Meant::new(&wish.named, &self.config)?;
        meant.configured(&wish.named, &self.config)?;
        let now = Moment(self.started.elapsed());
        let deadline = (wish.deed == Deed::Drain).then(|| now.after(wish.deadline.unwrap_or(DRAIN)));
        let orders = meant.whoms().into_iter().map(|whom| Order {
            whom,
            deed: wish.deed,
            reason: wish.reason.clone(),
            given: (self.epoch + now.0).as_secs(),
            until: wish.lasting.map(|time| now.after(time)),
            deadline,
        });
        let orders: Vec<_> = orders.collect();
        if self.director.orders().count() + orders.len() > ORDERS {
            return Err(Refusal::Conflict(format!("there are {ORDERS} orders already: take some back")));
        }
        for order in &orders {
            self.inform(Input::Ordered(order.clone()));
        }
        Ok(self.obeyed(&meant, orders.into_iter().map(Arc::new).collect()))
    }

    fn lift(&mut self, lift: &Lift) -> Result<Obeyed, Refusal> {
        let meant = Meant::new(&lift.named, &self.config)?;
        let of_sort = |order: &&Arc<Order>| lift.sorts.contains(&order.deed.sort());
        let all: Vec<_> = self.director.orders().filter(of_sort).cloned().collect();
        let (lifted, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|order| meant.covers(&order.whom));
        for order in &lifted {
            self.inform(Input::Lifted(order.whom, vec![order.deed.sort()]));
        }
        if lifted.is_empty() {
            meant.configured(&lift.named, &self.config)?;
            let decisions = self.director.decisions().filter(|d| meant.means(d.service, d.server));
            let servers: Vec<_> = decisions.map(|d| (d.service, d.server)).collect();
            let means = |order: &&Arc<Order>| servers.iter().any(|(key, at)| order.whom.means(*key, *at));
            if let Some(wider) = others.iter().find(means) {
                return Err(Refusal::Conflict(format!(
                    "the order is about more than that, and only taken back as a whole: {wider}"
                )));
            }
        }
        Ok(self.obeyed(&meant, lifted))
    }

    fn obeyed(&self, meant: &Meant, orders: Vec<Arc<Order>>) -> Obeyed {
        let servers = self.director.decisions().filter(|d| meant.means(d.service, d.server)).collect();
        Obeyed { orders, servers, epoch: self.epoch, forgotten: None }
    }

    fn snapshot(&self, results: bool) -> Snapshot {
        Snapshot {
            now: Moment(self.started.elapsed()),
            epoch: self.epoch,
            path: self.path.clone(),
            stopping: self.stopping.is_some(),
            active: self.duty.active,
            role: self.duty.why.clone(),
            fitness: self.director.fitness(),
            illness: self.director.illness(),
            pace: self.pace(),
            services: self.director.pools().map(|pool| self.seen(pool, results)).collect(),
            leaving: self.leaving(),
            orders: self.director.orders().cloned().collect(),
        }
    }

    fn seen(&self, pool: &Pool, results: bool) -> Seen {
        let service = pool.service().clone();
        let key = service.key;
        let heard = |server: &crate::model::Server| self.results.of(&server.watch);
        Seen {
            name: self.config.extras.get(&key).and_then(|extras| extras.name.clone()),
            serving: pool.serving(),
            fallback: pool.fallback_serving(),
            fallbacks: pool.fallbacks().map(|(fallback, up)| (fallback.address, up)).collect(),
            decisions: pool.decisions().collect(),
            kernel: self.reconciler.stands(&key).cloned(),
            flows: self.reconciler.flows(&key).cloned().unwrap_or_default(),
            results: if results { service.servers.iter().map(heard).collect() } else { Vec::new() },
            service,
        }
    }

    /// Who left the configuration and is drained.
    fn leaving(&self) -> Vec<Leaving> {
        let mut all = Vec::new();
        for key in self.director.draining() {
            let Some(entry) = self.director.entry(&key) else { continue };
            let service = self.director.pool(&key).map(Pool::service);
            let is_ours = |at| {
                service.is_some_and(|service| {
                    service.servers.iter().any(|server| server.entry == at)
                        || service.policy.fallbacks.iter().any(|fallback| fallback.entry == at)
                })
            };
            let gone = entry.destinations.into_iter().filter(|(at, d)| !d.weight.is_live() && !is_ours(*at));
            let flow = |at| self.reconciler.flows(&key).and_then(|flows| flows.get(&at)).copied();
            all.extend(gone.map(|(at, _)| Leaving { service: key, server: at, flow: flow(at) }));
        }
        all
    }
}
