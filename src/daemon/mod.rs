//! The shell round the core: owns the tasks, the clock and the signals.
//!
//! Everything that happens becomes an [`Event`] on one channel, and one loop takes them in. It asks
//! the director what follows, hands the reconciler what changed, and tells the log last. Nothing
//! in the loop waits for anything but the channel: kernel calls and file reads run where blocking is
//! allowed, and come back as events.
#![allow(clippy::disallowed_methods)] // the clock belongs here

mod agenda;
mod alerting;
pub mod apply;
mod asked;
pub mod changes;
pub mod further;
pub mod hooks;
pub mod illness;
pub mod journal;
pub mod keeper;
mod lane;
mod limits;
pub mod load;
mod loading;
pub mod logging;
pub mod maintenance;
pub mod monitor;
mod named;
pub mod prober;
pub mod queue;
pub mod recent;
pub mod reconcile;
pub mod rehearsal;
pub mod reload;
mod results;
mod role;
pub mod start;
pub mod state;
pub mod sysctl;
pub mod syslog;
pub mod telling;
mod threads;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::diagnostic::Report;
use crate::config::{Config, Loaded};
use crate::director::Director;
use crate::director::event::{Event as Input, Notice};
use crate::http::ask::Ask;
use crate::ipvs::error::ReadError;
use crate::ipvs::{Kernel, Scope};
use crate::model::{Moment, ProbeKey, ServiceKey};
use crate::outcome::Outcome;
use crate::probe::Tools;
use crate::table::Table;
use crate::table::drift::{Drift, What};
use crate::table::flow::Flows;
use alerting::Alerting;
use apply::{Applied, Untold};
use asked::Waiter;
use changes::Changes;
use further::Further;
use hooks::Hooks;
use keeper::Keeper;
use maintenance::{Maintenance, News};
use monitor::Monitors;
use prober::Probers;
use recent::Recent;
use reconcile::{Done, Reconciler};
use results::Results;
use role::Duty;

/// How many events may wait before those who send them do.
const QUEUE: usize = 1024;

/// Lines that are told before the loop looks for events again.
const TELL: usize = 64;

/// How long a stop may take to remove our services.
const STOP: Duration = Duration::from_secs(5);

