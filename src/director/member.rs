//! One server in one service: what its results and the reasons beside them add up to. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::order::{Deed, Order};
use super::reason::{Reason, Rule, SPARE};
use crate::model::{Hold, Moment, Policy, Server, Watch, Weight};
use crate::outcome::{Illness, Outcome};
use crate::table::Destination;

/// In how many steps a slow start goes.
const STEPS: u128 = 10;

/// What is known of one server; its configuration stands at the same place in the service.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) health: Health,
    pub(super) since: Moment,
    /// Whether a check has spoken since the server came to us.
    pub(super) spoken: bool,
    /// What the kernel held of it when it came to us.
    pub(super) adopted: Option<Destination>,
    /// A weight that somebody set with a tool of his own.
    pub(super) by_hand: Option<Weight>,
    /// The weight that an operator ordered.
    pub(super) ordered: Option<Weight>,
    pub(super) reasons: Vec<Reason>,
    /// Since when there has been no reason, while no check asked since has spoken.
    waits: Option<Moment>,
    /// Whether it stands in the table without new connections, since it is drained.
    pub(super) draining: bool,
    /// When it leaves the table though it has connections.
    drain_until: Option<Moment>,
    /// Whether it ever had a good result, or carried traffic when it came to us; not since it was taken out.
    pub(super) proven: bool,
    /// Until when its removal is delayed, since it failed with evidence of our own illness.
    pub(super) spared: Option<(Moment, Illness)>,
    /// When it came up beside others, while its slow start lasts.
    risen: Option<Moment>,
    /// When it fell, as long as that may lead to a hold.
    falls: VecDeque<Moment>,
    pub(super) last: Option<Arc<Outcome>>,
}

/// What one result did to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Health before.
    pub(super) before: Health,
    /// Whether it is up now and was not, or the other way round, or was unknown.
    pub(super) turned: bool,
    /// Whether it is the first result of all, or since the reasons went.
    pub(super) first: bool,
    /// Whether bad results went before, that had taken it down.
    pub(super) recovers: bool,
    /// Whether its removal was delayed, and is no longer.
    pub(super) unspared: bool,
}

impl Member {
    /// A server that comes to us, with what the kernel holds of it.
    pub(super) fn new(watch: &Watch, stood: Option<Destination>, now: Moment) -> Member {
        let health = match (watch, &stood) {
            (Watch::On, _) => Health::Up,
            (Watch::Off, _) => Health::Down,
            (Watch::Probe(_), None) => Health::Unknown,
            (Watch::Probe(_), Some(d)) => Health::adopted(d.weight),
        };
        Member {
            health,
            since: now,
            spoken: false,
            proven: health.is_up(),
            adopted: stood,
            by_hand: None,
            ordered: None,
            reasons: Vec::new(),
            waits: None,
            draining: false,
            drain_until: None,
            spared: None,
            risen: None,
            falls: VecDeque::new(),
            last: None,
        }
    }

    /// Nothing is known of it but what the kernel holds of it now, and what was ordered.
    pub(super) fn meet(&mut self, watch: &Watch, stands: Option<Destination>, now: Moment) {
        *self = Member { ordered: self.ordered, ..Member::new(watch, stands, now) };
    }

    /// Whether it counts as up.
    pub(super) fn is_up(&self, watch: &Watch) -> bool {
        match watch {
            Watch::On => self.reasons.is_empty(),
            Watch::Off => false,
            Watch::Probe(_) => self.health.is_up(),
        }
    }

    /// Whether there is a reason against it, or was one and no check has spoken since.
    pub(super) fn is_kept_out(&self) -> bool {
        !self.reasons.is_empty() || self.waits.is_some()
    }

    /// Whether a result of a question asked at that moment counts.
    fn listens(&self, asked: Moment) -> bool {
        self.reasons.is_empty() && self.waits.is_none_or(|since| asked >= since)
    }

