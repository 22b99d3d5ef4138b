//! A daemon without its tasks: what `daemon::Daemon` does with director and reconciler, on simulated time.

mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lvsentry::daemon::reconcile::{Done, Job, Reconciler};
use lvsentry::director::Director;
use lvsentry::director::event::{Event, Held};
use lvsentry::director::order::{Deed, Order, Sort, Whom};
use lvsentry::ipvs::{Kernel, Scope};
use lvsentry::model::{Moment, Plan, ServiceKey, Watch, Weight};
use lvsentry::outcome::{Failure, Illness, Outcome, Phase, Reason};
use lvsentry::table::drift::What;
use lvsentry::table::{Destination, Entry, Table};
use tokio::time::Instant;

use super::mutants::Mutant;
use super::plans::{LAST, SERVERS, plan, probe};
use super::random::Random;
use super::truth::{Lies, SimKernel, Truth, Ways};
use crate::support::plan::{at, key, settings};

/// How often each probe asks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Until a server that hangs is given up.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A service of somebody else.
const FOREIGN: u8 = 9;

/// One history under way.
pub(super) struct World {
    random: Random,
    mutant: Option<Mutant>,
    truth: Arc<Mutex<Truth>>,
    now: Moment,
    /// The moment zero of the reconciler's clock.
    epoch: Instant,
    director: Director,
    reconciler: Reconciler,
    /// When each probe asks next.
    schedule: BTreeMap<u8, Moment>,
    /// Answers on their way: when they come, whose, what, and when they were asked for.
    answers: Vec<(Moment, u8, Outcome)>,
    /// A job on its way, and when it is done.
    job: Option<(Moment, Job)>,
    /// What is remembered over a crash: orders with their times, services of ours.
    orders: Vec<Order>,
    held: BTreeSet<u8>,
    ill: bool,
    counted: Moment,
    /// Whether what happens is written down.
    telling: bool,
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, telling: bool) -> World {
        let mut random = Random::new(seed);
        let plan = plan(&mut random);
        let mut table = Table::default();
        if random.chance(1, 2) {
            table.services.insert(key(1), some_entry(&mut random).into());
        }
        table.services.insert(key(FOREIGN), some_entry(&mut random).into());
        let truth = Truth {
            table,
            flows: BTreeMap::new(),
            ways: (1..=LAST[1]).map(|n| (n, Ways::Well)).collect(),
            plan: plan.clone(),
            before: Plan::default(),
            began: Moment::default(),
            ours: BTreeSet::new(),
            wanted: Table::default(),
            proven: BTreeSet::new(),
            waits: BTreeMap::new(),
            barred: BTreeMap::new(),
            drained: BTreeMap::new(),
            now: Moment::default(),
            rough: false,
            random: Random::new(seed ^ 0xabcd),
            log: telling.then(Vec::new),
            broken: None,
        };
        let truth = Arc::new(Mutex::new(truth));
        let epoch = Instant::now();
        let reconciler = Reconciler::new(Box::new(kernel(&truth, mutant)), Table::default(), epoch);
        let mut world = World {
            random,
            mutant,
            truth,
            now: Moment::default(),
            epoch,
            director: Director::default(),
            reconciler,
            schedule: BTreeMap::new(),
            answers: Vec::new(),
            job: None,
            orders: Vec::new(),
            held: BTreeSet::new(),
            ill: false,
            counted: Moment::default(),
            telling,
        };
        world.start();
        world
    }

    /// The end of what happened, for people.
    pub(super) fn told(&self) -> String {
        let truth = self.truth();
        let log = truth.log.iter().flatten().cloned().collect::<Vec<_>>();
        log[log.len().saturating_sub(120)..].join("\n")
    }

    /// Something happens, and a while passes.
    pub(super) fn step(&mut self) -> Result<(), String> {
        match self.random.below(20) {
            0..=6 => self.turn_a_server(),
            7 => self.reload(),
            8 | 9 => self.order(),
            10 => self.lift(),
            11 => self.maintain(),
            12 => self.hand(),
            13 => self.crash(),
            14 => {
                let rough = self.random.chance(1, 2);
                self.truth().rough = rough;
                self.tell(|| format!("the kernel is {}", if rough { "rough" } else { "smooth" }));
            }
            15 => {
                self.ill = self.random.chance(1, 3);
                self.tell(|| format!("the director is {}", if self.ill { "ill" } else { "well" }));
            }
            _ => {}
        }
        let while_ = Duration::from_millis(self.random.below(3000));
        self.pass(while_)?;
        self.is_explained()
    }

    /// Nothing happens any more; what is then so must be right.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        self.tell(|| "rest".into());
        self.truth().rough = false;
        self.ill = false;
        self.pass(Duration::from_secs(75))?;
        self.is_right()
    }

    // ---- what happens ---------------------------------------------------------------------------

    fn turn_a_server(&mut self) {
        let n = 1 + self.random.below(u64::from(LAST[1])) as u8;
        let ways = self.random.of(&[Ways::Well, Ways::Well, Ways::Refuses, Ways::Hangs]);
        self.truth().ways.insert(n, ways);
        self.tell(|| format!("server {n}: {ways:?}"));
    }

    fn reload(&mut self) {
        let plan = plan(&mut self.random);
        self.tell(|| format!("reload: {:?}", summary(&plan)));
        let dropped: Vec<ServiceKey> = self
            .truth()
            .plan
            .services
            .keys()
            .filter(|key| !plan.services.contains_key(key))
            .copied()
            .collect();
        {
            let mut truth = self.truth();
            truth.before = std::mem::replace(&mut truth.plan, plan.clone());
            truth.ours.extend(plan.services.keys());
            // A fallback that becomes a server carries traffic already.
            let standing: Vec<_> = truth
                .table
                .services
                .iter()
                .filter(|(key, _)| plan.services.contains_key(key))
                .flat_map(|(_, entry)| live(entry))
                .collect();
            truth.proven.extend(standing);
        }
        self.trust_the_unchecked(&plan);
        self.watch(&plan);
        self.inform(Event::Reloaded(plan));
        if self.mutant == Some(Mutant::KeepsDropped) {
            dropped.iter().for_each(|key| self.reconciler.abandon(key));
            self.director.poll_changed();
            let keys: Vec<_> = self.truth().plan.services.keys().copied().collect();
            keys.into_iter().for_each(|key| self.want(key));
        }
        self.bar();
    }

    fn order(&mut self) {
        let n = 1 + self.random.below(SERVERS.into()) as u8;
        let service = self.random.chance(1, 2).then(|| key(1 + self.random.below(3) as u8));
        let port = self.random.chance(1, 2).then_some(80);
        let weight = Weight::new(self.random.below(4) as u32).unwrap();
        let deed = self.random.of(&[Deed::Drain, Deed::Disable, Deed::Weight(weight)]);
        let later = |random: &mut Random| random.chance(1, 2).then(|| Duration::from_secs(random.below(30)));
        let until = later(&mut self.random).map(|time| self.now.after(time));
        let deadline = later(&mut self.random).map(|time| self.now.after(time));
        let whom = Whom { ip: at(n).ip(), port, service };
        let order = Order { whom, deed, reason: None, given: 0, until, deadline };
        self.tell(|| format!("{order}, until {until:?}, deadline {deadline:?}"));
        self.orders.retain(|old| (old.whom, old.deed.sort()) != (whom, deed.sort()));
        self.orders.push(order.clone());
        let standing = self.standing();
        self.inform(Event::Ordered(order));
        self.bar_with(&standing);
    }

    fn lift(&mut self) {
        let Some(order) = self.orders.pop() else { return };
        self.tell(|| format!("lifted: {order}"));
        self.inform(Event::Lifted(order.whom, vec![order.deed.sort()]));
        self.bar();
    }

    fn maintain(&mut self) {
        let held: BTreeSet<u8> =
            (0..self.random.below(3)).map(|_| 1 + self.random.below(SERVERS.into()) as u8).collect();
        self.tell(|| format!("maintenance: {held:?}"));
        let over = !self.held.is_subset(&held);
        self.held = held;
        self.inform(Event::Maintenance(self.held_files()));
        if over && self.mutant == Some(Mutant::ForgetsReasons) {
            let sorts = vec![Sort::Drain, Sort::Disable, Sort::Weight];
            for order in self.orders.clone() {
                self.inform(Event::Lifted(order.whom, sorts.clone()));
            }
        }
        self.bar();
    }

    /// Somebody else's ipvsadm.
    fn hand(&mut self) {
        let (service, n) =
            (key(1 + self.random.below(3) as u8), at(1 + self.random.below(SERVERS.into()) as u8));
        let what = self.random.below(4);
        self.tell(|| format!("by hand: {what} on {n} of {service}"));
        let weight = Weight::new(self.random.below(5) as u32).unwrap();
        let mut truth = self.truth();
        let entry = truth.table.entry_mut(&service);
        match (what, entry) {
            (0, _) => truth.table.services.retain(|at, _| *at == key(FOREIGN)),
            (1, Some(entry)) => drop(entry.destinations.remove(&n)),
            (2, Some(entry)) => drop(entry.destinations.entry(n).and_modify(|d| d.weight = weight)),
            (_, Some(entry)) => entry.settings = settings("lc"),
            (_, None) => {}
        }
    }

    /// kill -9, and a new life: what was under way is lost, what is remembered is not.
    fn crash(&mut self) {
        self.tell(|| "crash".into());
        self.job = None;
        self.answers.clear();
        let kernel = Box::new(kernel(&self.truth, self.mutant));
        let epoch = self.instant();
        self.reconciler = Reconciler::new(kernel, Table::default(), epoch);
        if self.random.chance(1, 3) {
            let plan = plan(&mut self.random);
            self.tell(|| format!("and another configuration: {:?}", summary(&plan)));
            self.truth().plan = plan;
        }
        self.start();
    }

    fn start(&mut self) {
        let mut kernel = kernel(&self.truth, None);
        let rough = std::mem::replace(&mut self.truth().rough, false);
        let stands = kernel.read(&Scope::All).unwrap();
        let plan = self.truth().plan.clone();
        {
            let mut truth = self.truth();
            truth.rough = rough;
            truth.wanted = Table::default();
            (truth.waits, truth.barred) = (BTreeMap::new(), BTreeMap::new());
            let known = stands.services.iter().filter(|(key, _)| plan.services.contains_key(key));
            truth.proven = known.flat_map(|(_, entry)| live(entry)).collect();
        }
        self.trust_the_unchecked(&plan);
        self.watch(&plan);
        let now = self.now;
        self.director = Director::new(plan.clone(), &stands, now);
        let left = self.truth().ours.clone();
        for key in left.difference(&plan.services.keys().copied().collect()) {
            // Made in another life, and not configured any more.
            if self.mutant != Some(Mutant::ForgetsServices) && stands.services.contains_key(key) {
                self.reconciler.retire(*key);
            }
        }
        self.truth().ours.extend(plan.services.keys());
        self.director.handle(Event::Maintenance(self.held_files()), now);
        let standing = self.standing();
        if self.mutant != Some(Mutant::ForgetsOrders) {
            self.orders
                .clone()
                .into_iter()
                .for_each(|order| self.director.handle(Event::Ordered(order), now));
        }
        self.bar_with(&standing);
        self.follow();
    }

    // ---- time -----------------------------------------------------------------------------------

    fn pass(&mut self, while_: Duration) -> Result<(), String> {
        let end = self.now.after(while_);
        let mut idle = 0;
        loop {
            self.follow();
            let before = self.now;
            let next = self.next().filter(|next| *next <= end);
            self.now = next.unwrap_or(end).max(self.now);
            self.truth().now = self.now;
            let (from, to) = (before, self.now);
            if self.orders.iter().any(|o| o.until.is_some_and(|until| from < until && until <= to)) {
                self.bar();
            }
            if next.is_none() {
                self.inform(Event::Tick);
                self.follow();
                return self.is_sound();
            }
            self.happen();
            self.is_sound()?;
            idle = if self.now > before { 0 } else { idle + 1 };
            if idle > 1000 {
                return Err(format!(
                    "at {} time stands still: director {:?}",
                    self.now,
                    self.director.deadline()
                ));
            }
        }
    }

    /// When something is due.
    fn next(&self) -> Option<Moment> {
        let asks = self.schedule.values().copied();
        let answers = self.answers.iter().map(|(when, ..)| *when);
        let job = self.job.iter().map(|(when, _)| *when);
        let reconciler = self.reconciler.deadline().map(|at| Moment(at - self.epoch));
        let connections = Some(self.counted.after(INTERVAL));
        let all = asks
            .chain(answers)
            .chain(job)
            .chain(self.director.deadline())
            .chain(reconciler)
            .chain(connections);
        all.min().map(|moment| moment.max(self.now))
    }

    /// What is due happens.
    fn happen(&mut self) {
        let now = self.now;
        let due: Vec<u8> = self.schedule.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        due.into_iter().for_each(|n| self.ask(n));
        let (due, later): (Vec<_>, Vec<_>) = self.answers.drain(..).partition(|(at, ..)| *at <= now);
        self.answers = later;
        for (_, n, outcome) in due {
            self.hear(n, outcome);
        }
        if now >= self.counted.after(INTERVAL) {
            self.connect();
        }
        if self.job.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, job)) = self.job.take()
        {
            self.done(job.run());
        }
        self.inform(Event::Tick);
    }

    fn ask(&mut self, n: u8) {
        self.schedule.insert(n, self.now.after(INTERVAL));
        let ways = if self.ill { Ways::Hangs } else { self.truth().ways[&n] };
        let refused = || Failure::new(Phase::Connect, Reason::Refused, "refused");
        let late = || Failure::new(Phase::Connect, Reason::Timeout, "late");
        let (result, took) = match ways {
            Ways::Well => (Ok("well".into()), Duration::from_millis(5 + self.random.below(300))),
            Ways::Refuses => (Err(refused()), Duration::from_millis(5)),
            Ways::Hangs => (Err(late()), TIMEOUT),
        };
        let mut outcome = Outcome::new(result, took);
        outcome.illness = self.ill.then_some(Illness::NoCarrier);
        self.answers.push((self.now.after(took), n, outcome));
    }

    fn hear(&mut self, n: u8, outcome: Outcome) {
        let good = outcome.is_good();
        match self.mutant {
            Some(Mutant::LosesFailures) if !good => return,
            Some(Mutant::LosesRecoveries) if good && self.is_down(n) => return,
            _ => {}
        }
        if good {
            let asked = Moment(self.now.0 - outcome.took);
            let mut truth = self.truth();
            truth.proven.insert(at(n));
            truth.waits.retain(|(_, server), since| *server != at(n) || asked < *since);
        }
        self.inform(Event::Answered(probe(n), outcome));
    }

    fn is_down(&self, n: u8) -> bool {
        let mut decisions = self.director.decisions().filter(|d| d.server == at(n));
        decisions.any(|d| d.last.is_some_and(|last| !last.is_good()))
    }

    /// Connections come to those that are given some, and go.
    fn connect(&mut self) {
        self.counted = self.now;
        let mut truth = self.truth();
        let table = truth.table.clone();
        for (key, entry) in &table.services {
            for (at, destination) in &entry.destinations {
                let flows = truth.flows.get(&(*key, *at)).copied().unwrap_or(0);
                let ends = truth.random.below(2) as u32;
                let flows = if destination.weight.is_live() { 3 } else { flows.saturating_sub(ends) };
                truth.flows.insert((*key, *at), flows);
            }
        }
    }

    // ---- what follows, as in the daemon -----------------------------------------------------------

    fn inform(&mut self, event: Event) {
        self.director.handle(event, self.now);
    }

    fn follow(&mut self) {
        self.want_changed();
        while self.director.poll_notice().is_some() {}
        let now = self.instant();
        if let Some(job) = self.reconciler.job(now) {
            self.dispatch(job);
        }
    }

    fn want_changed(&mut self) {
        let changed = self.director.poll_changed();
        if !changed.is_empty() {
            self.reconciler.drain(self.director.draining().collect());
        }
        changed.into_iter().for_each(|key| self.want(key));
    }

    fn want(&mut self, service: ServiceKey) {
        let mut entry = self.director.entry(&service);
        if let Some(entry) = &mut entry {
            self.mutate(service, entry);
        }
        self.reconciler.want(service, entry);
        if self.mutant == Some(Mutant::TidiesUp) {
            self.reconciler.want(key(FOREIGN), Some(Entry::new(settings("rr"))));
        }
    }

    fn mutate(&self, key: ServiceKey, entry: &mut Entry) {
        let plan = &self.truth().plan;
        let Some(service) = plan.services.get(&key) else { return };
        let servers: BTreeSet<SocketAddr> = service.servers.iter().map(|server| server.entry).collect();
        let fallback = service.policy.fallbacks.first();
        let destination = |weight| Destination::new(lvsentry::model::Forward::Masq, weight);
        match self.mutant {
            Some(Mutant::NoFallback) => entry.destinations.retain(|at, _| servers.contains(at)),
            Some(Mutant::KeepsFallback) => {
                entry
                    .destinations
                    .extend(fallback.map(|fallback| (fallback.entry, destination(Weight::ONE))));
            }
            Some(Mutant::TrustsStrangers) => {
                let checked = service.servers.iter().filter(|server| matches!(server.watch, Watch::Probe(_)));
                for server in checked {
                    entry.destinations.entry(server.entry).or_insert(destination(Weight::ONE));
                }
            }
            Some(Mutant::QuiescesHalf) => {
                entry
                    .destinations
                    .values_mut()
                    .filter(|d| !d.weight.is_live())
                    .for_each(|d| d.weight = Weight::ONE);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, job: Job) {
        let took = Duration::from_millis(self.random.below(30));
        let mut truth = self.truth.lock().unwrap();
        truth.began = self.now;
        if let Job::Apply { desired, .. } = &job {
            truth.wanted = desired.clone();
        }
        drop(truth);
        self.job = Some((self.now.after(took), job));
    }

    fn done(&mut self, done: Done) {
        let now = self.instant();
        match done {
            Done::Read { kernel, scope, actual, drift } => {
                if let Ok(actual) = &actual {
                    for (key, entry) in self.reconciler.unknown(&scope, actual).services {
                        self.truth().proven.extend(live(&entry));
                        self.bar();
                        self.inform(Event::Found(key, entry));
                    }
                }
                for found in drift {
                    if let What::Weight(at, _, weight) = found.what {
                        self.inform(Event::SetByHand(found.service, at, weight));
                    }
                }
                self.want_changed();
                if let Some(job) = self.reconciler.read(kernel, &scope, actual, now) {
                    self.dispatch(job);
                }
            }
            Done::Counted { kernel, flows } => {
                for (key, idle) in self.reconciler.counted(kernel, flows, now) {
                    self.inform(Event::Idle(key, idle));
                }
            }
            Done::Applied { kernel, ours, steps, view, .. } => {
                self.reconciler.applied(kernel, &ours, &steps, view, now);
            }
        }
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now.0
    }

    // ---- what is so -------------------------------------------------------------------------------

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap()
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.telling {
            let line = format!("{} {}", self.now, what());
            self.truth().tell(|| line);
        }
    }

    fn held_files(&self) -> Held {
        self.held.iter().map(|n| (at(*n), "file".into())).collect()
    }

    /// Probes for all that is to be asked.
    fn watch(&mut self, plan: &Plan) {
        let services = || plan.services.values();
        let servers = services().flat_map(|s| &s.servers).map(|server| &server.watch);
        let last = services().flat_map(|s| &s.policy.fallbacks).map(|fallback| &fallback.watch);
        let asked: BTreeSet<u8> = (1..=LAST[1])
            .filter(|n| servers.clone().chain(last.clone()).any(|watch| *watch == Watch::Probe(probe(*n))))
            .collect();
        self.schedule.retain(|n, _| asked.contains(n));
        for n in asked {
            self.schedule.entry(n).or_insert(self.now);
        }
    }

    fn trust_the_unchecked(&mut self, plan: &Plan) {
        let mut truth = self.truth();
        for server in plan.services.values().flat_map(|s| &s.servers).filter(|s| s.watch == Watch::On) {
            truth.proven.insert(server.entry);
        }
    }

    fn in_force(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(|order| order.until.is_none_or(|until| self.now < until))
    }

    /// Who is to be in the table: one that failed loses his connections, drained or not.
    fn standing(&self) -> BTreeSet<(ServiceKey, SocketAddr)> {
        let wanted = self.director.decisions().filter(|decision| decision.weight.is_some());
        wanted.map(|decision| (decision.service, decision.entry)).collect()
    }

    fn bar(&mut self) {
        self.bar_with(&BTreeSet::new());
    }

    /// Works out anew who may not carry traffic, and who is drained: of those that are new to it `standing`.
    fn bar_with(&mut self, standing: &BTreeSet<(ServiceKey, SocketAddr)>) {
        let now = self.now;
        let mut barred = BTreeMap::new();
        let mut drained = BTreeMap::new();
        let plan = self.truth().plan.clone();
        for (key, service) in &plan.services {
            for server in &service.servers {
                let about = |deed: Deed| {
                    self.in_force().find(|o| o.deed == deed && o.whom.means(*key, server.address))
                };
                let held = self.held.iter().any(|n| at(*n) == server.address);
                let (drain, disable) = (about(Deed::Drain), about(Deed::Disable));
                if held || drain.is_some() || disable.is_some() {
                    barred.insert((*key, server.entry), now);
                }
                if let (Some(order), None, false, Watch::Probe(_)) = (drain, disable, held, &server.watch) {
                    let until = order.deadline.unwrap_or(Moment(Duration::MAX));
                    drained.insert((*key, server.entry), until);
                }
            }
        }
        let mut truth = self.truth();
        let before = std::mem::take(&mut truth.barred);
        for (pair, since) in &mut barred {
            *since = before.get(pair).copied().unwrap_or(*since);
        }
        drained.retain(|pair, _| standing.contains(pair) || truth.drained.contains_key(pair));
        (truth.barred, truth.drained) = (barred, drained);
        let checked = |(key, at): &(ServiceKey, SocketAddr)| {
            let servers = plan.services.get(key).into_iter().flat_map(|service| &service.servers);
            servers.filter(|s| matches!(s.watch, Watch::Probe(_))).any(|server| server.entry == *at)
        };
        let freed = before.keys().filter(|pair| !truth.barred.contains_key(pair));
        let freed: Vec<_> = freed.filter(|pair| checked(pair)).copied().collect();
        truth.waits.extend(freed.into_iter().map(|pair| (pair, now)));
        truth.waits.retain(|pair, _| checked(pair));
    }
}

