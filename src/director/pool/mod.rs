//! One service: the health of its servers and its policy, and what the kernel should hold of it. Pure.

mod direct;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Decision, Notice};
use super::health::Health;
use super::member::{Member, Turn};
use super::reason::{Reason, Rule};
use crate::model::{ByHand, FailOpen, Fallback, Moment, OnFailure, Removal, Server, Service, Watch, Weight};
use crate::outcome::{Illness, Outcome};
use crate::table::{Destination, Entry};

/// How long a fallback waits for first results before it serves without them.
pub const SETTLE: Duration = Duration::from_secs(1);

/// One service with what is known of its servers.
#[derive(Debug)]
pub struct Pool {
    service: Arc<Service>,
    members: Vec<Member>,
    /// What is known of its fallbacks, in their order.
    resorts: Vec<Member>,
    /// The moment up to which all is taken in.
    now: Moment,
    /// When the service, as it is configured now, came to us.
    begun: Moment,
    /// Whether every first check has spoken, or has had its time.
    settled: bool,
    /// What stood in the table when the service came to us and is no server of it: stays until
    /// somebody better serves.
    inherited: BTreeMap<SocketAddr, Destination>,
    /// Servers that left the configuration and are drained, and until when.
    leaving: BTreeMap<SocketAddr, (Destination, Moment)>,
    /// The server that was up last, once none is.
    last_up: Option<SocketAddr>,
    /// Whether it has left the configuration.
    dismissed: bool,
    /// Whether the last notice about the whole service said that no server is up.
    all_down: bool,
}

