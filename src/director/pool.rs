//! One service: the health of its servers and its policy, and what the kernel should hold of it. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Decision, Held, Notice, Rule};
use super::health::Health;
use crate::model::{ByHand, Moment, OnFailure, Server, Service, Watch, Weight};
use crate::outcome::Outcome;
use crate::table::{Destination, Entry};

/// How long a fallback waits for first results before it serves without them.
pub const SETTLE: Duration = Duration::from_secs(1);

/// One service with what is known of its servers.
#[derive(Debug)]
pub struct Pool {
    service: Arc<Service>,
    members: Vec<Member>,
    /// When the service, as it is configured now, came to us.
    begun: Moment,
    /// Whether every first check has spoken, or has had its time.
    settled: bool,
    /// What stood in the table when the service came to us and is no server of it: stays until
    /// somebody better serves.
    inherited: BTreeMap<SocketAddr, Destination>,
    /// Whether the last notice about the whole service said that no server is up.
    all_down: bool,
}

/// What is known of one server; its configuration stands at the same place in the service.
#[derive(Debug, Clone)]
struct Member {
    health: Health,
    since: Moment,
    /// Whether a check has spoken since the server came to us.
    spoken: bool,
    /// What the kernel held of it when it came to us.
    adopted: Option<Destination>,
    by_hand: Option<Weight>,
    maintenance: Maintenance,
    last: Option<Arc<Outcome>>,
}

/// What a maintenance file has to do with a server. As long as it has, the server is down.
#[derive(Debug, Clone, PartialEq)]
enum Maintenance {
    /// Nothing.
    None,
    /// The file of this name takes it out, whatever its checks say.
    In(Arc<str>),
    /// Its file went at that moment: only what was asked since counts.
    Over(Moment),
}

impl Pool {
    /// A service that comes to us, with what the kernel holds of it.
    pub fn new(service: Arc<Service>, stands: Option<&Entry>, now: Moment) -> Pool {
        let stood = |at: &SocketAddr| stands.and_then(|entry| entry.destinations.get(at)).cloned();
        let members = service.servers.iter().map(|s| Member::new(s, stood(&s.entry), now)).collect();
        let standing = stands.map(|entry| entry.destinations.clone()).unwrap_or_default();
        Pool::with(service, members, standing, now)
    }

    /// The same service under a new configuration: servers that stay keep what is known of them.
    pub fn reconfigured(&self, service: Arc<Service>, now: Moment) -> Pool {
        let stands = self.entry();
        let mut old: Vec<Option<(&Server, &Member)>> =
            self.service.servers.iter().zip(&self.members).map(Some).collect();
        let mut known = |server: &Server| {
            let same = |slot: &Option<(&Server, &Member)>| {
                slot.is_some_and(|(s, _)| s.entry == server.entry && s.address == server.address)
            };
            old.iter_mut().find(|slot| same(slot)).and_then(Option::take)
        };
        let members = service.servers.iter().map(|server| match known(server) {
            Some((before, member)) => {
                member.carried(before, server, stands.destinations.get(&server.entry), now)
            }
            None => Member::new(server, stands.destinations.get(&server.entry).cloned(), now),
        });
        let members = members.collect();
        let all_down = self.all_down;
        Pool { all_down, ..Pool::with(service, members, stands.destinations, now) }
    }

    fn with(
        service: Arc<Service>,
        members: Vec<Member>,
        standing: BTreeMap<SocketAddr, Destination>,
        now: Moment,
    ) -> Pool {
        let inherited = strangers(&service, standing);
        let mut pool = Pool { service, members, begun: now, settled: false, inherited, all_down: false };
        pool.settle(now);
        pool
    }

    /// What the kernel holds of the service, which we did not know: servers that no check has
    /// spoken about are believed, and what is no server of ours may serve until one is up. Says
    /// whether the entry may have changed.
    pub fn found(&mut self, stands: &Entry, now: Moment) -> bool {
        for (server, member) in self.service.servers.iter().zip(&mut self.members) {
            let stood = stands.destinations.get(&server.entry);
            if member.health == Health::Unknown && stood.is_some() {
                *member = Member::new(server, stood.cloned(), now);
            }
        }
        if !self.settled {
            self.inherited = strangers(&self.service, stands.destinations.clone());
        }
        self.relieve(stands.is_live() && self.members.iter().any(Member::is_in_maintenance));
        true
    }

