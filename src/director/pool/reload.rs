//! What stays known of a service over a reload, and what is drained that a reload drops. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::leaving::Leaving;
use super::{Pool, entries};
use crate::director::member::Member;
use crate::model::{Fallback, Moment, Removal, Server, Service, Weight};
use crate::table::{Destination, Entry};

impl Pool {
    /// The same service under a new configuration: servers that stay keep what is known of them.
    pub fn reconfigured(&self, service: Arc<Service>, now: Moment) -> Pool {
        let stands = self.entry();
        let mut old: Vec<Option<(&Server, &Member)>> =
            self.service.servers.iter().zip(self.servers()).map(Some).collect();
        let mut known = |server: &Server| {
            let same = |slot: &Option<(&Server, &Member)>| {
                slot.is_some_and(|(s, _)| s.entry == server.entry && s.address == server.address)
            };
            old.iter_mut().find(|slot| same(slot)).and_then(Option::take)
        };
        let servers = service.servers.iter().map(|server| match known(server) {
            Some((before, member)) => {
                member.carried(before, server, stands.destinations.get(&server.entry), now)
            }
            None => Member::new(&server.watch, stands.destinations.get(&server.entry).cloned(), now),
        });
        let fallbacks = service.policy.fallbacks.iter().map(|fallback| self.resort(fallback, now));
        let mut members: Vec<Member> = servers.chain(fallbacks).collect();
        if service.policy.slow_start.is_none() {
            members.iter_mut().for_each(Member::rise_at_once);
        }
        let leaving = self.dropped(&service, &stands, now).into();
        let (all_down, last_up) = (self.all_down, self.last_up);
        Pool { all_down, last_up, leaving, ..Pool::with(service, members, stands.destinations, now) }
    }

    /// The service when it has left the configuration, as long as its servers are drained; none when
    /// that is not wanted.
    pub fn dismissed(&self, now: Moment) -> Option<Pool> {
        let Removal::Drain(_) = self.service.policy.removal else { return None };
        let mut service = Service::clone(&self.service);
        service.servers.clear();
        service.policy.fallbacks.clear();
        let leaving = self.dropped(&service, &self.entry(), now);
        let pool = Pool::with(Arc::new(service), Vec::new(), BTreeMap::new(), now);
        let leaving = Leaving::from(leaving);
        (!leaving.is_empty()).then_some(Pool { leaving, dismissed: true, all_down: true, ..pool })
    }

    /// What is known of a fallback that may have been one before.
    fn resort(&self, fallback: &Fallback, now: Moment) -> Member {
        let mut old = self.service.policy.fallbacks.iter().zip(self.resorts());
        let same = old.find(|(before, _)| *before == fallback);
        same.map_or_else(|| Member::new(&fallback.watch, None, now), |(_, member)| member.clone())
    }

    /// What is drained once a new configuration is in force: what was before, and who has left since.
    fn dropped(
        &self,
        after: &Service,
        stands: &Entry,
        now: Moment,
    ) -> BTreeMap<SocketAddr, (Destination, Moment)> {
        let Removal::Drain(time) = after.policy.removal else { return BTreeMap::new() };
        let (are, were) = (entries(after), entries(&self.service));
        let gone = stands.destinations.iter().filter(|(at, _)| were.contains(at));
        let gone =
            gone.map(|(at, d)| (*at, (Destination { weight: Weight::ZERO, ..d.clone() }, now.after(time))));
        let mut leaving: BTreeMap<_, _> = gone.collect();
        leaving.extend(self.leaving.all().clone());
        leaving.retain(|at, _| !are.contains(at));
        leaving
    }
}
