//! The members of a service, with what is asked of all of them after each answer: kept, not counted anew. Pure.

use std::ops::Index;

use crate::director::agenda::Agenda;
use crate::director::member::Member;
use crate::model::{Moment, Service, Watch};

/// All members, which change through [`Roll::change`] alone, so that sums and moments follow.
#[derive(Debug)]
pub(super) struct Roll {
    /// The servers in their order, then the fallbacks in theirs.
    members: Vec<Member>,
    sums: Sums,
    /// When time alone changes what a member is due.
    timed: Agenda<usize>,
}

/// How many servers are this or that; of one server, what it adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Are up, and that with a weight where this is asked for.
    pub(super) serving: u32,
    /// Have a check that has not spoken yet, those that are out aside.
    pub(super) silent: u32,
    /// Stand in the table until they have no connections.
    pub(super) draining: u32,
    /// Failed, and stay for a while since we are unwell.
    pub(super) spared: u32,
}

impl Roll {
    /// The members of this service: as many as it has servers and fallbacks.
    pub(super) fn new(members: Vec<Member>, service: &Service, now: Moment) -> Roll {
        let mut roll = Roll { members, sums: Sums::default(), timed: Agenda::default() };
        for (i, member) in roll.members.iter().enumerate() {
            roll.sums.add(Sums::of(service, i, member));
            roll.timed.set(i, member.deadline(service.policy.slow_start, now));
        }
        roll
    }

    /// Lets `what` happen to the member at place `i`. `now` is the moment up to which all is taken in.
    pub(super) fn change<T>(
        &mut self,
        i: usize,
        service: &Service,
        now: Moment,
        what: impl FnOnce(&mut Member) -> T,
    ) -> T {
        let member = &mut self.members[i];
        self.sums.subtract(Sums::of(service, i, member));
        let answer = what(member);
        member.tidy();
        self.sums.add(Sums::of(service, i, member));
        self.timed.set(i, member.deadline(service.policy.slow_start, now));
        answer
    }

    /// The sums over all servers.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.timed.first()
    }

    /// The places of those whose time has come.
    pub(super) fn due(&self, now: Moment) -> Vec<usize> {
        self.timed.due(now)
    }

    pub(super) fn get(&self, i: usize) -> Option<&Member> {
        self.members.get(i)
    }

    /// The servers and the fallbacks, of so many servers.
    pub(super) fn split(&self, servers: usize) -> (&[Member], &[Member]) {
        self.members.split_at(servers)
    }

    /// Whether all that is kept is what counting anew gives.
    pub(super) fn adds_up(&self, service: &Service, now: Moment) -> bool {
        let anew = Roll::new(self.members.clone(), service, now);
        (anew.sums, anew.timed) == (self.sums, self.timed.clone())
    }
}

impl Index<usize> for Roll {
    type Output = Member;

    fn index(&self, i: usize) -> &Member {
        &self.members[i]
    }
}

impl Sums {
    /// What the member at place `i` adds: a fallback nothing.
    fn of(service: &Service, i: usize, member: &Member) -> Sums {
        let Some(server) = service.servers.get(i) else { return Sums::default() };
        let weighs = || member.special().ordered.unwrap_or(server.weight).is_live();
        let serves = member.is_up(&server.watch) && (service.policy.zero_serves || weighs());
        let is_asked = matches!(server.watch, Watch::Probe(_));
        Sums {
            serving: serves.into(),
            silent: (is_asked && !member.has_heard()).into(),
            draining: member.draining.into(),
            spared: member.special().spared.is_some().into(),
        }
    }

    fn add(&mut self, other: Sums) {
        self.serving += other.serving;
        self.silent += other.silent;
        self.draining += other.draining;
        self.spared += other.spared;
    }

    fn subtract(&mut self, other: Sums) {
        self.serving -= other.serving;
        self.silent -= other.silent;
        self.draining -= other.draining;
        self.spared -= other.spared;
    }
}