    /// The configuration in force.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// When this service wants to be looked at again though nothing happened.
    pub fn deadline(&self) -> Option<Moment> {
        (!self.settled).then(|| self.begun.after(SETTLE))
    }

    /// What the kernel should hold.
    pub fn entry(&self) -> Entry {
        let mut entry = Entry::new(self.service.settings.clone());
        for (server, member) in self.service.servers.iter().zip(&self.members) {
            let Some((destination, _)) = self.wanted(server, member) else { continue };
            // Two servers can share one entry: the last that is up counts.
            let slot = entry.destinations.entry(server.entry).or_insert_with(|| destination.clone());
            if destination.weight.is_live() || !slot.weight.is_live() {
                *slot = destination;
            }
        }
        if !self.any_up() {
            match &self.service.policy.fallback {
                Some(fallback) if self.settled => {
                    entry
                        .destinations
                        .insert(fallback.entry, Destination::new(fallback.forward, Weight::ONE));
                }
                _ if !self.settled => entry.destinations.extend(self.inherited.clone()),
                _ => {}
            }
        }
        entry
    }

    /// Whether a server is up, once that can be said: every first check has spoken or has had its
    /// time.
    pub fn serving(&self) -> Option<bool> {
        self.settled.then(|| self.any_up())
    }

    /// Whether a maintenance file takes the server at place `i` out.
    pub fn is_in_maintenance(&self, i: usize) -> bool {
        self.members.get(i).is_some_and(Member::is_in_maintenance)
    }

    /// Whether the server at place `i` needs no answer that was given to others: a check has
    /// spoken about it, or it is out for other reasons.
    pub fn has_heard(&self, i: usize) -> bool {
        self.members[i].spoken || self.members[i].maintenance != Maintenance::None
    }

    /// Whether a check has spoken about every server that has one, those in maintenance aside.
    pub fn has_heard_all(&self) -> bool {
        let asked = |server: &Server| matches!(server.watch, Watch::Probe(_));
        let silent = |(server, member): (&Server, &Member)| {
            asked(server) && !member.spoken && member.maintenance == Maintenance::None
        };
        !self.service.servers.iter().zip(&self.members).any(silent)
    }

    /// The last result of the server at place `i`, unless it is one that its health does not
    /// follow yet.
    pub fn settled_answer(&self, i: usize) -> Option<Arc<Outcome>> {
        let member = &self.members[i];
        member.last.clone().filter(|outcome| outcome.is_good() == member.health.is_up())
    }

    /// The address of the fallback, when it serves.
    pub fn fallback_serving(&self) -> Option<SocketAddr> {
        let fallback = self.service.policy.fallback.as_ref()?;
        (self.settled && !self.any_up()).then_some(fallback.address)
    }

