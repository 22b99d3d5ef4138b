//! From the flags of `run` to a running daemon, or to one clear message and an exit status.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::queue::say;
use super::rehearsal::Rehearsal;
use super::{Daemon, Event, Loader, Setup, journal, limits, logging, reload, state, sysctl};
use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_NO_IPVS, EXIT_NO_RIGHT, Instance, Run};
use crate::config::diagnostic::Report;
use crate::config::role::{Role, RoleHooks};
use crate::config::{self, Config, Extras, Loaded, LogTarget, SystemNames};
use crate::http::{self, socket};
use crate::ipvs::error::{OpenError, ReadError};
use crate::ipvs::{Kernel, Memory, Netlink, Scope};
use crate::probe::Tools;

/// How many questions from outside may wait for the loop.
const ASKS: usize = 16;

/// How long answers have once the daemon has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// No configuration was named, and none stands where it is looked for.
    NoConfig,
    /// The configuration is refused.
    Config(Report),
    /// IPVS can't be used.
    Kernel(OpenError),
    /// The kernel's table can't be read.
    Table(ReadError),
    /// The runtime could not be made.
    Runtime(std::io::Error),
}

impl StartError {
    /// The exit status that tells it.
    pub fn status(&self) -> u8 {
        match self {
            StartError::NoConfig | StartError::Config(_) => EXIT_CONFIG,
            StartError::Kernel(OpenError::NoIpvs) | StartError::Table(ReadError::NoIpvs) => EXIT_NO_IPVS,
            StartError::Kernel(OpenError::NoRight) | StartError::Table(ReadError::NoRight) => EXIT_NO_RIGHT,
            StartError::Kernel(_) | StartError::Table(_) | StartError::Runtime(_) => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoConfig => {
                let own = config::OWN;
                write!(
                    f,
                    "no configuration: name one with -c FILE, or put it at {own} or /etc/ha.d/ldirectord.cf"
                )
            }
            StartError::Config(report) => write!(f, "the configuration is refused\n\n{report}"),
            StartError::Kernel(why) => why.fmt(f),
            StartError::Table(why) => why.fmt(f),
            StartError::Runtime(why) => write!(f, "cannot start: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The configuration file: the one named, else lvsentry's own, else the one that ldirectord would take.
pub fn find(named: Option<&Path>) -> Result<PathBuf, StartError> {
    let own = Path::new(config::OWN);
    match named {
        Some(path) => Ok(path.to_owned()),
        None if own.is_file() => Ok(own.to_owned()),
        None => config::find("ldirectord.cf").ok_or(StartError::NoConfig),
    }
}

/// Runs the daemon until it is stopped.
pub fn run(flags: &Run, named: &Instance) -> Result<(), StartError> {
    let path = find(flags.config.as_deref())?;
    let load = loading(flags);
    let loaded = load(&path).map_err(StartError::Config)?;
    let kernel = open(flags)?;
    let guards = logging::start(log_target(flags, &loaded.config.log), &instance(&path));
    // A rehearsal starts no other daemons, and is in nobody's way.
    let is_real = is_real(flags);
    let further = is_real.then(|| OsString::from("ldirectord"));
    let name = named.instance.clone().unwrap_or_else(|| stem(&path));
    let own = |path: PathBuf| is_real.then_some(path);
    let socket = named.socket.clone().or_else(|| own(socket::path(&name)));
    let state = flags.state.clone().or_else(|| own(state::path(&name)));
    let log = guards.target();
    serve(Launch { path, load, loaded, kernel, log, further, is_real, socket, state }, || ())
}

/// Reads a configuration.
pub type Load = Arc<dyn Fn(&Path) -> Result<Loaded, Report> + Send + Sync>;

/// Reads a configuration as the flags change it, now and at every reload.
fn loading(flags: &Run) -> Load {
    let (is_real, standby, workers) = (is_real(flags), flags.standby, flags.workers);
    Arc::new(move |path| {
        let loaded = config::load(path, &SystemNames::new())?;
        let mut loaded = if is_real { loaded } else { rehearsed(loaded) };
        if standby {
            loaded.config.role = Role::Standby;
        }
        loaded.config.workers = workers.unwrap_or(loaded.config.workers);
        Ok(loaded)
    })
}

/// What it takes to run a daemon whose log has begun.
pub struct Launch {
    /// The configuration's file, as people know it.
    pub path: PathBuf,
    /// Reads it anew.
    pub load: Load,
    /// What it says.
    pub loaded: Loaded,
    /// The kernel whose table is to be kept.
    pub kernel: Box<dyn Kernel>,
    /// Where log lines go, when a new configuration may send them elsewhere.
    pub log: Option<logging::Target>,
    /// The name by which we call ourselves for further instances (`execute`); none starts none.
    pub further: Option<OsString>,
    /// Whether it is the kernel's own table that is kept, so that its parameters matter.
    pub is_real: bool,
    /// The control socket, if there is to be one.
    pub socket: Option<PathBuf>,
    /// The file that remembers, if one is to.
    pub state: Option<PathBuf>,
}

/// Runs a daemon until it is stopped. `ready` is called once, when it listens to signals and has
/// read the kernel's table.
pub fn serve(launch: Launch, ready: impl FnOnce()) -> Result<(), StartError> {
    let Launch { path, load, loaded, kernel, log, further, is_real, socket, state } = launch;
    // Where the daemon stands in the file system may not change which file it reads.
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let watched = absolute.clone();
    let Loaded { config, report } = loaded;
    let slots = limits::raise(config.inquiries.len());
    let settle = move |config: &Config| {
        limits::tell(slots, config);
        if is_real {
            sysctl::settle(config);
        }
    };
    let loader: Loader = Arc::new(move || load(&absolute).inspect(|loaded| settle(&loaded.config)));
    journal::report(&report);
    // It holds the file's text.
    drop(report);
    settle(&config);
    let setup = Setup { config, path, loader, kernel, tools: Tools::new(), slots };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Runtime)?;
    let result = runtime.block_on(async {
        let (socket, state) = control(socket, state);
        let mut daemon = begin(setup)?.with_log(log);
        if let Some(path) = state {
            daemon = daemon.with_state(path);
        }
        tokio::spawn(reload::watch(watched, daemon.sender()));
        let answers = socket.map(|listener| answer(listener, daemon.sender()));
        ready();
        tell_supervisor();
        let daemon = match further {
            Some(program) => daemon.with_further(program),
            None => daemon,
        };
        // A task like the probes, which the scheduler goes on to from one of these. The future given to
        // `block_on` has its turn only after a look for events of the system: a call for each answer.
        tokio::spawn(daemon.run()).await.map_err(|gone| StartError::Runtime(gone.into()))?;
        if let Some(answers) = answers {
            // Who asked for the end hears that it comes.
            let _ = timeout(FAREWELL, answers).await;
        }
        Ok(())
    });
    // A name look-up that hangs holds nobody up: it is left behind.
    runtime.shutdown_background();
    result
}

/// Tells the one who supervises us (systemd, `Type=notify`) that we work; without one it tells nobody.
fn tell_supervisor() {
    if let Err(why) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!(id = "supervisor", "cannot tell the supervisor (NOTIFY_SOCKET) that we are ready: {why}");
    }
}

/// The control socket, and the file that remembers: of two daemons of one name the first has both.
fn control(socket: Option<PathBuf>, state: Option<PathBuf>) -> (Option<socket::Listener>, Option<PathBuf>) {
    let Some(path) = socket else { return (None, state) };
    match socket::listen(&path) {
        Ok(listener) => (Some(listener), state),
        Err(socket::Refused::Taken) => {
            error!(
                id = "socket-taken",
                "another daemon answers at {}: this one takes no orders and remembers nothing; \
                 end one of them, or name this one with --instance",
                path.display()
            );
            (None, None)
        }
        Err(socket::Refused::Failed(why)) => {
            let path = path.display();
            warn!(
                id = "socket-failed",
                "no control socket at {path}: {why}; `lvsentry status` will not work"
            );
            (None, state)
        }
    }
}

/// Answers at the control socket, as long as the daemon does.
fn answer(listener: socket::Listener, events: mpsc::Sender<Event>) -> JoinHandle<()> {
    let (asks, mut asked) = mpsc::channel(ASKS);
    tokio::spawn(async move {
        loop {
            let ask = tokio::select! {
                ask = asked.recv() => ask,
                () = events.closed() => return,
            };
            let Some(ask) = ask else { return };
            if events.send(Event::Ask(ask)).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(http::serve(listener, asks))
}

fn begin(setup: Setup) -> Result<Daemon, StartError> {
    let plan = &setup.config.plan;
    let servers = plan.servers();
    info!(
        id = "start",
        "Starting lvsentry {} with pid: {}: {} services, {servers} servers, {} probes",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        plan.services.len(),
        setup.config.inquiries.len()
    );
    let daemon = Daemon::new(setup).map_err(StartError::Table)?;
    listen(&daemon.sender()).map_err(StartError::Runtime)?;
    Ok(daemon)
}

/// Turns signals into events.
fn listen(events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let ends = [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT"), (Signal::SIGQUIT, "QUIT")];
    let faults = [(Signal::SIGABRT, "ABRT"), (Signal::SIGXCPU, "XCPU"), (Signal::SIGXFSZ, "XFSZ")];
    for (kind, name) in ends.into_iter().chain(faults) {
        forward(SignalKind::from_raw(kind as i32), events, move || Event::Stop(name))?;
    }
    forward(SignalKind::user_defined1(), events, || Event::Leave("USR1"))?;
    forward(SignalKind::hangup(), events, || Event::Reload)
}

fn forward(
    kind: SignalKind,
    events: &mpsc::Sender<Event>,
    event: impl Fn() -> Event + Send + 'static,
) -> std::io::Result<()> {
    let mut signals = signal(kind)?;
    let events = events.clone();
    tokio::spawn(
        async move { while signals.recv().await.is_some() && events.send(event()).await.is_ok() {} },
    );
    Ok(())
}

/// The kernel that the flags ask for.
fn open(flags: &Run) -> Result<Box<dyn Kernel>, StartError> {
    if flags.no_kernel {
        return Ok(Box::new(Memory::default()));
    }
    if !flags.dry_run {
        return Ok(Box::new(Netlink::open().map_err(StartError::Kernel)?));
    }
    let read = |mut kernel: Netlink| kernel.read(&Scope::All).map_err(StartError::Table);
    let table = Netlink::open().map_err(StartError::Kernel).and_then(read).unwrap_or_else(|why| {
        say(format_args!("rehearsing on an empty table, since the kernel's cannot be read: {why}"));
        Default::default()
    });
    Ok(Box::new(Rehearsal::new(table)))
}

/// Whether it is the kernel's own table that is kept.
fn is_real(flags: &Run) -> bool {
    !flags.dry_run && !flags.no_kernel
}

/// A rehearsal tells nobody and runs nothing around its services; their names stay.
fn rehearsed(mut loaded: Loaded) -> Loaded {
    loaded.config.callback = None;
    loaded.config.hooks = RoleHooks::default();
    for extras in loaded.config.extras.values_mut() {
        let Extras { name, comment, .. } = extras.as_ref().clone();
        *extras = Arc::new(Extras { name, comment, ..Extras::default() });
    }
    loaded
}

/// A rehearsal leaves no traces in a log file.
fn log_target<'a>(flags: &Run, configured: &'a LogTarget) -> Option<&'a LogTarget> {
    (is_real(flags) || *configured == LogTarget::Stdout).then_some(configured)
}

/// The name of this instance: that of its file.
pub(super) fn instance(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The same without its suffix: the name of what is made for it.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::diagnostic::Faults;
    use crate::config::role::ServiceHooks;
    use crate::model::{Family, ServiceKey};
    use crate::span::Source;

    #[test]
    fn a_rehearsal_runs_nothing_and_keeps_names() {
        let extras = Extras {
            name: Some("shop".into()),
            fallback_command: Some("/bin/false".into()),
            hooks: ServiceHooks { down: Some("/bin/false".into()), ..ServiceHooks::default() },
            ..Extras::default()
        };
        let key = ServiceKey::Mark(Family::V4, 7);
        let callback = Some("/bin/false".into());
        let hooks = RoleHooks { promote: Some("/bin/false".into()), demote: None };
        let config =
            Config { callback, hooks, extras: [(key, Arc::new(extras))].into(), ..Config::default() };
        let report = Report::new(Source::new("x.cf", Vec::new()), Faults::default());
        let rehearsed = rehearsed(Loaded { config, report }).config;
        assert_eq!((rehearsed.callback, rehearsed.hooks), (None, RoleHooks::default()));
        let want = Extras { name: Some("shop".into()), ..Extras::default() };
        assert_eq!(*rehearsed.extras[&key], want);
    }

    #[test]
    fn what_is_missing_can_be_told_by_the_exit_status() {
        let report = || Report::new(Source::new("x.cf", Vec::new()), Faults::default());
        for (error, status) in [
            (StartError::NoConfig, 2),
            (StartError::Config(report()), 2),
            (StartError::Kernel(OpenError::NoIpvs), 3),
            (StartError::Table(ReadError::NoIpvs), 3),
            (StartError::Kernel(OpenError::NoRight), 4),
            (StartError::Table(ReadError::NoRight), 4),
            (StartError::Kernel(OpenError::Socket(97)), 1),
            (StartError::Table(ReadError::Timeout), 1),
        ] {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
