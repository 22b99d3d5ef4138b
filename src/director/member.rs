//! One server in one service: what its results and the reasons beside them add up to. Pure.

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
    /// Whether it stands in the table without new connections, since it is drained.
    pub(super) draining: bool,
    /// Whether it ever had a good result, or carried traffic when it came to us; not since it was taken out.
    pub(super) proven: bool,
    pub(super) last: Option<Outcome>,
    /// There are many servers, and with most of them nothing is special.
    special: Option<Box<Special>>,
}

/// What there is to know of few servers at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Special {
    /// What the kernel held of it when it came to us, until a check has spoken.
    pub(super) adopted: Option<Destination>,
    /// A weight that somebody set with a tool of his own.
    pub(super) by_hand: Option<Weight>,
    /// The weight that an operator ordered.
    pub(super) ordered: Option<Weight>,
    pub(super) reasons: Vec<Reason>,
    /// Since when there has been no reason, while no check asked since has spoken.
    waits: Option<Moment>,
    /// When it leaves the table though it has connections.
    drain_until: Option<Moment>,
    /// Until when its removal is delayed, since it failed with evidence of our own illness.
    pub(super) spared: Option<(Moment, Illness)>,
    /// When it came up beside others, while its slow start lasts.
    risen: Option<Moment>,
    /// When it fell, as long as that may lead to a hold.
    falls: Vec<Moment>,
}

