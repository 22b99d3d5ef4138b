//! One service: the health of its servers and its policy, and what the kernel should hold of it. Pure.

mod direct;
mod leaving;
mod reload;
mod roll;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Decision, Notice};
use super::health::Health;
use super::member::{Member, Turn};
use super::reason::{Reason, Rule};
use crate::model::{ByHand, FailOpen, Fallback, Moment, OnFailure, Policy, Server, Service, Weight};
use crate::outcome::{Illness, Outcome};
use crate::table::{Destination, Entry};
use leaving::Leaving;
use roll::Roll;

/// How long a fallback waits for first results before it serves without them.
pub const SETTLE: Duration = Duration::from_secs(1);

/// One service with what is known of its servers.
#[derive(Debug)]
pub struct Pool {
    service: Arc<Service>,
    roll: Roll,
    /// The moment up to which all is taken in.
    now: Moment,
    /// When the service, as it is configured now, came to us.
    begun: Moment,
    /// Whether every first check has spoken, or has had its time.
    settled: bool,
    /// What stood in the table when the service came to us and is no server of it: stays until
    /// somebody better serves.
    inherited: BTreeMap<SocketAddr, Destination>,
    /// Servers that left the configuration and are drained.
    leaving: Leaving,
    /// The server that was up last, once none is.
    last_up: Option<SocketAddr>,
    /// Whether it has left the configuration.
    dismissed: bool,
    /// Whether the last notice about the whole service said that no server is up.
    all_down: bool,
    /// Whether something about a server changed that others follow, and was not handed out yet.
    changed: bool,
    /// The state of the whole as it was handed out last.
    stance: Option<Stance>,
}

/// What of the whole service decides what each server is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stance {
    settled: bool,
    any_up: bool,
    /// The first fallback that is up.
    fallback: Option<SocketAddr>,
    last_up: Option<SocketAddr>,
}

/// What of one server others follow: the kernel's table, who is told, who counts connections.
#[derive(Debug, PartialEq)]
struct Face {
    rule: Rule,
    wanted: Option<Destination>,
    draining: bool,
    heard: bool,
}

impl Pool {
    /// A service that comes to us, with what the kernel holds of it.
    pub fn new(service: Arc<Service>, stands: Option<&Entry>, now: Moment) -> Pool {
        let stood = |at: &SocketAddr| stands.and_then(|entry| entry.destinations.get(at)).cloned();
        let servers = service.servers.iter().map(|s| Member::new(&s.watch, stood(&s.entry), now));
        let fallbacks = service.policy.fallbacks.iter().map(|f| Member::new(&f.watch, None, now));
        let members = servers.chain(fallbacks).collect();
        let standing = stands.map(|entry| entry.destinations.clone()).unwrap_or_default();
        Pool::with(service, members, standing, now)
    }

    /// Whether it has left the configuration, and is there for those alone that are drained.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Whether it has left the configuration and nothing is drained any more.
    pub fn is_over(&self) -> bool {
        self.dismissed && self.leaving.is_empty()
    }

    fn with(
        service: Arc<Service>,
        members: Vec<Member>,
        standing: BTreeMap<SocketAddr, Destination>,
        now: Moment,
    ) -> Pool {
        let inherited = strangers(&service, standing);
        let mut pool = Pool {
            roll: Roll::new(members, &service, now),
            service,
            now,
            begun: now,
            settled: false,
            inherited,
            leaving: Leaving::default(),
            last_up: None,
            dismissed: false,
            all_down: false,
            changed: true,
            stance: None,
        };
        pool.settle(now);
        pool
    }

    /// What the kernel holds of the service, which we did not know: servers that no check has
    /// spoken about are believed, and what is no server of ours may serve until one is up.
    pub fn found(&mut self, stands: &Entry, now: Moment) {
        let service = self.service.clone();
        for (i, server) in service.servers.iter().enumerate() {
            let stood = stands.destinations.get(&server.entry);
            if self.roll[i].health == Health::Unknown && stood.is_some() {
                self.change(i, |member| member.meet(&server.watch, stood.cloned(), now));
            }
        }
        if !self.settled {
            self.inherited = strangers(&service, stands.destinations.clone());
        }
        let is_out = |member: &Member| !member.special().reasons.is_empty();
        self.relieve(stands.is_live() && self.servers().iter().any(is_out));
        self.changed = true;
    }

