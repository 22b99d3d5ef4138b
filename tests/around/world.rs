//! A daemon whose configuration is a text, whose servers answer as they are told, and whose log is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lvsentry::config::{self, Config, Extras, Inquiry, Loaded, SystemNames};
use lvsentry::daemon::{Daemon, Event, Setup};
use lvsentry::ipvs::error::{OpError, ReadError};
use lvsentry::ipvs::{Kernel, Memory, Scope};
use lvsentry::model::{ServiceKey, Watch};
use lvsentry::outcome::{Failure, Phase, Reason};
use lvsentry::probe::{Asking, Call, Probe, Tools};
use lvsentry::span::Source;
use lvsentry::table::flow::Flows;
use lvsentry::table::{Op, Table};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// How long a test waits for what must come; less than anything that is looked at by the clock only.
const PATIENCE: Duration = Duration::from_secs(15);

/// From question to question.
const INTERVAL: Duration = Duration::from_millis(20);

/// A folder that goes with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lvsentry-around-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An executable script.
    pub(super) fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits until something is so.
#[track_caller]
pub(super) fn until(what: &'static str, is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let so = async {
            while !is_so() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(PATIENCE, so).await.is_ok(), "{place}: waited in vain until {what}");
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to keep it, until the guard is dropped.
    pub(super) fn keep() -> (Log, DefaultGuard) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn count(&self, what: &str) -> usize {
        self.text().matches(what).count()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// What tests turn: results by server, else `well`.
#[derive(Debug, Default)]
struct Servers {
    bad: BTreeMap<SocketAddr, String>,
    good: BTreeMap<SocketAddr, String>,
    asked: BTreeMap<SocketAddr, usize>,
}

type Shared = Arc<Mutex<Servers>>;

#[derive(Debug)]
struct Scripted(SocketAddr, Shared);

impl Probe for Scripted {
    fn ask<'a>(&'a self, _: &'a Call) -> Asking<'a> {
        Box::pin(async move {
            let mut servers = self.1.lock().unwrap();
            *servers.asked.entry(self.0).or_default() += 1;
            if let Some(why) = servers.bad.get(&self.0) {
                return Err(Failure::new(Phase::Connect, Reason::Refused, why));
            }
            Ok(servers.good.get(&self.0).cloned().unwrap_or("well".into()))
        })
    }

    fn identity(&self) -> String {
        format!("scripted {}", self.0)
    }
}

/// A kernel in memory that keeps what was done to it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Memory, Vec<String>)>>);

impl Kernel for Kept {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        self.0.lock().unwrap().0.read(scope)
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        self.0.lock().unwrap().0.flows(keys)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut kept = self.0.lock().unwrap();
        kept.1.extend(ops.iter().map(Op::to_string));
        kept.0.apply(ops)
    }
}

/// Changes a configuration that was read from a text.
pub(super) type Change = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// Gives every service the same extras.
pub(super) fn with_extras(config: &mut Config, extras: Extras) {
    let extras = Arc::new(extras);
    config.extras = config.plan.services.keys().map(|key| (*key, extras.clone())).collect();
}

pub(super) struct World {
    servers: Shared,
    kernel: Kept,
    /// What the next load reads; none is refused.
    next: Arc<Mutex<Option<(String, Change)>>>,
    events: mpsc::Sender<Event>,
}

impl World {
    pub(super) fn new(text: &str, change: impl Fn(&mut Config) + Send + Sync + 'static) -> World {
        let servers = Shared::default();
        let kernel = Kept::default();
        let change: Change = Arc::new(change);
        let next = Arc::new(Mutex::new(Some((text.to_owned(), change))));
        let (ours, script) = (next.clone(), servers.clone());
        let loader = Arc::new(move || {
            let next = ours.lock().unwrap().clone();
            let (text, change) = next.unwrap_or(("nonsense\n".into(), Arc::new(|_| {})));
            let source = Source::new("test.cf", text.into_bytes());
            let mut loaded = config::load_text(source, &SystemNames::new())?;
            script_servers(&mut loaded, &script);
            change(&mut loaded.config);
            Ok(loaded)
        });
        let config = loader().unwrap_or_else(|report| panic!("{report}")).config;
        let path = PathBuf::from("/etc/ha.d/test.cf");
        let kept = Box::new(kernel.clone());
        let setup = Setup { config, path, loader, kernel: kept, tools: Tools::new(), slots: 100 };
        let daemon = Daemon::new(setup).unwrap();
        let events = daemon.sender();
        tokio::spawn(daemon.run());
        World { servers, kernel, next, events }
    }

    pub(super) async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    /// What the next load gives; none: a text that is refused.
    pub(super) fn next(&self, text: Option<&str>, change: impl Fn(&mut Config) + Send + Sync + 'static) {
        let change: Change = Arc::new(change);
        *self.next.lock().unwrap() = text.map(|text| (text.to_owned(), change));
    }

    pub(super) fn good(&self, server: &str) {
        self.servers.lock().unwrap().bad.remove(&server.parse().unwrap());
    }

    pub(super) fn says(&self, server: &str, what: &str) {
        self.servers.lock().unwrap().good.insert(server.parse().unwrap(), what.to_owned());
    }

    pub(super) fn bad(&self, server: &str) {
        self.bad_with(server, "connection refused");
    }

    /// It fails with these words.
    pub(super) fn bad_with(&self, server: &str, why: &str) {
        self.servers.lock().unwrap().bad.insert(server.parse().unwrap(), why.into());
    }

    pub(super) fn asked(&self, server: &str) -> usize {
        self.servers.lock().unwrap().asked.get(&server.parse().unwrap()).copied().unwrap_or_default()
    }

    /// Waits until a server has been asked so many times more.
    pub(super) async fn rounds(&self, server: &str, more: usize) {
        let before = self.asked(server);
        until("the server is asked", || self.asked(server) >= before + more).await;
    }

    /// The servers of the service `192.0.2.10:80`, or of the only one, with their weights.
    pub(super) fn stands(&self) -> Vec<String> {
        let table = self.kernel.0.lock().unwrap().0.table();
        let entry = table.services.values().next();
        let servers = entry.into_iter().flat_map(|entry| &entry.destinations);
        servers.map(|(at, d)| format!("{at} {}", d.weight)).collect()
    }

    /// What was done to the kernel since the last call.
    pub(super) fn ops(&self) -> Vec<String> {
        std::mem::take(&mut self.kernel.0.lock().unwrap().1)
    }
}

fn script_servers(loaded: &mut Loaded, script: &Shared) {
    let services = loaded.config.plan.services.values();
    for server in services.flat_map(|service| &service.servers) {
        if let Watch::Probe(key) = &server.watch {
            let probe = Arc::new(Scripted(server.address, script.clone()));
            let inquiry = Inquiry { probe, interval: INTERVAL, timeout: INTERVAL };
            loaded.config.inquiries.insert(*key, inquiry);
        }
    }
}
