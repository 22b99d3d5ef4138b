//! When the state file is written, and who waits for it.
//!
//! One write at a time, where blocking is allowed; while one is under way the newest wish waits. A
//! service that is new waits for its name to be in the file before it is made, so that it is known to
//! be ours whatever happens then; but not for long, and not when the file can not be written: a disk
//! may cost us our memory, and nobody his traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::state::{self, Memo, Saved};
use crate::director::Director;
use crate::model::ServiceKey;

/// How long a new service waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long after a failed write the next one is tried.
const RETRY: Duration = Duration::from_secs(30);

/// Called once what was decided is on disk, or with why it is not.
pub type Heard = Box<dyn FnOnce(Option<String>) + Send>;

/// Remembers what must outlive us.
pub struct Keeper {
    /// None: nothing is remembered.
    path: Option<PathBuf>,
    /// When the daemon started, by people's clock.
    epoch: Duration,
    services: BTreeSet<ServiceKey>,
    /// What the file holds, or would hold if it could be written.
    known: Memo,
    /// Whether something may differ from that.
    changed: bool,
    /// What is being written, and who waits for it.
    writing: Option<(Memo, Vec<Heard>)>,
    /// Who waits for the next write.
    waiting: Vec<Heard>,
    /// Services that wait to be made, and until when.
    held: BTreeMap<ServiceKey, Instant>,
    /// After a failed write, when to try again.
    retry: Option<Instant>,
}

/// A write; run it where blocking is allowed.
pub struct Write {
    path: PathBuf,
    memo: Memo,
}

impl Write {
    /// Does it. Blocks.
    pub fn run(self) -> io::Result<()> {
        state::write(&self.path, &self.memo)
    }
}

impl Keeper {
    /// One that remembers nothing.
    pub fn none() -> Keeper {
        Keeper {
            path: None,
            epoch: Duration::ZERO,
            services: BTreeSet::new(),
            known: Memo::default(),
            changed: false,
            writing: None,
            waiting: Vec::new(),
            held: BTreeMap::new(),
            retry: None,
        }
    }

    /// One with this file, and what the file remembers; `epoch` is when the daemon started, by people's
    /// clock. Blocks.
    pub fn open(path: PathBuf, epoch: Duration) -> Keeper {
        let shown = path.display();
        let known = state::read(&path).unwrap_or_else(|fault| {
            match state::set_aside(&path) {
                Ok(aside) => error!(
                    id = "state-lost",
                    "state file {shown} is not used: {fault}; it is now {}; orders in it are not in force",
                    aside.display()
                ),
                Err(why) => error!(
                    id = "state-lost",
                    "state file {shown} is not used: {fault}; orders in it are not in force, and it can \
                     not be put aside: {why}"
                ),
            }
            Memo::default()
        });
        let services = known.services.clone();
        Keeper { path: Some(path), epoch, services, known, ..Keeper::none() }
    }

    /// What the file remembers.
    pub fn known(&self) -> &Memo {
        &self.known
    }

    /// A service is ours. Says whether it may be made now; if not, [`Keeper::released`] names it later.
    pub fn may_make(&mut self, key: ServiceKey, now: Instant) -> bool {
        if self.path.is_none() {
            return true;
        }
        if self.services.insert(key) {
            self.changed = true;
        }
        if self.held.contains_key(&key) {
            return false;
        }
        let fine = self.known.services.contains(&key) || self.retry.is_some();
        if !fine {
            self.held.insert(key, now + PATIENCE);
        }
        fine
    }

    /// A service of ours has left the kernel, or will not be made.
    pub fn forget(&mut self, key: &ServiceKey) {
        self.changed |= self.services.remove(key);
    }

    /// What operators decided may have changed; `heard` is called once that is on disk.
    pub fn remember(&mut self, heard: Option<Heard>) {
        match heard {
            Some(heard) if self.path.is_none() => heard(Some("this daemon keeps no state file".into())),
            heard => {
                self.changed = self.path.is_some();
                self.waiting.extend(heard);
            }
        }
    }

    /// The services that need not wait any longer.
    pub fn released(&mut self, now: Instant) -> Vec<ServiceKey> {
        let (known, failed) = (&self.known.services, self.retry.is_some());
        let is_free = |key: &ServiceKey, until: &Instant| failed || known.contains(key) || *until <= now;
        let free = self.held.iter().filter(|(key, until)| is_free(key, until)).map(|(key, _)| *key);
        let free: Vec<_> = free.collect();
        let late = free.iter().filter(|key| !failed && !known.contains(key)).count();
        if late > 0 {
            warn!(id = "state-slow", "the state file is late: {late} services are made before it is written");
        }
        self.held.retain(|key, _| !free.contains(key));
        free
    }

    /// Whether services wait to be made.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether all that can be on disk is.
    pub fn is_idle(&self) -> bool {
        self.path.is_none() || self.writing.is_none() && (!self.changed || self.retry.is_some())
    }

    /// When there is something to do though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let retry = self.retry.filter(|_| self.changed && self.writing.is_none());
        self.held.values().copied().chain(retry).min()
    }

    /// The next write, if there is something to write and none is under way.
    pub fn job(&mut self, director: &Director, now: Instant) -> Option<Write> {
        if !self.changed || self.writing.is_some() {
            return None;
        }
        // Who waits for an answer does not wait for the next try.
        if self.waiting.is_empty() && self.retry.is_some_and(|at| now < at) {
            return None;
        }
        let path = self.path.clone()?;
        let orders = director.orders().map(|order| Saved::of(order, self.epoch)).collect();
        let memo = Memo { services: self.services.clone(), orders };
        self.changed = false;
        let waiting = std::mem::take(&mut self.waiting);
        if memo == self.known && self.retry.is_none() {
            waiting.into_iter().for_each(|heard| heard(None));
            return None;
        }
        self.writing = Some((memo.clone(), waiting));
        Some(Write { path, memo })
    }

    /// A write is done, or failed.
    pub fn written(&mut self, result: io::Result<()>, now: Instant) {
        let Some((memo, waiting)) = self.writing.take() else { return };
        let shown = self.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let failed = self.retry.is_some();
        let why = result.err().map(|why| format!("state file {shown} can not be written: {why}"));
        match &why {
            None if failed => info!(id = "state-written", "state file {shown} can be written again"),
            Some(why) if !failed => warn!(
                id = "state-unwritable",
                "{why}; what is decided now is in force, and forgotten with the next restart"
            ),
            _ => {}
        }
        if why.is_none() {
            self.known = memo;
            self.retry = None;
        } else {
            self.retry = Some(now + RETRY);
            self.changed = true;
        }
        waiting.into_iter().for_each(|heard| heard(why.clone()));
    }
}