    /// The table is no longer ours: forgets weights set by hand in it, and what was believed of servers that
    /// stood in it and that no check has spoken about.
    pub fn let_go(&mut self, now: Moment) {
        let service = self.service.clone();
        for (i, server) in service.servers.iter().enumerate() {
            let special = self.roll[i].special();
            if special.adopted.is_some() && !self.roll[i].has_heard() {
                self.change(i, |member| member.meet(&server.watch, None, now));
            } else if special.by_hand.is_some() {
                self.change(i, |member| member.special_mut().by_hand = None);
            }
        }
        self.inherited.clear();
        self.changed = true;
    }

    /// Whether something changed since this was asked last: what the kernel should hold of the service, or
    /// what else others follow.
    pub fn take_changed(&mut self) -> bool {
        let stance = Some(self.stance());
        let before = std::mem::replace(&mut self.stance, stance);
        std::mem::take(&mut self.changed) || stance != before
    }

    /// The configuration in force.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// When this service wants to be looked at again though nothing happened.
    pub fn deadline(&self) -> Option<Moment> {
        let settle = (!self.settled).then(|| self.begun.after(SETTLE));
        [settle, self.roll.deadline(), self.leaving.deadline()].into_iter().flatten().min()
    }

    /// What the kernel should hold.
    pub fn entry(&self) -> Entry {
        let leaving = self.leaving.all().iter().map(|(at, (destination, _))| (*at, destination.clone()));
        let wanted = |(i, server): (usize, &Server)| Some((server.entry, self.wanted(i).1?));
        let servers = self.service.servers.iter().enumerate().filter_map(wanted);
        let mut all: Vec<_> = leaving.chain(servers).collect();
        all.sort_by_key(|(at, _)| *at);
        // Two servers can share one entry: the last that is up counts.
        all.dedup_by(|(at, later), (kept, destination)| {
            let same = at == kept;
            if same && (later.weight.is_live() || !destination.weight.is_live()) {
                destination.clone_from(later);
            }
            same
        });
        let mut entry =
            Entry { destinations: all.into_iter().collect(), ..Entry::new(self.service.settings.clone()) };
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
        self.roll.get(i).is_some_and(|member| member.special().reasons.iter().any(is))
    }

    /// Whether somebody's connections are waited for: [`Pool::idle`] wants to hear when there are none.
    pub fn is_draining(&self) -> bool {
        !self.leaving.is_empty() || self.roll.sums().draining > 0
    }

    /// Whether the server at place `i` needs no answer that was given to others: a check has
    /// spoken about it, or it is out for other reasons.
    pub fn has_heard(&self, i: usize) -> bool {
        self.roll.get(i).is_none_or(Member::has_heard)
    }

    /// Whether a check has spoken about every server that has one, those that are out aside.
    pub fn has_heard_all(&self) -> bool {
        self.roll.sums().silent == 0
    }

    /// The last result of the server at place `i`, unless it is one that its health does not
    /// follow yet.
    pub fn settled_answer(&self, i: usize) -> Option<Outcome> {
        let member = self.roll.get(i)?;
        member.last.clone().filter(|outcome| outcome.is_good() == member.health.is_up())
    }

    /// The address of the fallback, when it serves.
    pub fn fallback_serving(&self) -> Option<SocketAddr> {
        (self.settled && !self.any_up()).then(|| self.serving_fallback()).flatten().map(|f| f.address)
    }

    /// Why each server's weight is what it is, in the order of the configuration.
    pub fn decisions(&self) -> impl Iterator<Item = Decision> {
        (0..self.service.servers.len()).map(|i| self.decision(i))
    }

    /// The fallbacks in their order, each with whether it is up.
    pub fn fallbacks(&self) -> impl Iterator<Item = (&Fallback, bool)> {
        let all = self.service.policy.fallbacks.iter().zip(self.resorts());
        all.map(|(fallback, member)| (fallback, member.is_up(&fallback.watch)))
    }

    /// How many servers have a last result, and how many of these hold evidence of our own illness.
    pub fn sight(&self) -> (usize, usize) {
        let results = || self.servers().iter().filter_map(|member| member.last.as_ref());
        (results().count(), results().filter(|outcome| outcome.illness.is_some()).count())
    }

    /// Whether a server is down that failed last with evidence of our own illness.
    pub fn is_blind(&self) -> bool {
        let ill = |member: &Member| member.last.as_ref().is_some_and(|outcome| outcome.illness.is_some());
        self.servers().iter().any(|member| !member.health.is_up() && ill(member))
    }

    /// The evidence of our own illness for which removals are delayed.
    pub fn illness(&self) -> Option<Illness> {
        if self.roll.sums().spared == 0 {
            return None;
        }
        self.servers().iter().find_map(|member| member.special().spared).map(|(_, illness)| illness)
    }

