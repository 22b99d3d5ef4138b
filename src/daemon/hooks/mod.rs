//! Commands that the configuration wants run: `hooks` when a server is up or down, when a fallback serves or
//! does not, when the role changes; `fallbackcommand` when no server of a service is up and when one is
//! again; `callback` when the configuration file has changed.
//!
//! Every service has a queue of its own, and so have the role and the callback. What is in it is run one
//! after the other, so that nothing overtakes. It holds what is so now: of several commands about one
//! server, one fallback that wait only the newest counts, and what was told already is not told again.
//! Of all services together a bounded number is run at once. Nobody waits for a command, and each has a minute: then its process group is told to end, and a second
//! later it must.

mod command;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::config::Config;
use crate::director::Director;
use crate::model::ServiceKey;

/// How many commands of services are run at once: at a start or a promotion each may have one.
const SLOTS: usize = 32;

/// All queues.
pub struct Hooks {
    /// What this daemon is called: LVSENTRY_INSTANCE.
    instance: String,
    services: BTreeMap<ServiceKey, Queue>,
    /// Queues that are not there any more, and may still run something.
    ended: BTreeMap<ServiceKey, JoinHandle<()>>,
    slots: Arc<Semaphore>,
    role: Queue,
    callback: Queue,
}

impl Hooks {
    /// No commands yet; in their environment this daemon has that name. Must be called within a runtime.
    pub fn new(instance: String) -> Hooks {
        let own = || Queue::new(None, Arc::new(Semaphore::new(1)));
        Hooks {
            instance,
            services: BTreeMap::new(),
            ended: BTreeMap::new(),
            slots: Arc::new(Semaphore::new(SLOTS)),
            role: own(),
            callback: own(),
        }
    }

    /// Something about a service may have changed: runs its commands if they were not told yet what is so
    /// now. Nothing is told before the first results are in.
    pub fn consider(&mut self, key: ServiceKey, config: &Config, director: &Director) {
        let extras = config.extras.get(&key);
        let extras = extras.filter(|extras| extras.fallback_command.is_some() || !extras.hooks.is_empty());
        let Some((extras, pool)) = extras.zip(director.pool(&key)) else {
            if let Some(queue) = self.services.remove(&key) {
                self.end(key, queue);
            }
            return;
        };
        let new = || Queue::new(self.ended.remove(&key), self.slots.clone());
        let queue = self.services.entry(key).or_insert_with(new);
        let about = service::About { instance: &self.instance, extras, pool };
        let news = about.news(&queue.newest.borrow());
        queue.put(&about.known(), news);
    }

    /// The role has changed, or is what it is at the start.
    pub fn turned(&mut self, active: bool, why: &str, config: &Config) {
        let (event, line) = match active {
            true => ("promote", &config.hooks.promote),
            false => ("demote", &config.hooks.demote),
        };
        if config.hooks.promote.is_none() && config.hooks.demote.is_none() {
            return;
        }
        let environment = command::environment(&[
            ("LVSENTRY_EVENT", event),
            ("LVSENTRY_INSTANCE", &self.instance),
            ("LVSENTRY_REASON", why),
        ]);
        let job = Job { run: Run::hook(line.as_ref()), news: event.into(), environment };
        self.role.put(&BTreeSet::from([Subject::Role]), vec![(Subject::Role, job)]);
    }

    /// This director stands by: what waits about services is not run, and what is so once it is active
    /// again is told anew.
    pub fn rest(&mut self) {
        for (key, queue) in std::mem::take(&mut self.services) {
            queue.forget();
            self.end(key, queue);
        }
    }

    /// The configuration file has changed.
    pub fn call_back(&mut self, program: &Path, file: &Path) {
        let run = Run::Program { program: program.to_owned(), argument: file.to_owned() };
        let job = Job { run, news: String::new(), environment: Vec::new() };
        // The same as before is news: the file has changed once more.
        self.callback.again(job);
    }

    /// Keeps in mind what a queue may still run, so that the next one of that service waits for it.
    fn end(&mut self, key: ServiceKey, queue: Queue) {
        self.ended.retain(|_, task| !task.is_finished());
        self.ended.insert(key, queue.task);
    }
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The service, to its `fallbackcommand`.
    Command,
    /// Its fallback.
    Fallback,
    /// A server of it.
    Server(SocketAddr),
    /// The role of this director.
    Role,
    /// The configuration file.
    File,
}

/// Something to tell.
#[derive(Debug, Clone)]
struct Job {
    run: Run,
    /// What makes it another one than the one before, beside the command.
    news: String,
    environment: Vec<(&'static str, String)>,
}

/// What tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    /// Nothing: nobody wants to hear this, but what comes after it.
    Nothing,
    /// A line for the shell.
    Shell(String),
    /// A program, and its one argument.
    Program { program: PathBuf, argument: PathBuf },
}