    /// Why each server's weight is what it is, in the order of the configuration.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        (0..self.members.len()).map(|i| self.decision(i))
    }

    /// A result for the server at place `i`; what people must hear of it goes to `notices`. Says
    /// whether the entry may have changed.
    pub fn answered(
        &mut self,
        i: usize,
        outcome: &Arc<Outcome>,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let (fall, rise) = (self.service.policy.fall, self.service.policy.rise);
        let member = &mut self.members[i];
        if !member.listens(Moment(now.0.saturating_sub(outcome.took))) {
            member.last = Some(outcome.clone());
            return self.tick(now, notices);
        }
        let fresh = std::mem::replace(&mut member.maintenance, Maintenance::None) != Maintenance::None;
        let (before, first) = (member.health, fresh || !member.spoken);
        let recovers = member.spoken && !fresh && matches!(before, Health::Down | Health::Recovering(_));
        let after = before.next(outcome.is_good(), first, fall, rise);
        let turned = before.is_up() != after.is_up() || before == Health::Unknown;
        member.health = after;
        member.spoken = true;
        member.last = Some(outcome.clone());
        if turned {
            member.since = now;
            member.by_hand = None;
        }
        if recovers && after.is_up() {
            notices.push(Notice::SoftOver(self.decision(i)));
        }
        match after {
            _ if turned => notices.push(Notice::Changed(self.decision(i))),
            Health::Down if first => notices.push(Notice::Changed(self.decision(i))),
            Health::Failing(n) => notices.push(Notice::Soft(self.decision(i), n, fall)),
            Health::Up if before != Health::Up => notices.push(Notice::SoftOver(self.decision(i))),
            _ => {}
        }
        self.tick(now, notices) || turned || first
    }

    /// Takes out the servers that are held, at once, and lets the others back in with their next
    /// good result. Says whether the entry may have changed.
    pub fn maintain(&mut self, held: &Held, now: Moment, notices: &mut Vec<Notice>) -> bool {
        let was_up = self.any_up();
        let mut changed = false;
        for i in 0..self.members.len() {
            let server = &self.service.servers[i];
            let (file, unasked) = (held.get(&server.address), !matches!(server.watch, Watch::Probe(_)));
            let up = self.is_up(server, &self.members[i]);
            let member = &mut self.members[i];
            match (&member.maintenance, file) {
                (Maintenance::In(known), Some(file)) if known == file => {}
                (Maintenance::In(_), Some(file)) => member.maintenance = Maintenance::In(file.clone()),
                (Maintenance::None | Maintenance::Over(_), Some(file)) => {
                    member.take_out(file, up, now);
                    changed = true;
                    notices.push(Notice::Maintenance(self.decision(i), file.clone()));
                }
                (Maintenance::In(_), None) => {
                    member.let_back(&server.watch, now);
                    changed |= unasked;
                    notices.push(Notice::MaintenanceOver(self.decision(i)));
                }
                (Maintenance::None | Maintenance::Over(_), None) => {}
            }
        }
        self.relieve(was_up && changed);
        self.tick(now, notices) || changed
    }

    /// When maintenance took the last server that carried traffic, the fallback does not wait.
    fn relieve(&mut self, vacated: bool) {
        self.settled |= vacated && !self.any_up() && self.service.policy.fallback.is_some();
    }

    /// Somebody gave a destination this weight. Says whether the entry may have changed.
    pub fn set_by_hand(&mut self, at: SocketAddr, weight: Weight, notices: &mut Vec<Notice>) -> bool {
        if self.service.policy.by_hand == ByHand::Repair {
            return false;
        }
        let told = notices.len();
        for i in 0..self.members.len() {
            let server = &self.service.servers[i];
            let up = self.is_up(server, &self.members[i]);
            let held = self.members[i].by_hand.unwrap_or(server.weight);
            if server.entry != at || !up || held == weight {
                continue;
            }
            self.members[i].by_hand = (server.weight != weight).then_some(weight);
            notices.push(Notice::ByHand(self.decision(i)));
        }
        notices.len() > told
    }

    /// Time has passed. Says whether the entry may have changed.
    pub fn tick(&mut self, now: Moment, notices: &mut Vec<Notice>) -> bool {
        let settled = self.settled;
        self.settle(now);
        self.tell(notices);
        settled != self.settled
    }

    fn settle(&mut self, now: Moment) {
        self.settled |= self.has_heard_all() || now >= self.begun.after(SETTLE);
    }

    fn tell(&mut self, notices: &mut Vec<Notice>) {
        let any_up = self.any_up();
        if self.settled && !any_up && !self.all_down {
            self.all_down = true;
            notices.push(Notice::AllDown(self.service.key, self.fallback_serving()));
        }
        if self.all_down && any_up {
            self.all_down = false;
            notices.push(Notice::Served(self.service.key));
        }
    }

    fn any_up(&self) -> bool {
        self.service.servers.iter().zip(&self.members).any(|(server, member)| self.is_up(server, member))
    }

    fn is_up(&self, server: &Server, member: &Member) -> bool {
        match server.watch {
            Watch::On => !member.is_in_maintenance(),
            Watch::Off => false,
            Watch::Probe(_) => member.health.is_up(),
        }
    }

    /// What the kernel should hold of one server, and by which rule.
    fn wanted(&self, server: &Server, member: &Member) -> Option<(Destination, Rule)> {
        let rule = self.rule(server, member);
        let weight = match rule {
            Rule::Up | Rule::On => server.weight,
            Rule::ByHand => member.by_hand.unwrap_or(server.weight),
            Rule::NotChecked => return None,
            Rule::Adopted => return member.adopted.clone().map(|stood| (stood, rule)),
            Rule::Failed | Rule::Off | Rule::Maintenance => match self.service.policy.on_failure {
                OnFailure::Remove => return None,
                OnFailure::Quiesce => Weight::ZERO,
            },
        };
        let Server { forward, upper, lower, .. } = *server;
        Some((Destination { forward, weight, upper, lower }, rule))
    }

    fn rule(&self, server: &Server, member: &Member) -> Rule {
        match (&server.watch, member.health) {
            (Watch::Off, _) => Rule::Off,
            _ if member.maintenance != Maintenance::None => Rule::Maintenance,
            (Watch::On | Watch::Probe(_), _) if member.by_hand.is_some() && self.is_up(server, member) => {
                Rule::ByHand
            }
            (Watch::On, _) => Rule::On,
            (Watch::Probe(_), Health::Unknown) => Rule::NotChecked,
            (Watch::Probe(_), Health::Up | Health::Failing(_)) => Rule::Up,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) if !member.spoken => Rule::Adopted,
            (Watch::Probe(_), Health::Down | Health::Recovering(_)) => Rule::Failed,
        }
    }

    fn decision(&self, i: usize) -> Decision {
        let (server, member) = (&self.service.servers[i], &self.members[i]);
        let wanted = self.wanted(server, member);
        Decision {
            service: self.service.key,
            server: server.address,
            entry: server.entry,
            weight: wanted.map(|(destination, _)| destination.weight),
            rule: self.rule(server, member),
            health: member.health,
            since: member.since,
            last: member.last.clone(),
            origin: server.origin.clone(),
        }
    }
}