    /// A result for the server at place `i`, the fallbacks following the servers; what people must
    /// hear of it goes to `notices`.
    pub fn answered(&mut self, i: usize, outcome: &Outcome, now: Moment, notices: &mut Vec<Notice>) {
        if self.roll.get(i).is_none() {
            return;
        }
        let (service, others) = (self.service.clone(), self.any_up());
        let turn = self.change(i, |member| member.answered(outcome, &service.policy, now));
        match turn {
            Some(turn) if i < service.servers.len() => self.turned(i, turn, others, now, notices),
            Some(turn) if turn.turned => {
                let at = service.policy.fallbacks[i - service.servers.len()].address;
                notices.push(Notice::Fallback(service.key, at, outcome.clone()));
            }
            _ => {}
        }
        self.tick(now, notices);
    }

    /// What follows from a result for the server at place `i`; `others`: whether some server was up before.
    fn turned(&mut self, i: usize, turn: Turn, others: bool, now: Moment, notices: &mut Vec<Notice>) {
        let Policy { fall, hold, slow_start, .. } = self.service.policy;
        let mut must_hold = None;
        if turn.turned {
            let rises = self.roll[i].health.is_up() && slow_start.is_some() && self.any_up_since(now);
            must_hold = self.change(i, |member| {
                if rises {
                    member.rise(now);
                }
                member.must_hold(hold, now)
            });
            if others && !self.any_up() {
                self.last_up = Some(self.service.servers[i].entry);
            }
        }
        self.tell_turn(i, turn, fall, notices);
        if let Some(until) = must_hold {
            self.take_out(i, Reason::Hold(until), None, now);
            notices.push(Notice::Held(self.decision(i), until));
        }
    }

