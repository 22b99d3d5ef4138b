//! The connections of destinations: what a drain waits for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::model::{Protocol, ServiceKey, Weight};

/// What the kernel says of a destination's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The weight it has.
    pub weight: Weight,
    /// Connections that are established.
    pub active: u32,
    /// Others that it knows of: of TCP those that begin or end, of UDP all.
    pub inactive: u32,
}

/// The destinations of services, with their connections.
pub type Flows = BTreeMap<ServiceKey, BTreeMap<SocketAddr, Flow>>;

impl Flow {
    /// How many connections of it are worth waiting for: of TCP those that are established.
    pub fn open(&self, service: &ServiceKey) -> u64 {
        let others = match service {
            ServiceKey::Address(Protocol::Tcp, _) => 0,
            ServiceKey::Address(Protocol::Udp | Protocol::Sctp, _) | ServiceKey::Mark(..) => self.inactive,
        };
        u64::from(self.active) + u64::from(others)
    }
}

/// Of each service the destinations that had weight 0 at the last look already, and have no connection
/// left: one that was taken out just now may still have a handshake under way.
pub fn idle(before: &Flows, now: &Flows) -> BTreeMap<ServiceKey, BTreeSet<SocketAddr>> {
    let quiet = |key: &ServiceKey, at: &SocketAddr| {
        before.get(key).and_then(|flows| flows.get(at)).is_some_and(|flow| !flow.weight.is_live())
    };
    let of = |key: &ServiceKey, flows: &BTreeMap<SocketAddr, Flow>| {
        let idle = flows.iter().filter(|(_, flow)| !flow.weight.is_live() && flow.open(key) == 0);
        idle.map(|(at, _)| *at).filter(|at| quiet(key, at)).collect::<BTreeSet<_>>()
    };
    let all = now.iter().map(|(key, flows)| (*key, of(key, flows)));
    all.filter(|(_, idle)| !idle.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    fn flow(weight: u32, active: u32, inactive: u32) -> Flow {
        Flow { weight: Weight::new(weight).unwrap(), active, inactive }
    }

    fn at(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 80).into()
    }

    #[test]
    fn what_is_waited_for_depends_on_the_protocol() {
        let vip = SocketAddr::from(([192, 0, 2, 10], 80));
        let open = |key| flow(0, 1, 2).open(&key);
        assert_eq!(open(ServiceKey::Address(Protocol::Tcp, vip)), 1);
        assert_eq!(open(ServiceKey::Address(Protocol::Udp, vip)), 3);
        assert_eq!(open(ServiceKey::Mark(Family::V4, 7)), 3);
        // As many as the kernel can count.
        assert_eq!(flow(0, u32::MAX, u32::MAX).open(&ServiceKey::Mark(Family::V4, 7)), 8_589_934_590);
    }

    #[test]
    fn idle_is_who_had_weight_0_at_two_looks_and_has_no_connection() {
        let key = ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, 10], 80).into());
        let look = |flows: [Flow; 4]| Flows::from([(key, (1..=4).map(at).zip(flows).collect())]);
        let before = look([flow(0, 9, 0), flow(1, 0, 0), flow(0, 0, 0), flow(0, 0, 0)]);
        let now = look([flow(0, 0, 5), flow(0, 0, 0), flow(0, 1, 0), flow(1, 0, 0)]);
        assert_eq!(idle(&before, &now), BTreeMap::from([(key, BTreeSet::from([at(1)]))]));
        assert_eq!(idle(&Flows::new(), &now), BTreeMap::new());
        assert_eq!(idle(&now, &now), BTreeMap::from([(key, BTreeSet::from([at(1), at(2)]))]));
    }
}