/// Everything that can happen to the daemon.
pub enum Event {
    /// A probe was answered, or not.
    Answered(ProbeKey, Outcome),
    /// The kernel was read, or changed.
    Kernel(Done),
    /// Something came to be known about who is in maintenance.
    Maintenance(News),
    /// The configuration file changed on disk.
    FileChanged,
    /// Somebody asked for the configuration to be read anew.
    Reload,
    /// It was read.
    Loaded(Box<Result<(Loaded, Changes), Report>>),
    /// This director is to keep the table from now on; why.
    Promote(String),
    /// It is to stand by; why.
    Demote(String),
    /// Somebody asks over the control socket.
    Ask(Ask),
    /// The state file was written, or not.
    Remembered(std::io::Result<()>),
    /// Somebody asked for the end; the name of the signal.
    Stop(&'static str),
    /// Somebody asked for the end, with all left as it stands in the kernel; the name of the signal.
    Leave(&'static str),
}

/// Reads the configuration anew. Blocks.
pub type Loader = Arc<dyn Fn() -> Result<Loaded, Report> + Send + Sync>;

/// What a daemon is made of.
pub struct Setup {
    /// The configuration to begin with.
    pub config: Config,
    /// Its file's name, as people know it.
    pub path: PathBuf,
    /// Reads it anew.
    pub loader: Loader,
    /// The kernel whose table is to be kept.
    pub kernel: Box<dyn Kernel>,
    /// What probes share.
    pub tools: Tools,
    /// How many probes may be in flight at once.
    pub slots: usize,
}

/// Locks it. Nothing that is guarded in here is left half done, whatever becomes of who holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The daemon.
pub struct Daemon {
    director: Director,
    reconciler: Reconciler,
    probers: Probers,
    alerting: Alerting,
    maintenance: Maintenance,
    hooks: Hooks,
    monitors: Monitors,
    further: Further,
    duty: Duty,
    /// Where log lines go, as far as the configuration says so.
    log: Option<logging::Target>,
    config: Arc<Config>,
    path: PathBuf,
    loader: Loader,
    loading: bool,
    /// Whether another reload was asked for while one was under way.
    reload_again: bool,
    /// Whether it is read for no other reason than that the file changed.
    unasked: bool,
    /// Whether the callback is to be run once the file is read.
    callback_due: bool,
    /// Operations that are still to be told.
    untold: Untold,
    /// Until when what is to be removed must be, and the signal that asked for it.
    stopping: Option<(Instant, &'static str)>,
    started: Instant,
    /// When the loop last woke: one look at the clock serves all that it does until it sleeps again.
    now: Instant,
    /// When that was by people's clock: since 1970.
    epoch: Duration,
    keeper: Keeper,
    recent: Recent,
    results: Results,
    /// Who waits for the reload that is under way, and who for the one after.
    reloading: Vec<Waiter>,
    reload_asked: Vec<Waiter>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

impl Daemon {
    /// A daemon; its kernel's table is read once, which blocks. Must be called within a runtime.
    pub fn new(setup: Setup) -> Result<Daemon, ReadError> {
        let Setup { config, path, loader, mut kernel, tools, slots } = setup;
        let stands = kernel.read(&Scope::All)?;
        let (sender, events) = mpsc::channel(QUEUE);
        let started = Instant::now();
        let duty = Duty::new(&config.role, &sender);
        // Who stands by meets the table when its turn comes.
        let adopted = if duty.active { stands } else { Table::default() };
        let mut director = Director::new(config.plan.clone(), &adopted, Moment::default());
        let mut maintenance = Maintenance::new(sender.clone());
        if let Some(directory) = &config.maintenance {
            maintenance.hear(maintenance::first(directory));
        }
        director.handle(Input::Maintenance(maintenance.set(&config)), Moment::default());
        let alerting = Alerting::new(&config, tools.trust.clone());
        let mut probers = Probers::new(tools, slots, sender.clone(), limits::workers(&config));
        probers.change(&[], config.inquiries.clone());
        Ok(Daemon {
            director,
            reconciler: Reconciler::new(kernel, adopted, started),
            probers,
            alerting,
            maintenance,
            hooks: Hooks::new(start::instance(&path)),
            monitors: Monitors::new(&config),
            further: Further::none(),
            duty,
            log: None,
            config: Arc::new(config),
            path,
            loader,
            loading: false,
            reload_again: false,
            unasked: false,
            callback_due: false,
            untold: Untold::default(),
            stopping: None,
            started,
            now: started,
            // A clock before 1970 only makes times look odd.
            epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            keeper: Keeper::none(),
            recent: Recent::default(),
            results: Results::default(),
            reloading: Vec::new(),
            reload_asked: Vec::new(),
            sender,
            events,
        })
    }

    /// Starts and stops further instances (`execute`) too, by calling ourselves `program`. Must be
    /// called within a runtime.
    pub fn with_further(self, program: OsString) -> Daemon {
        Daemon { further: Further::new(program), ..self }
    }

    /// Sends log lines where a newly read configuration says.
    pub fn with_log(self, log: Option<logging::Target>) -> Daemon {
        Daemon { log, ..self }
    }

    /// Remembers in this file, and begins with what it remembers: orders are in force before anything is
    /// done to the kernel, and services that it names and nobody configures any more are to leave. Blocks.
    pub fn with_state(mut self, path: PathBuf) -> Daemon {
        self.keeper = Keeper::open(path, self.epoch);
        let memo = self.keeper.known().clone();
        let orders: Vec<_> = memo.orders.iter().filter_map(|saved| saved.order(self.epoch).ok()).collect();
        for order in orders {
            if order.until.is_none_or(|until| until > Moment::default()) {
                self.inform(Input::Ordered(order));
            }
        }
        for key in memo.services.iter().filter(|key| !self.config.plan.services.contains_key(key)) {
            self.reconciler.retire(*key);
        }
        if !self.duty.active {
            self.reconciler.rest(false);
        }
        self
    }

    /// Where to send events from outside.
    pub fn sender(&self) -> mpsc::Sender<Event> {
        self.sender.clone()
    }

    /// Works until it is stopped and what is to be removed is removed.
    pub async fn run(mut self) {
        self.further.want(&self.config.execute);
        self.woke();
        loop {
            let told = self.act();
            if let Some((_, signal)) = self.stopping.filter(|_| self.is_done()) {
                self.tell(usize::MAX);
                self.further.ended().await;
                self.alerting.finish().await;
                info!(id = "stopped", "Linux Director Daemon terminated on signal: {signal}");
                return;
            }
            if told {
                let next = tokio::time::timeout_at(self.deadline(), self.events.recv()).await;
                self.woke();
                match next {
                    // The daemon holds a sender of its own, so that the channel never ends.
                    Ok(event) => event.into_iter().for_each(|event| self.take(event)),
                    Err(_) => self.inform(Input::Tick),
                }
            } else {
                tokio::task::yield_now().await;
                self.woke();
            }
            // What came in together is taken in together: one look at the kernel serves all.
            for _ in 0..QUEUE {
                let Ok(event) = self.events.try_recv() else { break };
                self.take(event);
            }
        }
    }

    fn woke(&mut self) {
        self.now = Instant::now();
        self.recent.woke();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Answered(..) | Event::Loaded(_) | Event::Maintenance(_) if self.stopping.is_some() => {}
            Event::Answered(probe, mut outcome) => {
                journal::answered(&probe, &outcome, &self.director);
                journal::ended(&self.config, &probe, &outcome);
                self.monitors.answered(&self.director, &probe, &outcome);
                self.results.add(&probe, &mut outcome, self.moment());
                self.inform(Input::Answered(probe, outcome));
            }
            Event::Maintenance(news) => {
                let held = self.maintenance.hear(news);
                self.inform(Input::Maintenance(held));
            }
            Event::Kernel(Done::Read { kernel, scope, actual, drift }) => {
                self.read(kernel, &scope, actual, &drift);
            }
            Event::Kernel(Done::Applied { kernel, ours, steps, view, took }) => {
                journal::applied(steps.iter().map(|step| step.count).sum(), took);
                let gone = self.reconciler.applied(kernel, &ours, &steps, view, self.now);
                gone.iter().for_each(|key| self.keeper.forget(key));
                self.untold.extend(steps);
            }
            Event::Kernel(Done::Counted { kernel, flows }) => self.counted(kernel, flows),
            Event::Ask(ask) => self.asked(ask),
            Event::Remembered(result) => self.keeper.written(result, self.now),
            Event::FileChanged => self.file_changed(),
            Event::Reload => {
                info!(id = "reload", "Reloading Linux Director Daemon config on signal");
                self.unasked = false;
                self.load();
            }
            Event::Loaded(loaded) => self.loaded(*loaded),
            Event::Promote(why) => self.promote(why),
            Event::Demote(why) => self.demote(why),
            Event::Stop(signal) => self.stop(signal, false),
            Event::Leave(signal) => self.stop(signal, true),
        }
    }

    /// When the loop last woke, as the core counts time.
    fn moment(&self) -> Moment {
        Moment(self.now.saturating_duration_since(self.started))
    }

    fn inform(&mut self, input: Input) {
        let now = self.moment();
        self.director.handle(input, now);
    }

    /// Lets everything follow from what the director now says: the kernel first, then the log.
    /// Says whether all is told.
    fn act(&mut self) -> bool {
        self.want_changed();
        let now = self.now;
        if let Some(job) = self.reconciler.job(now) {
            self.dispatch(job);
        }
        self.tell_role();
        if let Some(write) = self.keeper.job(&self.director, now) {
            let sender = self.sender.clone();
            tokio::task::spawn_blocking(move || {
                let _ = sender.blocking_send(Event::Remembered(write.run()));
            });
        }
        self.tell_load(now);
        let told = self.tell(TELL);
        self.alerting.tick(self.moment());
        if told && self.alerting.is_catching_up() && self.has_caught_up() {
            self.alerting.caught_up();
        }
        told
    }

    /// Whether every server has had its first result, and what follows from that is done.
    fn has_caught_up(&self) -> bool {
        self.director.has_heard_all() && self.reconciler.has_tried_all() && !self.keeper.is_holding()
    }

    /// Tells what happened, at most so much of it, since telling must not hold up the checks. Says
    /// whether all is told.
    fn tell(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if let Some(notice) = self.director.poll_notice() {
                let id = journal::notice(&notice);
                self.recent.notice(id, &notice);
                self.alerting.noticed(&notice, self.moment());
                // An order may have ended by itself.
                if let Notice::OrderOver(..) | Notice::WeightBack(_) = notice {
                    self.keeper.remember(None);
                }
            } else if let Some(applied) = self.untold.next() {
                self.tell_applied(&applied);
            } else {
                return true;
            }
        }
        false
    }

    fn tell_applied(&mut self, applied: &Applied) {
        match &applied.result {
            Ok(()) => {
                let ends = self.stopping.is_some() || !self.duty.active;
                for told in telling::told(&applied.op, &self.director, ends) {
                    journal::told(&told);
                    self.recent.told(&told);
                    self.alerting.told(&told);
                }
            }
            Err(why) => {
                let line = journal::refused(&applied.op, why);
                self.recent.add("table-refused", Some(*applied.op.service()), None, line);
            }
        }
    }

    fn want_changed(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let changed = self.director.poll_changed();
        if !self.duty.active {
            return;
        }
        if !changed.is_empty() {
            self.reconciler.drain(self.director.draining().collect());
        }
        self.follow(changed);
        for key in self.keeper.released(self.now) {
            self.want(key);
        }
    }

    /// Lets the kernel, and what is told and run around services, follow from what they should be.
    pub(super) fn follow(&mut self, services: impl IntoIterator<Item = ServiceKey>) {
        let now = self.moment();
        for key in services {
            self.alerting.changed(&key, &self.director, now);
            self.want(key);
            self.hooks.consider(key, &self.config, &self.director);
        }
    }

    /// Has the kernel hold of a service what the director says; one that is new waits until it is
    /// remembered that it is ours.
    fn want(&mut self, key: ServiceKey) {
        match self.director.entry(&key) {
            Some(_) if !self.keeper.may_make(key, self.now) => {}
            None if !self.reconciler.wants(&key) => self.keeper.forget(&key),
            entry => self.reconciler.want(key, entry),
        }
    }

    fn counted(&mut self, kernel: Box<dyn Kernel>, flows: Result<Flows, ReadError>) {
        if let Err(why) = &flows {
            error!(id = "table-unreadable", "{why}");
        }
        for (key, idle) in self.reconciler.counted(kernel, flows, self.now) {
            self.inform(Input::Idle(key, idle));
        }
    }

    fn dispatch(&self, job: reconcile::Job) {
        let sender = self.sender.clone();
        tokio::task::spawn_blocking(move || {
            // The receiver is gone only when the daemon has ended.
            let _ = sender.blocking_send(Event::Kernel(job.run()));
        });
    }

    fn read(
        &mut self,
        kernel: Box<dyn Kernel>,
        scope: &BTreeSet<ServiceKey>,
        actual: Result<Table, ReadError>,
        drift: &[Drift],
    ) {
        match &actual {
            Ok(actual) => {
                for (key, entry) in self.reconciler.unknown(scope, actual).services {
                    self.inform(Input::Found(key, entry));
                }
            }
            Err(why) => error!(id = "table-unreadable", "{why}"),
        }
        for found in drift {
            warn!(id = "drift", "{found}");
            self.recent.add("drift", Some(found.service), None, found.to_string());
            if let What::Weight(at, _, weight) = found.what {
                self.inform(Input::SetByHand(found.service, at, weight));
            }
        }
        self.want_changed();
        if let Some(job) = self.reconciler.read(kernel, scope, actual, self.now) {
            self.dispatch(job);
        }
    }

    /// Begins to end. A second signal changes nothing: [`STOP`] bounds it all the same.
    fn stop(&mut self, signal: &'static str, leave: bool) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some((self.now + STOP, signal));
        self.probers.stop();
        self.reconciler.drain(BTreeSet::new());
        self.alerting.stopping();
        self.further.stop(leave);
        // What a standby is still to remove, it removes.
        let pools = self.director.pools().filter(|_| self.duty.active);
        for pool in pools {
            let service = pool.service();
            if service.policy.clean_stop && !leave {
                self.reconciler.want(service.key, None);
            } else {
                self.reconciler.abandon(&service.key);
            }
        }
    }

    fn is_done(&self) -> bool {
        let done = self.reconciler.is_idle() && self.keeper.is_idle();
        self.stopping.is_some_and(|(end, _)| done || self.now >= end)
    }

    /// When to look again though nothing happens.
    fn deadline(&self) -> Instant {
        let moments = [self.director.deadline(), self.alerting.deadline()];
        let moment = moments.into_iter().flatten().min().map(|moment| self.started + moment.0);
        let far = self.now + Duration::from_secs(3600);
        let stop = self.stopping.map(|(end, _)| end);
        let shell = [self.reconciler.deadline(), self.keeper.deadline(), Some(self.probers.deadline())];
        shell.into_iter().chain([moment, stop]).flatten().min().unwrap_or(far)
    }
}