    fn tell_turn(&self, i: usize, turn: Turn, fall: u32, notices: &mut Vec<Notice>) {
        let after = self.roll[i].health;
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

    /// When the last server that carried traffic was taken out, the fallback does not wait.
    fn relieve(&mut self, vacated: bool) {
        self.settled |= vacated && !self.any_up() && !self.service.policy.fallbacks.is_empty();
    }

    /// These destinations stand without new connections, and have none left.
    pub fn idle(&mut self, idle: &BTreeSet<SocketAddr>, now: Moment, notices: &mut Vec<Notice>) {
        self.changed |= self.leaving.idle(|at| idle.contains(at));
        for i in 0..self.service.servers.len() {
            if self.roll[i].draining && idle.contains(&self.service.servers[i].entry) {
                self.change(i, |member| member.draining = false);
                notices.push(Notice::Drained(self.decision(i)));
            }
        }
        self.tick(now, notices);
    }

    /// Somebody gave a destination this weight.
    pub fn set_by_hand(&mut self, at: SocketAddr, weight: Weight, notices: &mut Vec<Notice>) {
        if self.service.policy.by_hand == ByHand::Repair {
            return;
        }
        for i in 0..self.service.servers.len() {
            let (server, member) = (&self.service.servers[i], &self.roll[i]);
            let own = self.own_weight(server, member);
            let is_known = member.special().by_hand.unwrap_or(own) == weight;
            if server.entry != at || !member.is_up(&server.watch) || is_known {
                continue;
            }
            self.change(i, |member| member.special_mut().by_hand = (own != weight).then_some(weight));
            notices.push(Notice::ByHand(self.decision(i)));
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment, notices: &mut Vec<Notice>) {
        self.now = now;
        self.settle(now);
        for i in self.roll.due(now) {
            self.pass(i, notices);
        }
        self.changed |= self.leaving.tick(now);
        self.tell(notices);
        debug_assert!(self.roll.adds_up(&self.service, now), "a sum or a moment was not kept");
    }

    /// The time of the member at place `i` has come.
    fn pass(&mut self, i: usize, notices: &mut Vec<Notice>) {
        let service = self.service.clone();
        let watch = match service.servers.get(i) {
            Some(server) => &server.watch,
            None => &service.policy.fallbacks[i - service.servers.len()].watch,
        };
        let (held, drained) = (self.roll[i].special().reasons.len(), self.roll[i].draining);
        let now = self.now;
        self.change(i, |member| member.tick(service.policy.slow_start, watch, now));
        // The share of a slow start follows from the time alone.
        self.changed = true;
        if self.roll[i].special().reasons.len() < held {
            notices.push(Notice::HoldOver(self.decision(i)));
        }
        if drained && !self.roll[i].draining {
            notices.push(Notice::Drained(self.decision(i)));
        }
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

    /// Lets `what` happen to the member at place `i`, and notes whether that shows.
    fn change<T>(&mut self, i: usize, what: impl FnOnce(&mut Member) -> T) -> T {
        let before = self.face(i);
        let answer = self.roll.change(i, &self.service, self.now, what);
        self.changed |= self.face(i) != before;
        answer
    }

    /// None of a fallback: all that shows of it is the stance.
    fn face(&self, i: usize) -> Option<Face> {
        if i >= self.service.servers.len() {
            return None;
        }
        let ((rule, wanted), member) = (self.wanted(i), &self.roll[i]);
        Some(Face { rule, wanted, draining: member.draining, heard: member.has_heard() })
    }

    fn stance(&self) -> Stance {
        let fallback = self.serving_fallback().map(|fallback| fallback.entry);
        Stance { settled: self.settled, any_up: self.any_up(), fallback, last_up: self.last_up }
    }

    fn servers(&self) -> &[Member] {
        self.roll.split(self.service.servers.len()).0
    }

    /// What is known of the fallbacks, in their order.
    fn resorts(&self) -> &[Member] {
        self.roll.split(self.service.servers.len()).1
    }

    fn any_up(&self) -> bool {
        self.roll.sums().serving > 0
    }

    /// Whether some server has been up for longer than a start takes: one that comes up beside it has a
    /// slow start.
    fn any_up_since(&self, now: Moment) -> bool {
        let mut all = self.service.servers.iter().zip(self.servers());
        all.any(|(server, member)| member.is_up(&server.watch) && now >= member.since.after(SETTLE))
    }

    /// The first fallback that is up.
    fn serving_fallback(&self) -> Option<&Fallback> {
        self.fallbacks().find(|(_, up)| *up).map(|(fallback, _)| fallback)
    }

    /// What the kernel should hold of the server at place `i`, and by which rule.
    fn wanted(&self, i: usize) -> (Rule, Option<Destination>) {
        let (server, member) = (&self.service.servers[i], &self.roll[i]);
        let rule = self.rule(i);
        let weight = match rule {
            Rule::ByHand => member.special().by_hand.unwrap_or(server.weight),
            Rule::Up | Rule::On | Rule::Ordered | Rule::Rising | Rule::Spared | Rule::Kept => {
                self.own_weight(server, member)
            }
            Rule::NotChecked | Rule::Disabled | Rule::Drained => return (rule, None),
            Rule::Draining => Weight::ZERO,
            Rule::Adopted => return (rule, member.special().adopted.clone()),
            Rule::Maintenance | Rule::Waiting if member.draining => Weight::ZERO,
            Rule::Failed | Rule::Off | Rule::Maintenance | Rule::Waiting | Rule::Hold => {
                match self.service.policy.on_failure {
                    OnFailure::Remove => return (rule, None),
                    OnFailure::Quiesce => Weight::ZERO,
                }
            }
        };
        let Server { forward, upper, lower, .. } = *server;
        (rule, Some(Destination { forward, weight, upper, lower }))
    }

    /// The weight of a server that is up, as far as nobody set it with a tool of his own.
    fn own_weight(&self, server: &Server, member: &Member) -> Weight {
        member.share(
            member.special().ordered.unwrap_or(server.weight),
            self.service.policy.slow_start,
            self.now,
        )
    }

    fn rule(&self, i: usize) -> Rule {
        let rule = self.roll[i].rule(&self.service.servers[i].watch);
        if rule == Rule::Failed && self.keeps(i) { Rule::Kept } else { rule }
    }

    /// Whether a failed server stays in, since nobody else is left.
    fn keeps(&self, i: usize) -> bool {
        let wanted = match self.service.policy.fail_open {
            FailOpen::No => false,
            FailOpen::KeepLast => self.last_up == Some(self.service.servers[i].entry),
            FailOpen::KeepAll => self.roll[i].proven,
        };
        wanted && self.settled && !self.any_up() && self.serving_fallback().is_none()
    }

    fn decision(&self, i: usize) -> Decision {
        let (server, member) = (&self.service.servers[i], &self.roll[i]);
        let (rule, wanted) = self.wanted(i);
        Decision {
            service: self.service.key,
            server: server.address,
            entry: server.entry,
            weight: wanted.map(|destination| destination.weight),
            rule,
            reasons: member.special().reasons.clone(),
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
    let ours = entries(service);
    standing.into_iter().filter(|(at, d)| d.weight.is_live() && !ours.contains(at)).collect()
}

/// The addresses of a service's servers in the table.
fn entries(service: &Service) -> BTreeSet<SocketAddr> {
    service.servers.iter().map(|server| server.entry).collect()
}
