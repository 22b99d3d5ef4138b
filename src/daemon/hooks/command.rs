//! One command: started in a process group of its own, and ended in time.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{Job, Run};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long it has to end after TERM.
const GRACE: Duration = Duration::from_secs(1);

/// Longest value in the environment, in characters.
const LONGEST: usize = 1000;

/// The names that a hook finds in its environment, whatever it is about.
const NAMES: [&str; 8] = [
    "LVSENTRY_EVENT",
    "LVSENTRY_INSTANCE",
    "LVSENTRY_SERVICE",
    "LVSENTRY_NAME",
    "LVSENTRY_SERVER",
    "LVSENTRY_WEIGHT",
    "LVSENTRY_STATE",
    "LVSENTRY_REASON",
];

/// The environment of a hook: every name, those that are not given with an empty value. A value is one line,
/// since servers have their say in it.
pub(super) fn environment(given: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let value = |name: &str| given.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| *value);
    let line =
        |text: &str| text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    NAMES.iter().map(|name| (*name, line(value(name)))).collect()
}

pub(super) async fn is_executable(program: &Path) -> bool {
    let found = tokio::fs::metadata(program).await;
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs one command to its end, whatever becomes of us. An error says why it failed.
pub(super) async fn run(job: &Job) -> Result<(), String> {
    let Some(started) = start(job) else { return Ok(()) };
    let mut leader = started.map_err(|why| why.to_string())?;
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

/// Starts it; none when there is nothing to start.
fn start(job: &Job) -> Option<io::Result<Child>> {
    Some(match &job.run {
        Run::Nothing => return None,
        Run::Shell(line) => {
            let mut shell = command("/bin/sh".into(), ["-c".into(), line.into()]);
            shell.envs(job.environment.iter().map(|(name, value)| (name, value))).spawn()
        }
        Run::Program { program, argument } => match command(program.into(), [argument.into()]).spawn() {
            // A script without a `#!` line, as any shell would run it.
            Err(why) if why.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
                command("/bin/sh".into(), [program.into(), argument.into()]).spawn()
            }
            started => started,
        },
    })
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
