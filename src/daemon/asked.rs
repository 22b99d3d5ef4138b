//! What somebody asks over the control socket, answered by the loop: small values, made fast; what is
//! large is put into words by whoever asked.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::named::{self, Meant};
use super::{Daemon, Event};
use crate::director::event::Event as Input;
use crate::director::order::{DRAIN, Deed, Order};
use crate::director::pool::Pool;
use crate::http::ask::{Ask, Leaving, Lift, Obeyed, Refusal, Reloaded, Seen, Snapshot, Wish};
use crate::model::Server;

/// How many orders there may be.
const ORDERS: usize = 10_000;

/// Somebody who waits for a reload to be done.
pub(super) type Waiter = oneshot::Sender<Result<Reloaded, Refusal>>;

impl Daemon {
    pub(super) fn asked(&mut self, ask: Ask) {
        // Who does not wait for his answer any more does not get it.
        match ask {
            Ask::Look(only, reply) => drop(reply.send(self.snapshot(only.as_deref(), false))),
            Ask::LookBack(only, reply) => drop(reply.send(self.snapshot(Some(&only), true))),
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
        let now = self.moment();
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

    fn snapshot(&self, only: Option<&str>, results: bool) -> Snapshot {
        let is_meant = |pool: &&Pool| {
            only.is_none_or(|words| named::is_called(&pool.service().key, words, &self.config))
        };
        Snapshot {
            now: self.moment(),
            epoch: self.epoch,
            path: self.path.clone(),
            stopping: self.stopping.is_some(),
            active: self.duty.active,
            role: self.duty.why.clone(),
            fitness: self.director.fitness(),
            illness: self.director.illness(),
            pace: self.pace(),
            services: self.director.pools().filter(is_meant).map(|pool| self.seen(pool, results)).collect(),
            leaving: self.leaving(),
            orders: self.director.orders().cloned().collect(),
        }
    }

    fn seen(&self, pool: &Pool, results: bool) -> Seen {
        let service = pool.service().clone();
        let key = service.key;
        let heard = |server: &Server| self.results.of(&server.watch);
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