impl Run {
    fn hook(line: Option<&String>) -> Run {
        line.map_or(Run::Nothing, |line| Run::Shell(line.clone()))
    }
}

impl Job {
    fn is(&self, run: &Run, news: &str) -> bool {
        self.run == *run && self.news == news
    }

    fn is_like(&self, other: &Job) -> bool {
        self.is(&other.run, &other.news)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Run::Nothing => Ok(()),
            Run::Shell(line) => f.write_str(line),
            Run::Program { program, argument } => write!(f, "{} {}", program.display(), argument.display()),
        }
    }
}

/// What is so now, about every subject, and the how-manyth news that was.
type Newest = BTreeMap<Subject, (u64, Job)>;

/// Runs one after the other, as long as it or what was put into it last is there.
struct Queue {
    newest: watch::Sender<Newest>,
    /// How many news there were.
    count: u64,
    task: JoinHandle<()>,
}

impl Queue {
    /// An empty one, that runs nothing before that task has ended, nor without a slot.
    fn new(before: Option<JoinHandle<()>>, slots: Arc<Semaphore>) -> Queue {
        let (newest, jobs) = watch::channel(Newest::new());
        Queue { newest, count: 0, task: tokio::spawn(work(before, jobs, slots)) }
    }

    /// Takes in what is so now; about other subjects than these nothing is known any more.
    fn put(&mut self, known: &BTreeSet<Subject>, jobs: Vec<(Subject, Job)>) {
        self.newest.send_if_modified(|newest| {
            newest.retain(|subject, _| known.contains(subject));
            let before = self.count;
            for (subject, job) in jobs {
                if newest.get(&subject).is_some_and(|(_, known)| known.is_like(&job)) {
                    continue;
                }
                self.count += 1;
                newest.insert(subject, (self.count, job));
            }
            self.count > before
        });
    }

    fn again(&mut self, job: Job) {
        self.count += 1;
        self.newest.send_modify(|newest| drop(newest.insert(Subject::File, (self.count, job))));
    }

    /// Lets go of what waits.
    fn forget(&self) {
        self.newest.send_modify(Newest::clear);
    }
}

async fn work(before: Option<JoinHandle<()>>, mut newest: watch::Receiver<Newest>, slots: Arc<Semaphore>) {
    if let Some(before) = before {
        // It fails only when that task panicked: then it runs nothing any more.
        let _ = before.await;
    }
    // What was looked at last about each subject, and what was run.
    let mut seen: BTreeMap<Subject, (u64, Option<Job>)> = BTreeMap::new();
    let mut skipped = None;
    loop {
        if oldest(&newest.borrow_and_update(), &mut seen).is_none() {
            // What was put in last is seen though the sender is gone.
            if newest.changed().await.is_err() {
                return;
            }
            continue;
        }
        // It fails only when nobody may have a slot any more, and that is never said.
        let _slot = slots.acquire().await;
        // Other words may have come since.
        let waiting = oldest(&newest.borrow_and_update(), &mut seen);
        let Some((subject, number, job)) = waiting else { continue };
        let done = seen.get(&subject).and_then(|(_, done)| done.clone());
        // There and back while another was running: all is told already.
        let is_told = subject != Subject::File && done.as_ref().is_some_and(|done| done.is_like(&job));
        if is_told || !can_run(&job, &mut skipped).await {
            seen.insert(subject, (number, done));
            continue;
        }
        if let Err(why) = command::run(&job).await {
            error!(id = "command-failed", "system({job}) failed: {why}");
        }
        seen.insert(subject, (number, Some(job)));
    }
}

/// Of the news that were not looked at, the oldest.
fn oldest(newest: &Newest, seen: &mut BTreeMap<Subject, (u64, Option<Job>)>) -> Option<(Subject, u64, Job)> {
    seen.retain(|subject, _| newest.contains_key(subject));
    let is_new = |subject: &Subject, number: u64| seen.get(subject).is_none_or(|(last, _)| *last != number);
    let waiting = newest.iter().filter(|(subject, (number, _))| is_new(subject, *number));
    let oldest = waiting.min_by_key(|(_, (number, _))| *number);
    oldest.map(|(subject, (number, job))| (*subject, *number, job.clone()))
}

/// Whether a job can be run; that a callback can not is told once.
async fn can_run(job: &Job, skipped: &mut Option<PathBuf>) -> bool {
    let Run::Program { program, .. } = &job.run else { return true };
    if command::is_executable(program).await {
        return true;
    }
    if skipped.as_ref() != Some(program) {
        warn!(
            id = "callback-skipped",
            "callback {} is skipped: not an executable file (it takes no arguments)",
            program.display()
        );
        *skipped = Some(program.clone());
    }
    false
}
