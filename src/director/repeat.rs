//! When people are told again of servers that stay down. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::{Moment, ServiceKey};

/// A clock for every server that is down and is to be told of again and again.
#[derive(Debug, Default)]
pub struct Repeats {
    clocks: BTreeMap<ServiceKey, BTreeMap<SocketAddr, Clock>>,
    /// The same by the moment each is due.
    queue: BTreeSet<(Moment, ServiceKey, SocketAddr)>,
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    /// When the server went down, or was last told of.
    last: Moment,
    every: Duration,
}

impl Clock {
    fn due(&self) -> Moment {
        self.last.after(self.every)
    }
}

impl Repeats {
    /// These servers of a service are down and no others. Clocks of servers that were down before go
    /// on; the others' begin now or end. Without `every`, or with 0, nothing is told again.
    pub fn set(
        &mut self,
        service: ServiceKey,
        down: &BTreeSet<SocketAddr>,
        every: Option<Duration>,
        now: Moment,
    ) {
        let old = self.clocks.remove(&service).unwrap_or_default();
        for (server, clock) in &old {
            self.queue.remove(&(clock.due(), service, *server));
        }
        let Some(every) = every.filter(|every| !every.is_zero()) else { return };
        let mut clocks = BTreeMap::new();
        for server in down {
            let last = old.get(server).map_or(now, |clock| clock.last);
            let clock = Clock { last, every };
            clocks.insert(*server, clock);
            self.queue.insert((clock.due(), service, *server));
        }
        if !clocks.is_empty() {
            self.clocks.insert(service, clocks);
        }
    }

    /// Nothing is told again of anybody.
    pub fn clear(&mut self) {
        *self = Repeats::default();
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.queue.first().map(|(due, ..)| *due)
    }

    /// The next server that is to be told of again at `now`; its clock starts anew, without drift.
    pub fn poll(&mut self, now: Moment) -> Option<(ServiceKey, SocketAddr)> {
        let next = self.queue.first().copied().filter(|(due, ..)| *due <= now)?;
        let (due, service, server) = next;
        self.queue.remove(&next);
        if let Some(clock) = self.clocks.get_mut(&service).and_then(|clocks| clocks.get_mut(&server)) {
            // What was missed, by a machine that slept say, is not told after the fact.
            clock.last = if due.after(clock.every) > now { due } else { now };
            self.queue.insert((clock.due(), service, server));
        }
        Some((service, server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn service(n: u8) -> ServiceKey {
        ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, n], 80).into())
    }

    fn server(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 80).into()
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn all(repeats: &mut Repeats, now: u64) -> Vec<(ServiceKey, SocketAddr)> {
        std::iter::from_fn(|| repeats.poll(at(now))).collect()
    }

    const EVERY: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_server_that_stays_down_is_told_of_at_exact_intervals() {
        let mut repeats = Repeats::default();
        repeats.set(service(1), &[server(1)].into(), EVERY, at(10));
        assert_eq!(repeats.deadline(), Some(at(70)));
        assert_eq!(all(&mut repeats, 69), []);
        // Two seconds late: the next is due when it would have been.
        assert_eq!(all(&mut repeats, 72), [(service(1), server(1))]);
        assert_eq!(repeats.deadline(), Some(at(130)));
        // Slept over several: one is told, and the clock begins anew.
        assert_eq!(all(&mut repeats, 1000), [(service(1), server(1))]);
        assert_eq!(repeats.deadline(), Some(at(1060)));
    }

    #[test]
    fn each_server_has_a_clock_of_its_own_and_one_that_is_up_has_none() {
        let mut repeats = Repeats::default();
        repeats.set(service(1), &[server(1)].into(), EVERY, at(0));
        repeats.set(service(1), &[server(1), server(2)].into(), EVERY, at(30));
        repeats.set(service(2), &[server(1)].into(), EVERY, at(31));
        assert_eq!(all(&mut repeats, 60), [(service(1), server(1))]);
        repeats.set(service(1), &[server(2)].into(), EVERY, at(61));
        assert_eq!(all(&mut repeats, 95), [(service(1), server(2)), (service(2), server(1))]);
        repeats.set(service(1), &[].into(), EVERY, at(96));
        repeats.set(service(2), &[].into(), EVERY, at(96));
        assert_eq!(repeats.deadline(), None);
        assert!(repeats.clocks.is_empty());
    }

    #[test]
    fn another_interval_counts_from_when_the_server_was_last_told_of() {
        let mut repeats = Repeats::default();
        repeats.set(service(1), &[server(1)].into(), EVERY, at(0));
        repeats.set(service(1), &[server(1)].into(), Some(Duration::from_secs(20)), at(30));
        assert_eq!(all(&mut repeats, 30), [(service(1), server(1))]);
        assert_eq!(repeats.deadline(), Some(at(40)));
        for none in [None, Some(Duration::ZERO)] {
            repeats.set(service(1), &[server(1)].into(), none, at(31));
            assert_eq!(repeats.deadline(), None);
        }
    }
}
