//! Commands that the configuration wants run: `fallbackcommand` when no server of a service is up and when
//! one is again, `callback` when the configuration file has changed.
//!
//! Every service has a queue of its own, and the callback has one. What is in it is run one after the
//! other, so that nothing overtakes; of several that wait only the newest counts. Nobody waits for
//! a command, and each has a minute: then its process group is told to end, and a second later it must.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::config::Config;
use crate::director::Director;
use crate::model::ServiceKey;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long it has to end after TERM.
const GRACE: Duration = Duration::from_secs(1);

/// All queues.
#[derive(Default)]
pub struct Hooks {
    fallbacks: BTreeMap<ServiceKey, Queue>,
    callback: Option<Queue>,
}

impl Hooks {
    /// Something about a service may have changed: runs its fallback command if that was not told yet
    /// what is so now. Nothing is told before the service's first results are in.
    pub fn consider(&mut self, key: ServiceKey, config: &Config, director: &Director) {
        let command = config.extras.get(&key).and_then(|extras| extras.fallback_command.as_deref());
        let Some((command, pool)) = command.zip(director.pool(&key)) else {
            self.fallbacks.remove(&key);
            return;
        };
        let Some(serving) = pool.serving() else { return };
        let job = Job::Shell { line: line(command, key, serving), service: key.id() };
        self.fallbacks.entry(key).or_default().put(job);
    }

    /// The configuration file has changed.
    pub fn call_back(&mut self, program: &Path, file: &Path) {
        let job = Job::Program { program: program.to_owned(), argument: file.to_owned() };
        // The same as before is news: the file has changed once more.
        self.callback.get_or_insert_default().again(job);
    }
}

/// The line for the shell. The service of a mark has no address to tell.
fn line(command: &str, key: ServiceKey, serving: bool) -> String {
    let what = if serving { "stop" } else { "start" };
    match key {
        ServiceKey::Address(protocol, at) => format!("{command} {what} {at} {protocol}"),
        ServiceKey::Mark(..) => format!("{command} {what} :0 fwm"),
    }
}

/// Something to run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    /// A line for the shell, about a service.
    Shell { line: String, service: String },
    /// A program, and its one argument.
    Program { program: PathBuf, argument: PathBuf },
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Shell { line, .. } => f.write_str(line),
            Job::Program { program, argument } => write!(f, "{} {}", program.display(), argument.display()),
        }
    }
}

/// Runs one after the other, as long as it or what was put into it last is there.
struct Queue {
    newest: watch::Sender<Option<Job>>,
}

impl Default for Queue {
    fn default() -> Queue {
        let (newest, jobs) = watch::channel(None);
        tokio::spawn(work(jobs));
        Queue { newest }
    }
}

impl Queue {
    fn put(&self, job: Job) {
        self.newest.send_if_modified(|newest| {
            let differs = newest.as_ref() != Some(&job);
            *newest = Some(job);
            differs
        });
    }

    fn again(&self, job: Job) {
        self.newest.send_replace(Some(job));
    }
}

async fn work(mut jobs: watch::Receiver<Option<Job>>) {
    let (mut done, mut told) = (None, None);
    // What was put in last is seen though the sender is gone.
    while jobs.changed().await.is_ok() {
        let job = jobs.borrow_and_update().clone();
        let Some(job) = job else { continue };
        match &job {
            // There and back while another was running: all is told already.
            Job::Shell { .. } if done.as_ref() == Some(&job) => continue,
            Job::Program { program, .. } if !is_executable(program).await => {
                if told.as_ref() != Some(program) {
                    warn!(
                        id = "callback-skipped",
                        "callback {} is skipped: not an executable file (it takes no arguments)",
                        program.display()
                    );
                    told = Some(program.clone());
                }
                continue;
            }
            Job::Shell { .. } | Job::Program { .. } => {}
        }
        if let Err(why) = run(&job).await {
            error!(id = "command-failed", "system({job}) failed: {why}");
        }
        done = Some(job);
    }
}

async fn is_executable(program: &Path) -> bool {
    let found = tokio::fs::metadata(program).await;
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs one command to its end, whatever becomes of us. An error says why it failed.
async fn run(job: &Job) -> Result<(), String> {
    let mut leader = start(job).map_err(|why| why.to_string())?;
    match timeout(LIMIT, leader.wait()).await {
        Ok(ended) => verdict(ended.map_err(|why| why.to_string())?),
        Err(_) => {
            signal(&leader, Signal::SIGTERM);
            // The leader is not reaped before KILL, so that the group's number is nobody else's.
            sleep(GRACE).await;
            signal(&leader, Signal::SIGKILL);
            let _ = leader.wait().await;
            Err(format!("not done within {} s, ended", LIMIT.as_secs()))
        }
    }
}

fn start(job: &Job) -> io::Result<Child> {
    match job {
        Job::Shell { line, service } => {
            let mut shell = command("/bin/sh".into(), ["-c".into(), line.into()]);
            shell.env("LVSENTRY_SERVICE", service).spawn()
        }
        Job::Program { program, argument } => match command(program.into(), [argument.into()]).spawn() {
            // A script without a `#!` line, as any shell would run it.
            Err(why) if why.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
                command("/bin/sh".into(), [program.into(), argument.into()]).spawn()
            }
            started => started,
        },
    }
}

fn command<const N: usize>(program: OsString, arguments: [OsString; N]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn signal(leader: &Child, signal: Signal) {
    if let Some(id) = leader.id().and_then(|id| i32::try_from(id).ok()) {
        // An error means that nothing of the group is left.
        let _ = killpg(Pid::from_raw(id), signal);
    }
}

fn verdict(ended: ExitStatus) -> Result<(), String> {
    match (ended.code(), ended.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(format!("exit status {code}")),
        (None, signal) => Err(format!("ended by signal {}", signal.unwrap_or_default())),
    }
}
