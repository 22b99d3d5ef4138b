//! Servers that left the configuration and are drained. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::Moment;
use crate::table::Destination;

/// Each by its address in the table: what stands of it there, and until when.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    all: BTreeMap<SocketAddr, (Destination, Moment)>,
    /// When the first of them has to be gone.
    first: Option<Moment>,
}

impl From<BTreeMap<SocketAddr, (Destination, Moment)>> for Leaving {
    fn from(all: BTreeMap<SocketAddr, (Destination, Moment)>) -> Leaving {
        let first = all.values().map(|(_, until)| *until).min();
        Leaving { all, first }
    }
}

impl Leaving {
    /// Those who have nothing left are gone. Says whether some were.
    pub(super) fn idle(&mut self, is_idle: impl Fn(&SocketAddr) -> bool) -> bool {
        self.retain(|at, _| !is_idle(at))
    }

    /// Those whose time is over are gone. Says whether some were.
    pub(super) fn tick(&mut self, now: Moment) -> bool {
        self.first.is_some_and(|first| first <= now) && self.retain(|_, until| now < until)
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.first
    }

    pub(super) fn all(&self) -> &BTreeMap<SocketAddr, (Destination, Moment)> {
        &self.all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn retain(&mut self, stays: impl Fn(&SocketAddr, Moment) -> bool) -> bool {
        let before = self.all.len();
        let mut all = std::mem::take(&mut self.all);
        all.retain(|at, (_, until)| stays(at, *until));
        *self = Leaving::from(all);
        self.all.len() < before
    }
}