impl Pool {
    /// A service that comes to us, with what the kernel holds of it.
    pub fn new(service: Arc<Service>, stands: Option<&Entry>, now: Moment) -> Pool {
        let stood = |at: &SocketAddr| stands.and_then(|entry| entry.destinations.get(at)).cloned();
        let members = service.servers.iter().map(|s| Member::new(&s.watch, stood(&s.entry), now)).collect();
        let standing = stands.map(|entry| entry.destinations.clone()).unwrap_or_default();
        let resorts = service.policy.fallbacks.iter().map(|f| Member::new(&f.watch, None, now)).collect();
        Pool::with(service, members, resorts, standing, now)
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
            None => Member::new(&server.watch, stands.destinations.get(&server.entry).cloned(), now),
        });
        let members = members.collect();
        let resorts = service.policy.fallbacks.iter().map(|fallback| self.resort(fallback, now)).collect();
        let leaving = self.dropped(&service, &stands, now);
        let (all_down, last_up) = (self.all_down, self.last_up);
        Pool { all_down, last_up, leaving, ..Pool::with(service, members, resorts, stands.destinations, now) }
    }

    /// The service when it has left the configuration, as long as its servers are drained; none when
    /// that is not wanted.
    pub fn dismissed(&self, now: Moment) -> Option<Pool> {
        let Removal::Drain(_) = self.service.policy.removal else { return None };
        let mut service = Service::clone(&self.service);
        service.servers.clear();
        service.policy.fallbacks.clear();
        let leaving = self.dropped(&service, &self.entry(), now);
        let pool = Pool::with(Arc::new(service), Vec::new(), Vec::new(), BTreeMap::new(), now);
        (!leaving.is_empty()).then_some(Pool { leaving, dismissed: true, all_down: true, ..pool })
    }

    /// Whether it has left the configuration, and is there for those alone that are drained.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Whether it has left the configuration and nothing is drained any more.
    pub fn is_over(&self) -> bool {
        self.dismissed && self.leaving.is_empty()
    }

    /// What is known of a fallback that may have been one before.
    fn resort(&self, fallback: &Fallback, now: Moment) -> Member {
        let mut old = self.service.policy.fallbacks.iter().zip(&self.resorts);
        let same = old.find(|(before, _)| *before == fallback);
        same.map_or_else(|| Member::new(&fallback.watch, None, now), |(_, member)| member.clone())
    }

    /// What is drained once a new configuration is in force: what was before, and who has left since.
    fn dropped(
        &self,
        after: &Service,
        stands: &Entry,
        now: Moment,
    ) -> BTreeMap<SocketAddr, (Destination, Moment)> {
        let Removal::Drain(time) = after.policy.removal else { return BTreeMap::new() };
        let is_server = |at: &SocketAddr| after.servers.iter().any(|server| server.entry == *at);
        let was_server = |at: &SocketAddr| self.service.servers.iter().any(|server| server.entry == *at);
        let gone = stands.destinations.iter().filter(|(at, _)| was_server(at));
        let gone =
            gone.map(|(at, d)| (*at, (Destination { weight: Weight::ZERO, ..d.clone() }, now.after(time))));
        let mut leaving: BTreeMap<_, _> = gone.collect();
        leaving.extend(self.leaving.clone());
        leaving.retain(|at, _| !is_server(at));
        leaving
    }

    fn with(
        service: Arc<Service>,
        members: Vec<Member>,
        resorts: Vec<Member>,
        standing: BTreeMap<SocketAddr, Destination>,
        now: Moment,
    ) -> Pool {
        let inherited = strangers(&service, standing);
        let mut pool = Pool {
            service,
            members,
            resorts,
            now,
            begun: now,
            settled: false,
            inherited,
            leaving: BTreeMap::new(),
            last_up: None,
            dismissed: false,
            all_down: false,
        };
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
                member.meet(&server.watch, stood.cloned(), now);
            }
        }
        if !self.settled {
            self.inherited = strangers(&self.service, stands.destinations.clone());
        }
        self.relieve(stands.is_live() && self.members.iter().any(|member| !member.reasons.is_empty()));
        true
    }

    /// The table is no longer ours: forgets weights set by hand in it, and what was believed of servers that
    /// stood in it and that no check has spoken about. Says whether the entry may have changed.
    pub fn let_go(&mut self, now: Moment) -> bool {
        self.now = now;
        for (server, member) in self.service.servers.iter().zip(&mut self.members) {
            member.by_hand = None;
            if member.adopted.is_some() && !member.spoken && !member.is_kept_out() {
                member.meet(&server.watch, None, now);
            }
        }
        self.inherited.clear();
        true
    }

    /// The configuration in force.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// When this service wants to be looked at again though nothing happened.
    pub fn deadline(&self) -> Option<Moment> {
        let settle = (!self.settled).then(|| self.begun.after(SETTLE));
        let slow = self.service.policy.slow_start;
        let members = self.members.iter().chain(&self.resorts);
        let members = members.filter_map(|member| member.deadline(slow, self.now));
        members.chain(settle).chain(self.leaving.values().map(|(_, until)| *until)).min()
    }

    /// What the kernel should hold.
    pub fn entry(&self) -> Entry {
        let mut entry = Entry::new(self.service.settings.clone());
        let leaving = self.leaving.iter().map(|(at, (destination, _))| (*at, destination.clone()));
        entry.destinations.extend(leaving);
        for i in 0..self.members.len() {
            let Some((destination, _)) = self.wanted(i) else { continue };
            // Two servers can share one entry: the last that is up counts.
            let at = self.service.servers[i].entry;
            let slot = entry.destinations.entry(at).or_insert_with(|| destination.clone());
            if destination.weight.is_live() || !slot.weight.is_live() {
                *slot = destination;
            }
        }
        if self.any_up() {
            return entry;
        }
        match self.serving_fallback() {
            _ if !self.settled => entry.destinations.extend(self.inherited.clone()),
            Some(fallback) => {
                let destination = Destination::new(fallback.forward, Weight::ONE);
                entry.destinations.insert(fallback.entry, destination);
            }
            None => {}
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
        let is = |reason: &Reason| matches!(reason, Reason::Maintenance(_));
        self.members.get(i).is_some_and(|member| member.reasons.iter().any(is))
    }

    /// Whether somebody's connections are waited for: [`Pool::idle`] wants to hear when there are none.
    pub fn is_draining(&self) -> bool {
        !self.leaving.is_empty() || self.members.iter().any(|member| member.draining)
    }

    /// Whether the server at place `i` needs no answer that was given to others: a check has
    /// spoken about it, or it is out for other reasons.
    pub fn has_heard(&self, i: usize) -> bool {
        self.member(i).is_none_or(|member| member.spoken || member.is_kept_out())
    }

    /// Whether a check has spoken about every server that has one, those that are out aside.
    pub fn has_heard_all(&self) -> bool {
        let asked = |server: &Server| matches!(server.watch, Watch::Probe(_));
        let silent =
            |(server, member): (&Server, &Member)| asked(server) && !member.spoken && !member.is_kept_out();
        !self.service.servers.iter().zip(&self.members).any(silent)
    }

    /// The last result of the server at place `i`, unless it is one that its health does not
    /// follow yet.
    pub fn settled_answer(&self, i: usize) -> Option<Arc<Outcome>> {
        let member = self.member(i)?;
        member.last.clone().filter(|outcome| outcome.is_good() == member.health.is_up())
    }

    /// The address of the fallback, when it serves.
    pub fn fallback_serving(&self) -> Option<SocketAddr> {
        (self.settled && !self.any_up()).then(|| self.serving_fallback()).flatten().map(|f| f.address)
    }

    /// Why each server's weight is what it is, in the order of the configuration.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        (0..self.members.len()).map(|i| self.decision(i))
    }

    /// The fallbacks in their order, each with whether it is up.
    pub fn fallbacks(&self) -> impl Iterator<Item = (&Fallback, bool)> {
        let all = self.service.policy.fallbacks.iter().zip(&self.resorts);
        all.map(|(fallback, member)| (fallback, member.is_up(&fallback.watch)))
    }

    /// How many servers have a last result, and how many of these hold evidence of our own illness.
    pub fn sight(&self) -> (usize, usize) {
        let results = || self.members.iter().filter_map(|member| member.last.as_ref());
        (results().count(), results().filter(|outcome| outcome.illness.is_some()).count())
    }

    /// Whether a server is down that failed last with evidence of our own illness.
    pub fn is_blind(&self) -> bool {
        let ill = |member: &Member| member.last.as_ref().is_some_and(|outcome| outcome.illness.is_some());
        self.members.iter().any(|member| !member.health.is_up() && ill(member))
    }

    /// The evidence of our own illness for which removals are delayed.
    pub fn illness(&self) -> Option<Illness> {
        self.members.iter().find_map(|member| member.spared).map(|(_, illness)| illness)
    }

    /// A result for the server at place `i`, the fallbacks following the servers; what people must
    /// hear of it goes to `notices`. Says whether the entry may have changed.
    pub fn answered(
        &mut self,
        i: usize,
        outcome: &Arc<Outcome>,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let policy = &self.service.policy;
        let (fall, hold, slow) = (policy.fall, policy.hold, policy.slow_start);
        let (others, experienced) = (self.any_up(), self.any_up_since(now));
        let Some(member) = self.members.get_mut(i) else {
            return self.resort_answered(i, outcome, now, notices);
        };
        let Some(turn) = member.answered(outcome, policy, now) else { return self.tick(now, notices) };
        if member.health.is_up() && turn.turned && experienced && slow.is_some() {
            member.rise(now);
        }
        let must_hold = if turn.turned { member.must_hold(hold, now) } else { None };
        if turn.turned && others && !self.any_up() {
            self.last_up = Some(self.service.servers[i].entry);
        }
        self.tell_turn(i, turn, fall, notices);
        if let Some(until) = must_hold {
            self.take_out(i, Reason::Hold(until), None);
            notices.push(Notice::Held(self.decision(i), until));
        }
        self.tick(now, notices) || turn.turned || turn.first || turn.unspared
    }

    fn tell_turn(&self, i: usize, turn: Turn, fall: u32, notices: &mut Vec<Notice>) {
        let after = self.members[i].health;
        if turn.recovers && after.is_up() {
            notices.push(Notice::SoftOver(self.decision(i)));
        }
        match after {
            _ if turn.turned => notices.push(Notice::Changed(self.decision(i))),
            Health::Down if turn.first => notices.push(Notice::Changed(self.decision(i))),
            Health::Failing(n) => notices.push(Notice::Soft(self.decision(i), n, fall)),
            Health::Up if turn.before != Health::Up => notices.push(Notice::SoftOver(self.decision(i))),
            _ => {}
        }
    }

    /// A result for a fallback.
    fn resort_answered(
        &mut self,
        i: usize,
        outcome: &Arc<Outcome>,
        now: Moment,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let place = i - self.members.len();
        let Some(member) = self.resorts.get_mut(place) else { return false };
        let turned = member.answered(outcome, &self.service.policy, now).is_some_and(|turn| turn.turned);
        if turned {
            let at = self.service.policy.fallbacks[place].address;
            notices.push(Notice::Fallback(self.service.key, at, outcome.clone()));
        }
        self.tick(now, notices) || turned
    }

    /// When the last server that carried traffic was taken out, the fallback does not wait.
    fn relieve(&mut self, vacated: bool) {
        self.settled |= vacated && !self.any_up() && !self.service.policy.fallbacks.is_empty();
    }

    /// These destinations stand without new connections, and have none left. Says whether the entry may have
    /// changed.
    pub fn idle(&mut self, idle: &BTreeSet<SocketAddr>, now: Moment, notices: &mut Vec<Notice>) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|at, _| !idle.contains(at));
        let mut changed = self.leaving.len() < before;
        for i in 0..self.members.len() {
            if idle.contains(&self.service.servers[i].entry) && self.members[i].drained() {
                changed = true;
                notices.push(Notice::Drained(self.decision(i)));
            }
        }
        self.tick(now, notices) || changed
    }

    /// Somebody gave a destination this weight. Says whether the entry may have changed.
    pub fn set_by_hand(&mut self, at: SocketAddr, weight: Weight, notices: &mut Vec<Notice>) -> bool {
        if self.service.policy.by_hand == ByHand::Repair {
            return false;
        }
        let told = notices.len();
        for i in 0..self.members.len() {
            let server = &self.service.servers[i];
            let member = &self.members[i];
            let own = self.own_weight(server, member);
            if server.entry != at || !member.is_up(&server.watch) || member.by_hand.unwrap_or(own) == weight {
                continue;
            }
            self.members[i].by_hand = (own != weight).then_some(weight);
            notices.push(Notice::ByHand(self.decision(i)));
        }
        notices.len() > told
    }

    /// Time has passed. Says whether the entry may have changed.
    pub fn tick(&mut self, now: Moment, notices: &mut Vec<Notice>) -> bool {
        self.now = now;
        let settled = self.settled;
        self.settle(now);
        let slow = self.service.policy.slow_start;
        let mut changed = settled != self.settled;
        for i in 0..self.members.len() {
            let (held, drained) = (self.members[i].reasons.len(), self.members[i].draining);
            changed |= self.members[i].tick(slow, &self.service.servers[i].watch, now);
            if self.members[i].reasons.len() < held {
                notices.push(Notice::HoldOver(self.decision(i)));
            }
            if drained && !self.members[i].draining {
                notices.push(Notice::Drained(self.decision(i)));
            }
        }
        for (fallback, member) in self.service.policy.fallbacks.iter().zip(&mut self.resorts) {
            changed |= member.tick(slow, &fallback.watch, now);
        }
        let leaving = self.leaving.len();
        self.leaving.retain(|_, (_, until)| now < *until);
        self.tell(notices);
        changed || self.leaving.len() < leaving
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

    /// What is known of the server at place `i`, the fallbacks following the servers.
    fn member(&self, i: usize) -> Option<&Member> {
        self.members.get(i).or_else(|| self.resorts.get(i - self.members.len()))
    }

    fn any_up(&self) -> bool {
        self.service.servers.iter().zip(&self.members).any(|(server, member)| self.serves(server, member))
    }

    /// Whether a server is up, and that with a weight where this is asked for.
    fn serves(&self, server: &Server, member: &Member) -> bool {
        let weighs = || member.ordered.unwrap_or(server.weight).is_live();
        member.is_up(&server.watch) && (self.service.policy.zero_serves || weighs())
    }

    /// Whether some server has been up for longer than a start takes: one that comes up beside it has a
    /// slow start.
    fn any_up_since(&self, now: Moment) -> bool {
        let mut all = self.service.servers.iter().zip(&self.members);
        all.any(|(server, member)| member.is_up(&server.watch) && now >= member.since.after(SETTLE))
    }

    /// The first fallback that is up.
    fn serving_fallback(&self) -> Option<&Fallback> {
        self.fallbacks().find(|(_, up)| *up).map(|(fallback, _)| fallback)
    }

    /// What the kernel should hold of the server at place `i`, and by which rule.
    fn wanted(&self, i: usize) -> Option<(Destination, Rule)> {
        let (server, member) = (&self.service.servers[i], &self.members[i]);
        let rule = self.rule(i);
        let weight = match rule {
            Rule::ByHand => member.by_hand.unwrap_or(server.weight),
            Rule::Up | Rule::On | Rule::Ordered | Rule::Rising | Rule::Spared | Rule::Kept => {
                self.own_weight(server, member)
            }
            Rule::NotChecked | Rule::Disabled | Rule::Drained => return None,
            Rule::Draining => Weight::ZERO,
            Rule::Adopted => return member.adopted.clone().map(|stood| (stood, rule)),
            Rule::Maintenance | Rule::Waiting if member.draining => Weight::ZERO,
            Rule::Failed | Rule::Off | Rule::Maintenance | Rule::Waiting | Rule::Hold => {
                match self.service.policy.on_failure {
                    OnFailure::Remove => return None,
                    OnFailure::Quiesce => Weight::ZERO,
                }
            }
        };
        let Server { forward, upper, lower, .. } = *server;
        Some((Destination { forward, weight, upper, lower }, rule))
    }

    /// The weight of a server that is up, as far as nobody set it with a tool of his own.
    fn own_weight(&self, server: &Server, member: &Member) -> Weight {
        member.share(member.ordered.unwrap_or(server.weight), self.service.policy.slow_start, self.now)
    }

    fn rule(&self, i: usize) -> Rule {
        let rule = self.members[i].rule(&self.service.servers[i].watch);
        if rule == Rule::Failed && self.keeps(i) { Rule::Kept } else { rule }
    }

    /// Whether a failed server stays in, since nobody else is left.
    fn keeps(&self, i: usize) -> bool {
        let wanted = match self.service.policy.fail_open {
            FailOpen::No => false,
            FailOpen::KeepLast => self.last_up == Some(self.service.servers[i].entry),
            FailOpen::KeepAll => self.members[i].proven,
        };
        wanted && self.settled && !self.any_up() && self.serving_fallback().is_none()
    }

    fn decision(&self, i: usize) -> Decision {
        let (server, member) = (&self.service.servers[i], &self.members[i]);
        let wanted = self.wanted(i);
        Decision {
            service: self.service.key,
            server: server.address,
            entry: server.entry,
            weight: wanted.map(|(destination, _)| destination.weight),
            rule: self.rule(i),
            reasons: member.reasons.clone(),
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