fn kernel(truth: &Arc<Mutex<Truth>>, mutant: Option<Mutant>) -> SimKernel {
    let stale = (mutant == Some(Mutant::NeverLooksAgain)).then(|| truth.lock().unwrap().table.clone());
    let lies = Lies {
        adds_last: mutant == Some(Mutant::RemovesFirst),
        late: Vec::new(),
        no_flows: mutant == Some(Mutant::CutsDrains),
        all_well: mutant == Some(Mutant::TrustsTheKernel),
        stale,
    };
    SimKernel { truth: truth.clone(), lies }
}

/// Who carries traffic.
fn live(entry: &Entry) -> BTreeSet<SocketAddr> {
    entry.destinations.iter().filter(|(_, d)| d.weight.is_live()).map(|(at, _)| *at).collect()
}

/// What somebody left in the kernel.
fn some_entry(random: &mut Random) -> Entry {
    let mut entry = Entry::new(settings(random.of(&["rr", "sh"])));
    for _ in 0..random.below(4) {
        let weight = Weight::new(random.below(3) as u32).unwrap();
        let destination = Destination::new(lvsentry::model::Forward::Masq, weight);
        entry.destinations.insert(at(1 + random.below(SERVERS.into()) as u8), destination);
    }
    entry
}

/// A configuration in few words.
fn summary(plan: &Plan) -> Vec<String> {
    let one = |service: &Arc<lvsentry::model::Service>| {
        let servers: Vec<String> = service
            .servers
            .iter()
            .map(|s| {
                let watch = match s.watch {
                    Watch::Probe(_) => "",
                    Watch::On => " on",
                    Watch::Off => " off",
                };
                format!("{}={}{watch}", s.entry, s.weight)
            })
            .collect();
        let policy = &service.policy;
        let fallbacks: Vec<_> = policy.fallbacks.iter().map(|f| f.entry.to_string()).collect();
        let (hold, slow) = (policy.hold.is_some(), policy.slow_start.is_some());
        format!(
            "{}: {servers:?} fall {} rise {} {:?} {:?} {:?} hold {hold} slow {slow} {:?} fallbacks {fallbacks:?}",
            service.key,
            policy.fall,
            policy.rise,
            policy.on_failure,
            policy.by_hand,
            policy.removal,
            policy.fail_open
        )
    };
    plan.services.values().map(one).collect()
}
