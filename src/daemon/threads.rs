//! Threads to ask on, each with a runtime of its own; without any, the daemon's own runtime.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::warn;

/// How long the end waits for all of them to have ended what they were at.
const END: Duration = Duration::from_secs(1);

/// The threads. They end when this is dropped.
pub(super) struct Threads {
    /// One for each thread; none: the runtime that this was made within.
    running: Vec<Worker>,
    /// Ends once the last of them has.
    ended: Receiver<()>,
}

struct Worker {
    runtime: Handle,
    /// Ends it by being dropped.
    _end: oneshot::Sender<()>,
}

impl Threads {
    /// Starts as many threads; none when it is to be one, for there is one already. What can't be started
    /// is told, and left out.
    pub(super) fn start(count: usize) -> Threads {
        let (alive, ended) = sync_channel(0);
        let mut running = Vec::new();
        while running.len() < count && count > 1 {
            match worker(alive.clone()) {
                Ok(worker) => running.push(worker),
                Err(why) => {
                    let so_far = running.len().max(1);
                    warn!(id = "workers", "cannot start {count} workers: {why}; going on with {so_far}");
                    break;
                }
            }
        }
        Threads { running, ended }
    }

    /// Where to ask, one for each thread. Must be called within a runtime.
    pub(super) fn handles(&self) -> impl Iterator<Item = Handle> {
        let own = self.running.is_empty().then(Handle::current);
        self.running.iter().map(|worker| worker.runtime.clone()).chain(own)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.running.clear();
        // Check commands get their signal from the task that is dropped there. Nobody sends anything: it is the
        // last sender's end that is waited for.
        let _ = self.ended.recv_timeout(END);
    }
}

/// A thread that runs what it is given until it is to end. `alive` lives as long as it does.
fn worker(alive: SyncSender<()>) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (end, ends) = oneshot::channel::<()>();
    thread::Builder::new().name("probes".into()).spawn(move || {
        // An error is the sender's end, which is what is waited for.
        let _ = runtime.block_on(ends);
        // What blocks holds nobody up: it is left behind.
        runtime.shutdown_background();
        drop(alive);
    })?;
    Ok(Worker { runtime: handle, _end: end })
}
