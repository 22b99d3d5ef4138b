//! What operators decide about servers: drain, disable, another weight. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Moment, ServiceKey, Weight};

/// Which servers an order is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whom {
    /// The server's address, as configured.
    pub ip: IpAddr,
    /// Its port as configured; none for whatever port.
    pub port: Option<u16>,
    /// The service; none for wherever the server stands.
    pub service: Option<ServiceKey>,
}

impl Whom {
    /// Whether it means this server of that service.
    pub fn means(&self, service: ServiceKey, server: SocketAddr) -> bool {
        self.ip == server.ip()
            && self.port.is_none_or(|port| port == server.port())
            && self.service.is_none_or(|key| key == service)
    }
}

impl fmt::Display for Whom {
    /// `10.0.0.1:80 of tcp:192.0.2.10:80`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.ip, port))?,
            None => write!(f, "{}", self.ip)?,
        }
        self.service.map_or(Ok(()), |service| write!(f, " of {}", service.id()))
    }
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// No new connections; out of the table when none are left.
    Drain,
    /// Out of the table at once.
    Disable,
    /// This weight while it is up.
    Weight(Weight),
}

/// The kinds of [`Deed`], of which each server has at most one order each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// [`Deed::Drain`].
    Drain,
    /// [`Deed::Disable`].
    Disable,
    /// [`Deed::Weight`].
    Weight,
}

impl Deed {
    /// Its kind.
    pub fn sort(self) -> Sort {
        match self {
            Deed::Drain => Sort::Drain,
            Deed::Disable => Sort::Disable,
            Deed::Weight(_) => Sort::Weight,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Drain => f.write_str("drain"),
            Deed::Disable => f.write_str("disable"),
            Deed::Weight(weight) => write!(f, "weight {weight}"),
        }
    }
}

/// One decision of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// About whom.
    pub whom: Whom,
    /// What.
    pub deed: Deed,
    /// Why, in his own words.
    pub reason: Option<String>,
    /// When it was given, by people's clock: seconds since 1970. Only ever shown.
    pub given: u64,
    /// When it ends by itself.
    pub until: Option<Moment>,
    /// When a server that is drained leaves though it has connections.
    pub deadline: Option<Moment>,
}

impl fmt::Display for Order {
    /// `drain 10.0.0.1:80 (new kernel)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.deed, self.whom)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// How long a drain may take when nobody says.
pub const DRAIN: Duration = Duration::from_secs(300);

/// All orders in force.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    all: BTreeMap<(Whom, Sort), Arc<Order>>,
    /// When the next one ends.
    first: Option<Moment>,
}

impl Orders {
    /// Puts an order in force; one of the same kind about the same servers is replaced.
    pub fn give(&mut self, order: Order) {
        self.all.insert((order.whom, order.deed.sort()), Arc::new(order));
        self.look();
    }

    /// Takes back what was ordered about these servers. The answer is what there was.
    pub fn lift(&mut self, whom: &Whom, sorts: &[Sort]) -> Vec<Arc<Order>> {
        let lifted = sorts.iter().filter_map(|sort| self.all.remove(&(*whom, *sort))).collect();
        self.look();
        lifted
    }

    /// Ends those whose time has come. Says whether there were some.
    pub fn expire(&mut self, now: Moment) -> bool {
        let before = self.all.len();
        self.all.retain(|_, order| order.until.is_none_or(|until| now < until));
        self.look();
        self.all.len() < before
    }

    /// When the next one ends.
    pub fn deadline(&self) -> Option<Moment> {
        self.first
    }

    fn look(&mut self) {
        self.first = self.all.values().filter_map(|order| order.until).min();
    }

    /// Those about this server of that service.
    pub fn about(&self, service: ServiceKey, server: SocketAddr) -> impl Iterator<Item = &Arc<Order>> {
        let first = Whom { ip: server.ip(), port: None, service: None };
        let same =
            self.all.range((first, Sort::Drain)..).take_while(move |((whom, _), _)| whom.ip == first.ip);
        same.map(|(_, order)| order).filter(move |order| order.whom.means(service, server))
    }

    /// All of them, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.all.values()
    }
}