/// Of what stands in the table, that which carries traffic and is no server of the service.
fn strangers(
    service: &Service,
    standing: BTreeMap<SocketAddr, Destination>,
) -> BTreeMap<SocketAddr, Destination> {
    let is_ours = |at: &SocketAddr| service.servers.iter().any(|server| server.entry == *at);
    standing.into_iter().filter(|(at, d)| d.weight.is_live() && !is_ours(at)).collect()
}

impl Member {
    fn new(server: &Server, stood: Option<Destination>, now: Moment) -> Member {
        let health = match (&server.watch, &stood) {
            (Watch::On, _) => Health::Up,
            (Watch::Off, _) => Health::Down,
            (Watch::Probe(_), None) => Health::Unknown,
            (Watch::Probe(_), Some(d)) => Health::adopted(d.weight),
        };
        let (maintenance, last) = (Maintenance::None, None);
        Member { health, since: now, spoken: false, adopted: stood, by_hand: None, maintenance, last }
    }

    fn is_in_maintenance(&self) -> bool {
        matches!(self.maintenance, Maintenance::In(_))
    }

    /// Whether a result of a question asked at that moment counts.
    fn listens(&self, asked: Moment) -> bool {
        match self.maintenance {
            Maintenance::None => true,
            Maintenance::In(_) => false,
            Maintenance::Over(since) => asked >= since,
        }
    }

    fn take_out(&mut self, file: &Arc<str>, was_up: bool, now: Moment) {
        if was_up || self.health == Health::Unknown {
            self.since = now;
        }
        self.health = Health::Down;
        self.by_hand = None;
        self.maintenance = Maintenance::In(file.clone());
    }

    fn let_back(&mut self, watch: &Watch, now: Moment) {
        self.maintenance = match watch {
            Watch::Probe(_) => Maintenance::Over(now),
            Watch::On | Watch::Off => Maintenance::None,
        };
        if *watch == Watch::On {
            (self.health, self.since) = (Health::Up, now);
        }
    }

    /// What stays known of a server over a reload. Who asks may have changed, and then the new
    /// question has not been answered yet; what was believed of the server stays all the same.
    fn carried(&self, before: &Server, after: &Server, stood: Option<&Destination>, now: Moment) -> Member {
        if before.watch == after.watch {
            let moved = Server { origin: after.origin.clone(), ..before.clone() };
            let by_hand = self.by_hand.filter(|_| moved == *after);
            return Member { by_hand, ..self.clone() };
        }
        let Watch::Probe(_) = after.watch else {
            let member = Member::new(after, None, now);
            return match &self.maintenance {
                Maintenance::In(_) => {
                    Member { health: Health::Down, maintenance: self.maintenance.clone(), ..member }
                }
                _ => member,
            };
        };
        let health = match self.health {
            Health::Unknown => Health::Unknown,
            up if up.is_up() => Health::Up,
            _ => Health::Down,
        };
        // What stands live now does so for other reasons: as a fallback, say.
        let adopted = stood.filter(|destination| !destination.weight.is_live()).cloned();
        Member { health, since: self.since, adopted, by_hand: None, ..self.clone() }
    }
}