    /// Takes in a result; none when it does not count.
    pub(super) fn answered(&mut self, outcome: &Arc<Outcome>, policy: &Policy, now: Moment) -> Option<Turn> {
        self.last = Some(outcome.clone());
        if !self.listens(Moment(now.0.saturating_sub(outcome.took))) {
            return None;
        }
        let fresh = self.waits.take().is_some();
        self.draining = false;
        let (before, first, good) = (self.health, fresh || !self.spoken, outcome.is_good());
        let recovers = self.spoken && !fresh && matches!(before, Health::Down | Health::Recovering(_));
        self.health = before.next(good, first, policy.fall, policy.rise);
        self.spoken = true;
        self.proven |= self.health.is_up();
        let turned = before.is_up() != self.health.is_up() || before == Health::Unknown;
        if turned {
            (self.since, self.by_hand) = (now, None);
        }
        let was_spared = self.spared.is_some();
        self.spare(before, outcome, now);
        if before.is_up() && !self.health.is_up() {
            self.falls.push_back(now);
        }
        Some(Turn { before, turned, first, recovers, unspared: was_spared && self.spared.is_none() })
    }

    /// A fall with evidence of our own illness delays the removal, and so does more of the kind, up to
    /// the ceiling; a failure without evidence is believed.
    fn spare(&mut self, before: Health, outcome: &Outcome, now: Moment) {
        let falls = before.is_up() && !self.health.is_up();
        self.spared = match (self.spared, outcome.illness) {
            _ if outcome.is_good() => None,
            (None, Some(illness)) if falls => Some((now.after(SPARE), illness)),
            (Some((until, _)), Some(illness)) => Some((until, illness)),
            (_, None) | (None, Some(_)) => None,
        };
    }

    /// Whether it fell so often that it has to wait, and until when. It is asked once for each fall.
    pub(super) fn must_hold(&mut self, hold: Option<Hold>, now: Moment) -> Option<Moment> {
        let Some(hold) = hold else {
            self.falls.clear();
            return None;
        };
        self.falls.retain(|at| now.0.saturating_sub(at.0) <= hold.within);
        if self.falls.len() < hold.falls as usize {
            return None;
        }
        self.falls.clear();
        Some(now.after(hold.time))
    }

    /// A reason comes. `drain`: it stands in the table, and shall until it has no connections, or until the
    /// moment that stands in there.
    pub(super) fn take_out(
        &mut self,
        reason: Reason,
        was_up: bool,
        drain: Option<Option<Moment>>,
        now: Moment,
    ) {
        if was_up || self.health == Health::Unknown {
            self.since = now;
        }
        match (&reason, drain) {
            (Reason::Order(order), _) if order.deed == Deed::Disable => self.draining = false,
            // Of several times the longest counts.
            (_, Some(until)) if self.draining => {
                self.drain_until = self.drain_until.zip(until).map(|(one, other)| one.max(other));
            }
            (_, Some(until)) => (self.draining, self.drain_until) = (true, until),
            (_, None) => {}
        }
        // What brings failed servers back in need (`fail_open`) brings nobody back who was taken out.
        (self.health, self.proven) = (Health::Down, false);
        (self.by_hand, self.waits, self.spared, self.risen) = (None, None, None, None);
        self.reasons.push(reason);
    }

    /// Nothing that it drains for is left, or its time is over: it leaves the table.
    pub(super) fn drained(&mut self) -> bool {
        std::mem::take(&mut self.draining)
    }

    /// Reasons may have gone.
    pub(super) fn let_back(&mut self, watch: &Watch, now: Moment) {
        if !self.reasons.is_empty() {
            return;
        }
        match watch {
            Watch::Probe(_) => self.waits = Some(now),
            Watch::On => (self.health, self.since, self.draining) = (Health::Up, now, false),
            Watch::Off => {}
        }
    }

    /// Begins a slow start.
    pub(super) fn rise(&mut self, now: Moment) {
        self.risen = Some(now);
    }

    /// The share of `weight` that its slow start has come to: at least 1, whole tenths of the weight.
    pub(super) fn share(&self, weight: Weight, slow: Option<Duration>, now: Moment) -> Weight {
        let (Some(risen), Some(slow)) = (self.risen, slow) else { return weight };
        let step = passed(risen, slow, now).min(STEPS - 1) + 1;
        let share = (u128::from(weight.get()) * step).div_ceil(STEPS);
        u32::try_from(share).ok().and_then(Weight::new).unwrap_or(weight)
    }

    /// When time alone will change what it is due, by its slow start, its hold or its delayed removal.
    pub(super) fn deadline(&self, slow: Option<Duration>, now: Moment) -> Option<Moment> {
        let step = self.risen.zip(slow).map(|(risen, slow)| {
            // Rounded up: a moment too early would come again and again.
            let next = (passed(risen, slow, now) + 1) * slow.as_nanos();
            risen.after(Duration::from_nanos_u128(next.div_ceil(STEPS)))
        });
        let hold = self.reasons.iter().filter_map(|reason| match reason {
            Reason::Hold(until) => Some(*until),
            Reason::Order(_) | Reason::Maintenance(_) => None,
        });
        let drain = self.drain_until.filter(|_| self.draining);
        hold.chain(step).chain(drain).chain(self.spared.map(|(until, _)| until)).min()
    }

