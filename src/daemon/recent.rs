//! What was told lately: a bounded list, and a channel for those who want to hear more. A slow listener
//! misses some, and hears how many; nobody waits for him.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::telling::Told;
use crate::director::event::{Decision, Notice};
use crate::http::ask::{self, Happening};
use crate::model::ServiceKey;

/// How many are kept, and how many may wait for a listener.
const ROOM: usize = 1000;

/// What was told lately.
pub struct Recent {
    told: VecDeque<Arc<Happening>>,
    next: broadcast::Sender<Arc<Happening>>,
    number: u64,
    /// When the loop woke, by people's clock, if something was told since.
    woke: Option<Timestamp>,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { told: VecDeque::new(), next: broadcast::Sender::new(ROOM), number: 0, woke: None }
    }
}

impl Recent {
    /// The loop woke: what it tells until it sleeps again has one time.
    pub fn woke(&mut self) {
        self.woke = None;
    }

    /// Something was told.
    pub fn add(
        &mut self,
        id: &'static str,
        service: Option<ServiceKey>,
        server: Option<SocketAddr>,
        text: String,
    ) {
        self.number += 1;
        let (service, server) = (service.map(|key| key.id()), server.map(|at| at.to_string()));
        let time = self.woke.get_or_insert_with(Timestamp::now).to_string();
        let happening =
            Arc::new(Happening { number: self.number, time, id: id.into(), service, server, text });
        if self.told.len() == ROOM {
            self.told.pop_front();
        }
        self.told.push_back(happening.clone());
        // It fails when nobody listens.
        let _ = self.next.send(happening);
    }

    /// A notice was told, under this id.
    pub fn notice(&mut self, id: &'static str, notice: &Notice) {
        let (service, server) = about(notice);
        self.add(id, service, server, notice.to_string());
    }

    /// A change of the table was told.
    pub fn told(&mut self, told: &Told) {
        self.add("table-changed", Some(told.service), told.server, told.line.clone());
    }

    /// What was told, and what will be.
    pub fn all(&self) -> ask::Recent {
        ask::Recent { told: self.told.iter().cloned().collect(), next: self.next.subscribe() }
    }
}

/// Whom a notice is about.
fn about(notice: &Notice) -> (Option<ServiceKey>, Option<SocketAddr>) {
    let server = |d: &Decision| (Some(d.service), Some(d.server));
    match notice {
        Notice::Changed(d)
        | Notice::Soft(d, ..)
        | Notice::SoftOver(d)
        | Notice::ByHand(d)
        | Notice::Maintenance(d, _)
        | Notice::MaintenanceOver(d)
        | Notice::Ordered(d, _)
        | Notice::OrderOver(d, _)
        | Notice::WeightBack(d)
        | Notice::Drained(d)
        | Notice::Held(d, _)
        | Notice::HoldOver(d) => server(d),
        Notice::Fallback(key, at, _) => (Some(*key), Some(*at)),
        Notice::AllDown(key, _) | Notice::Served(key) => (Some(*key), None),
        Notice::Ill(_) | Notice::StillIll | Notice::Well => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    #[test]
    fn the_oldest_make_room_and_who_is_slow_hears_how_many_he_missed() {
        let mut recent = Recent::default();
        let mut slow = recent.all().next;
        for n in 0..3 * ROOM {
            recent.add("test", None, None, format!("line {n}"));
        }
        let all = recent.all();
        assert_eq!((all.told.len(), all.told[0].number), (ROOM, 2 * ROOM as u64 + 1));
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(missed)) if missed >= ROOM as u64));
        assert!(slow.try_recv().is_ok(), "and goes on with what is left");
    }
}