/// Of a server with which nothing is special.
static NOTHING: Special = Special {
    adopted: None,
    by_hand: None,
    ordered: None,
    reasons: Vec::new(),
    waits: None,
    drain_until: None,
    spared: None,
    risen: None,
    falls: Vec::new(),
};

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
        let proven = health.is_up();
        let special = Special { adopted: stood, ..Special::default() }.boxed();
        Member { health, since: now, spoken: false, draining: false, proven, last: None, special }
    }

    /// What is special about it.
    pub(super) fn special(&self) -> &Special {
        self.special.as_deref().unwrap_or(&NOTHING)
    }

    pub(super) fn special_mut(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }

    /// Needs no more memory than what is special about it.
    pub(super) fn tidy(&mut self) {
        if let Some(special) = &mut self.special {
            special.drain_until.take_if(|_| !self.draining);
        }
        self.special.take_if(|special| **special == NOTHING);
    }

    /// Nothing is known of it but what the kernel holds of it now, and what was ordered.
    pub(super) fn meet(&mut self, watch: &Watch, stands: Option<Destination>, now: Moment) {
        let met = Member::new(watch, stands, now);
        let special = Special { ordered: self.special().ordered, ..met.special().clone() }.boxed();
        *self = Member { special, ..met };
    }

    /// Whether it counts as up.
    pub(super) fn is_up(&self, watch: &Watch) -> bool {
        match watch {
            Watch::On => self.special().reasons.is_empty(),
            Watch::Off => false,
            Watch::Probe(_) => self.health.is_up(),
        }
    }

    /// Whether there is a reason against it, or was one and no check has spoken since.
    pub(super) fn is_kept_out(&self) -> bool {
        let special = self.special();
        !special.reasons.is_empty() || special.waits.is_some()
    }

    /// Whether a check has spoken about it, or none needs to, since it is out for other reasons.
    pub(super) fn has_heard(&self) -> bool {
        self.spoken || self.is_kept_out()
    }

    /// Whether a result of a question asked at that moment counts.
    fn listens(&self, asked: Moment) -> bool {
        let special = self.special();
        special.reasons.is_empty() && special.waits.is_none_or(|since| asked >= since)
    }

    /// Takes in a result; none when it does not count.
    pub(super) fn answered(&mut self, outcome: &Outcome, policy: &Policy, now: Moment) -> Option<Turn> {
        self.last = Some(outcome.clone());
        if !self.listens(Moment(now.0.saturating_sub(outcome.took))) {
            return None;
        }
        let fresh = self.special().waits.is_some();
        self.draining = false;
        let (before, first, good) = (self.health, fresh || !self.spoken, outcome.is_good());
        let recovers = self.spoken && !fresh && matches!(before, Health::Down | Health::Recovering(_));
        self.health = before.next(good, first, policy.fall, policy.rise);
        self.spoken = true;
        self.proven |= self.health.is_up();
        let turned = before.is_up() != self.health.is_up() || before == Health::Unknown;
        if turned {
            self.since = now;
        }
        if let Some(special) = &mut self.special {
            (special.waits, special.adopted) = (None, None);
            special.by_hand.take_if(|_| turned);
        }
        let falls = before.is_up() && !self.health.is_up();
        self.spare(falls, outcome, now);
        if falls && policy.hold.is_some() {
            self.special_mut().falls.push(now);
        }
        Some(Turn { before, turned, first, recovers })
    }

    /// A fall with evidence of our own illness delays the removal, and so does more of the kind, up to
    /// the ceiling; a failure without evidence is believed.
    fn spare(&mut self, falls: bool, outcome: &Outcome, now: Moment) {
        let spared = match (self.special().spared, outcome.illness) {
            _ if outcome.is_good() => None,
            (None, Some(illness)) if falls => Some((now.after(SPARE), illness)),
            (Some((until, _)), Some(illness)) => Some((until, illness)),
            (_, None) | (None, Some(_)) => None,
        };
        if spared != self.special().spared {
            self.special_mut().spared = spared;
        }
    }

    /// Whether it fell so often that it has to wait, and until when. It is asked once for each fall.
    pub(super) fn must_hold(&mut self, hold: Option<Hold>, now: Moment) -> Option<Moment> {
        let falls = &mut self.special.as_mut()?.falls;
        let Some(hold) = hold else {
            falls.clear();
            return None;
        };
        falls.retain(|at| now.0.saturating_sub(at.0) <= hold.within);
        if falls.len() < hold.falls as usize {
            return None;
        }
        falls.clear();
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
        let special = self.special.get_or_insert_default();
        match (&reason, drain) {
            (Reason::Order(order), _) if order.deed == Deed::Disable => self.draining = false,
            // Of several times the longest counts.
            (_, Some(until)) if self.draining => {
                special.drain_until = special.drain_until.zip(until).map(|(one, other)| one.max(other));
            }
            (_, Some(until)) => (self.draining, special.drain_until) = (true, until),
            (_, None) => {}
        }
        // What brings failed servers back in need (`fail_open`) brings nobody back who was taken out.
        (self.health, self.proven) = (Health::Down, false);
        (special.by_hand, special.waits, special.spared, special.risen) = (None, None, None, None);
        special.reasons.push(reason);
    }

    /// Reasons may have gone.
    pub(super) fn let_back(&mut self, watch: &Watch, now: Moment) {
        if !self.special().reasons.is_empty() {
            return;
        }
        match watch {
            Watch::Probe(_) => self.special_mut().waits = Some(now),
            Watch::On => (self.health, self.since, self.draining) = (Health::Up, now, false),
            Watch::Off => {}
        }
    }

    /// Begins a slow start.
    pub(super) fn rise(&mut self, now: Moment) {
        self.special_mut().risen = Some(now);
    }

    /// There is no slow start any more.
    pub(super) fn rise_at_once(&mut self) {
        if let Some(special) = &mut self.special {
            special.risen = None;
        }
    }

    /// The share of `weight` that its slow start has come to: at least 1, whole tenths of the weight.
    pub(super) fn share(&self, weight: Weight, slow: Option<Duration>, now: Moment) -> Weight {
        let (Some(risen), Some(slow)) = (self.special().risen, slow) else { return weight };
        let step = passed(risen, slow, now).min(STEPS - 1) + 1;
        let share = (u128::from(weight.get()) * step).div_ceil(STEPS);
        u32::try_from(share).ok().and_then(Weight::new).unwrap_or(weight)
    }

    /// When time alone will change what it is due, by its slow start, its hold or its delayed removal.
    pub(super) fn deadline(&self, slow: Option<Duration>, now: Moment) -> Option<Moment> {
        let special = self.special.as_deref()?;
        let step = special.risen.zip(slow).map(|(risen, slow)| {
            // Rounded up: a moment too early would come again and again.
            let next = (passed(risen, slow, now) + 1) * slow.as_nanos();
            risen.after(Duration::from_nanos_u128(next.div_ceil(STEPS)))
        });
        let hold = special.reasons.iter().filter_map(|reason| match reason {
            Reason::Hold(until) => Some(*until),
            Reason::Order(_) | Reason::Maintenance(_) => None,
        });
        let drain = special.drain_until.filter(|_| self.draining);
        hold.chain(step).chain(drain).chain(special.spared.map(|(until, _)| until)).min()
    }

    /// Lets time pass. What has come to its end is seen by what is left.
    pub(super) fn tick(&mut self, slow: Option<Duration>, watch: &Watch, now: Moment) {
        let Some(special) = &mut self.special else { return };
        special.risen.take_if(|risen| slow.is_some_and(|slow| passed(*risen, slow, now) >= STEPS));
        special.spared.take_if(|(until, _)| *until <= now);
        if special.drain_until.is_some_and(|until| until <= now) {
            self.draining = false;
        }
        let held = special.reasons.len();
        special.reasons.retain(|reason| !matches!(reason, Reason::Hold(until) if *until <= now));
        if special.reasons.len() < held {
            self.let_back(watch, now);
        }
    }

    /// The orders that keep it out.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.special().reasons.iter().filter_map(|reason| match reason {
            Reason::Order(order) => Some(&**order),
            Reason::Maintenance(_) | Reason::Hold(_) => None,
        })
    }

    /// The rule that decides about it, as far as it alone is concerned.
    pub(super) fn rule(&self, watch: &Watch) -> Rule {
        if *watch == Watch::Off {
            return Rule::Off;
        }
        let special = self.special();
        if self.orders().any(|order| order.deed == Deed::Disable) {
            return Rule::Disabled;
        }
        if self.orders().any(|order| order.deed == Deed::Drain) {
            return if self.draining { Rule::Draining } else { Rule::Drained };
        }
        if special.reasons.iter().any(|reason| matches!(reason, Reason::Maintenance(_))) {
            return Rule::Maintenance;
        }
        match (watch, self.health) {
            _ if !special.reasons.is_empty() => Rule::Hold,
            _ if special.waits.is_some() => Rule::Waiting,
            _ if special.by_hand.is_some() && self.is_up(watch) => Rule::ByHand,
            _ if special.ordered.is_some() && self.is_up(watch) => Rule::Ordered,
            (Watch::On | Watch::Off, _) => Rule::On,
            (Watch::Probe(_), Health::Unknown) => Rule::NotChecked,
            (Watch::Probe(_), Health::Up | Health::Failing(_)) if special.risen.is_some() => Rule::Rising,
            (Watch::Probe(_), Health::Up | Health::Failing(_)) => Rule::Up,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) if !self.spoken => Rule::Adopted,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) if special.spared.is_some() => {
                Rule::Spared
            }
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
        let known = self.special();
        if before.watch == after.watch {
            let moved = Server { origin: after.origin.clone(), ..before.clone() };
            let by_hand = known.by_hand.filter(|_| moved == *after);
            return Member { special: Special { by_hand, ..known.clone() }.boxed(), ..self.clone() };
        }
        if !matches!(after.watch, Watch::Probe(_)) {
            let member = Member::new(&after.watch, None, now);
            let health = if known.reasons.is_empty() { member.health } else { Health::Down };
            let (reasons, drain_until, ordered) = (known.reasons.clone(), known.drain_until, known.ordered);
            let special = Special { reasons, drain_until, ordered, ..Special::default() }.boxed();
            return Member { health, draining: self.draining, special, ..member };
        }
        let health = match self.health {
            Health::Unknown => Health::Unknown,
            up if up.is_up() => Health::Up,
            _ => Health::Down,
        };
        // What stands live now does so for other reasons: as a fallback, say.
        let adopted = stood.filter(|destination| !destination.weight.is_live() && !self.spoken).cloned();
        let special = Special { adopted, by_hand: None, ..known.clone() }.boxed();
        Member { health, special, ..self.clone() }
    }
}

impl Special {
    fn boxed(self) -> Option<Box<Special>> {
        (self != NOTHING).then(|| Box::new(self))
    }
}

/// How many of the steps of a slow start have passed.
fn passed(risen: Moment, slow: Duration, now: Moment) -> u128 {
    now.0.saturating_sub(risen.0).as_nanos() * STEPS / slow.as_nanos().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProbeKey;

    #[test]
    fn a_member_is_small_and_needs_more_memory_only_while_something_is_special() {
        assert!(size_of::<Member>() <= 72, "{}", size_of::<Member>());
        let (watch, now) = (Watch::Probe(ProbeKey::of("probe")), Moment::default());
        let mut member = Member::new(&watch, None, now);
        assert!(member.special.is_none());
        member.take_out(Reason::Maintenance("file".into()), true, Some(Some(now)), now);
        assert!(member.special.is_some());
        member.special_mut().reasons.clear();
        member.let_back(&watch, now);
        let good = Outcome::new(Ok("well".into()), Duration::ZERO);
        assert!(member.answered(&good, &Policy::default(), now).is_some());
        member.tidy();
        assert!(member.special.is_none(), "{:?}", member.special);
    }
}