    /// Lets time pass. Says whether what it is due may have changed; whether a hold has ended is seen by
    /// `reasons`.
    pub(super) fn tick(&mut self, slow: Option<Duration>, watch: &Watch, now: Moment) -> bool {
        let ramps = self.risen.is_some();
        if let (Some(risen), Some(slow)) = (self.risen, slow)
            && passed(risen, slow, now) >= STEPS
        {
            self.risen = None;
        }
        let spared = self.spared.take_if(|(until, _)| *until <= now).is_some();
        let held = self.reasons.len();
        self.reasons.retain(|reason| !matches!(reason, Reason::Hold(until) if *until <= now));
        let freed = self.reasons.len() < held;
        if freed {
            self.let_back(watch, now);
        }
        let given_up = self.draining && self.drain_until.is_some_and(|until| until <= now) && self.drained();
        ramps || spared || freed || given_up
    }

    /// The orders that keep it out.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.reasons.iter().filter_map(|reason| match reason {
            Reason::Order(order) => Some(&**order),
            Reason::Maintenance(_) | Reason::Hold(_) => None,
        })
    }

    /// The rule that decides about it, as far as it alone is concerned.
    pub(super) fn rule(&self, watch: &Watch) -> Rule {
        if *watch == Watch::Off {
            return Rule::Off;
        }
        if self.orders().any(|order| order.deed == Deed::Disable) {
            return Rule::Disabled;
        }
        if self.orders().any(|order| order.deed == Deed::Drain) {
            return if self.draining { Rule::Draining } else { Rule::Drained };
        }
        if self.reasons.iter().any(|reason| matches!(reason, Reason::Maintenance(_))) {
            return Rule::Maintenance;
        }
        match (watch, self.health) {
            _ if !self.reasons.is_empty() => Rule::Hold,
            _ if self.waits.is_some() => Rule::Waiting,
            _ if self.by_hand.is_some() && self.is_up(watch) => Rule::ByHand,
            _ if self.ordered.is_some() && self.is_up(watch) => Rule::Ordered,
            (Watch::On | Watch::Off, _) => Rule::On,
            (Watch::Probe(_), Health::Unknown) => Rule::NotChecked,
            (Watch::Probe(_), Health::Up | Health::Failing(_)) if self.risen.is_some() => Rule::Rising,
            (Watch::Probe(_), Health::Up | Health::Failing(_)) => Rule::Up,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) if !self.spoken => Rule::Adopted,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) if self.spared.is_some() => Rule::Spared,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) => Rule::Failed,
        }
    }

    /// What stays known of a server over a reload. Who asks may have changed, and then the new
    /// question has not been answered yet; what was believed of the server stays all the same.
    pub(super) fn carried(
        &self,
        before: &Server,
        after: &Server,
        stood: Option<&Destination>,
        now: Moment,
    ) -> Member {
        if before.watch == after.watch {
            let moved = Server { origin: after.origin.clone(), ..before.clone() };
            let by_hand = self.by_hand.filter(|_| moved == *after);
            return Member { by_hand, ..self.clone() };
        }
        if !matches!(after.watch, Watch::Probe(_)) {
            let member = Member::new(&after.watch, None, now);
            let health = if self.reasons.is_empty() { member.health } else { Health::Down };
            let (reasons, draining, ordered) = (self.reasons.clone(), self.draining, self.ordered);
            return Member { health, reasons, draining, drain_until: self.drain_until, ordered, ..member };
        }
        let health = match self.health {
            Health::Unknown => Health::Unknown,
            up if up.is_up() => Health::Up,
            _ => Health::Down,
        };
        // What stands live now does so for other reasons: as a fallback, say.
        let adopted = stood.filter(|destination| !destination.weight.is_live()).cloned();
        Member { health, adopted, by_hand: None, ..self.clone() }
    }
}

/// How many of the steps of a slow start have passed.
fn passed(risen: Moment, slow: Duration, now: Moment) -> u128 {
    now.0.saturating_sub(risen.0).as_nanos() * STEPS / slow.as_nanos().max(1)
}
