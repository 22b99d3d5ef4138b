//! Evidence that this host, not a server, is the reason for a failed check.
//!
//! What a failure itself says (no descriptors, no ports, no buffers, timers late) is in it already. Here the
//! way to a server that could not be reached is looked at: is there a route, does its interface have a
//! carrier, does its gateway answer. A server on our own link that does not answer is its own fault.
//! Only failures are looked into; what was seen of a route, an interface or a gateway holds for a moment,
//! and for what began before, so that a thousand servers that fail at once cost a few looks.

mod memo;
mod rtnetlink;
mod way;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::lock;
use crate::outcome::{Illness, Outcome, Reason};
use memo::Memo;
use rtnetlink::Rtnetlink;
pub use way::{Gateway, Look, State, Way};

/// How long a gateway is given to answer: two requests of the kernel's, which come a second apart.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often is looked whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// How long all of it may take; then a failure is believed.
const LIMIT: Duration = Duration::from_millis(2500);

/// How long the kernel looks for a neighbour before it says that there is none (three requests, a second
/// apart; `mcast_solicit` and `retrans_time_ms`), and a second for a host that is slow. "Unreachable" rests on all of it.
const NEIGHBOUR: Duration = Duration::from_secs(4);

/// What kept us from somebody, and when a look found it gone.
#[derive(Debug, Clone, Copy)]
struct Blame {
    illness: Illness,
    over: Option<Instant>,
}

/// Finds evidence. Asks the kernel on threads that may block, one question at a time.
pub struct Evidence {
    turn: Semaphore,
    /// None while a question is under way, or when there is no socket.
    look: Arc<Mutex<Option<Box<dyn Look>>>>,
    /// Whom we could not reach through faults of our own, and since when their way has been well again.
    blamed: Mutex<BTreeMap<IpAddr, Blame>>,
    ways: Memo<IpAddr, Option<Way>>,
    carriers: Memo<u32, bool>,
    gateways: Memo<Gateway, bool>,
}

impl Evidence {
    /// Evidence from the kernel, in the network namespace of the calling thread.
    pub fn from_kernel() -> Evidence {
        // Without a socket there is no evidence, and failures are believed.
        Evidence::with(Rtnetlink::open().ok().map(|socket| Box::new(socket) as Box<dyn Look>))
    }

    /// Evidence from somebody else.
    pub fn with(look: Option<Box<dyn Look>>) -> Evidence {
        let (ways, carriers, gateways) = (Memo::default(), Memo::default(), Memo::default());
        let (turn, look, blamed) = (Semaphore::new(1), Arc::new(Mutex::new(look)), Mutex::default());
        Evidence { turn, look, blamed, ways, carriers, gateways }
    }

    /// Notes in an outcome what speaks against this host; `peer` is who was asked.
    pub async fn examine(&self, outcome: &mut Outcome, peer: Option<IpAddr>) {
        let Some(peer) = peer else { return };
        let Err(failure) = &*outcome.result else {
            lock(&self.blamed).remove(&peer);
            return;
        };
        if outcome.illness.is_none() && matches!(failure.reason, Reason::Timeout | Reason::Unreachable) {
            let now = Instant::now();
            let looked = if failure.reason == Reason::Unreachable { NEIGHBOUR } else { Duration::ZERO };
            let begun = now.checked_sub(outcome.took).unwrap_or(now);
            let spoiled = begun.checked_sub(looked).unwrap_or(begun);
            // Boxed, so that the tasks of all probes, which are well most of the time, hold no room for it.
            let seen = timeout(LIMIT, Box::pin(self.on_the_way(peer, begun))).await.ok().flatten();
            outcome.illness = self.in_force(peer, seen, spoiled);
        }
    }

    /// What counts against this host in an exchange that may have been spoiled since `begun`, given what is
    /// seen now: an illness that a look finds gone has spoiled what was under way.
    fn in_force(&self, peer: IpAddr, seen: Option<Illness>, begun: Instant) -> Option<Illness> {
        let mut blamed = lock(&self.blamed);
        if let Some(illness) = seen {
            blamed.insert(peer, Blame { illness, over: None });
            return seen;
        }
        let blame = blamed.get_mut(&peer)?;
        let over = *blame.over.get_or_insert_with(Instant::now);
        if begun < over {
            return Some(blame.illness);
        }
        blamed.remove(&peer);
        None
    }

    /// What is wrong on this host's side of the way to `peer`, or was since.
    async fn on_the_way(&self, peer: IpAddr, since: Instant) -> Option<Illness> {
        let way = self.ways.get(peer, since, self.ask(move |look| look.way(peer), None)).await?;
        let Way::Out { interface, gateway } = way else { return Some(Illness::NoRoute) };
        let carrier = self.ask(move |look| look.has_carrier(interface), true);
        if !self.carriers.get(interface, since, carrier).await {
            return Some(Illness::NoCarrier);
        }
        let gateway = Gateway { interface, address: gateway? };
        (!self.gateways.get(gateway, since, self.answers(gateway)).await).then_some(Illness::Gateway)
    }

    /// Whether a gateway answers. One that the kernel believes in, since it did a while ago, is asked anew.
    async fn answers(&self, gateway: Gateway) -> bool {
        let state = move |look: &mut dyn Look| look.state(gateway);
        match self.ask(state, State::Unknown).await {
            State::Silent => return false,
            State::Unknown => return true,
            State::Asking => {}
            State::Believed => self.ask(move |look| look.solicit(gateway), ()).await,
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.ask(state, State::Unknown).await {
                State::Silent => return false,
                State::Asking if Instant::now() >= end => return false,
                State::Asking => sleep(GLANCE).await,
                State::Believed | State::Unknown => return true,
            }
        }
    }

    /// Puts a question to the kernel; `without` is the answer when that can not be done.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Look) -> T + Send + 'static,
        without: T,
    ) -> T {
        // The semaphore is never closed.
        let Ok(_turn) = self.turn.acquire().await else { return without };
        let home = self.look.clone();
        let asking = tokio::task::spawn_blocking(move || {
            // Not there: a question hangs in the kernel, and who asked it has given up.
            let mut look = lock(&home).take()?;
            let answer = question(look.as_mut());
            *lock(&home) = Some(look);
            Some(answer)
        });
        asking.await.ok().flatten().unwrap_or(without)
    }
}

#[cfg(test)]
mod tests;
