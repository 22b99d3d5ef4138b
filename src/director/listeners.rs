//! Who hears a probe. Pure.

use super::pool::Pool;
use crate::model::{ProbeKey, ServiceKey, Watch};

/// The servers that each probe speaks for: all in one piece, since there are many, of 24 bytes each.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    services: Vec<ServiceKey>,
    /// In order: the probe, the service's place in `services`, the server's place in its service.
    all: Vec<(ProbeKey, u32, u32)>,
}

impl Listeners {
    /// Those of all these services.
    pub(super) fn of_all<'a>(pools: impl Iterator<Item = &'a Pool>) -> Listeners {
        let mut listeners = Listeners::default();
        for (pool, at) in pools.zip(0..) {
            let service = pool.service();
            listeners.services.push(service.key);
            let servers = service.servers.iter().map(|server| &server.watch);
            let watches = servers.chain(service.policy.fallbacks.iter().map(|fallback| &fallback.watch));
            listeners.all.extend(watches.zip(0..).filter_map(|(watch, place)| match watch {
                Watch::Probe(probe) => Some((*probe, at, place)),
                Watch::On | Watch::Off => None,
            }));
        }
        listeners.all.sort_unstable();
        listeners.all.shrink_to_fit();
        listeners
    }

    /// Who hears this probe, in order: service, and place among its servers.
    pub(super) fn of(&self, probe: &ProbeKey) -> impl Iterator<Item = (ServiceKey, usize)> {
        let first = self.all.partition_point(|(key, ..)| key < probe);
        let heard = self.all[first..].iter().take_while(move |(key, ..)| key == probe);
        heard.map(|listener| self.named(listener))
    }

    /// Who hears a probe that others hear too; those of one probe together.
    pub(super) fn shared(&self) -> impl Iterator<Item = Vec<(ServiceKey, usize)>> {
        let of_one = self.all.chunk_by(|(one, ..), (other, ..)| one == other);
        of_one.filter(|all| all.len() > 1).map(|all| all.iter().map(|one| self.named(one)).collect())
    }

    fn named(&self, (_, service, place): &(ProbeKey, u32, u32)) -> (ServiceKey, usize) {
        (self.services[*service as usize], *place as usize)
    }
}
