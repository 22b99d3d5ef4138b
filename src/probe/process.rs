//! Programs that check: started without a shell, in a process group of their own, without input
//! and output, and bounded: whatever a program does, its group is gone when the check is over.
//!
//! When the program has ended, all that it left running in its group is killed. Dropping the
//! future, at the deadline say, sends TERM to the group, and KILL a second later. What leaves the
//! group on purpose (setsid(2), as daemons do) is not followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::{Call, Target, dial};
use crate::model::ServiceKey;
use crate::outcome::{Failure, Phase, Reason};

/// How long a program has to end after TERM.
const GRACE: Duration = Duration::from_secs(1);

/// The four arguments of a check command: the service's address (or firewall mark), its port (0
/// for a mark), the server's address and its port as configured (0 when there is none); IPv6
/// addresses stand in brackets.
pub(super) fn arguments(target: &Target) -> [OsString; 4] {
    let (service, port) = match target.service {
        ServiceKey::Address(_, at) => (bracketed(at.ip()), at.port()),
        ServiceKey::Mark(_, mark) => (mark.to_string(), 0),
    };
    let server = target.server;
    [service, port.to_string(), bracketed(server.ip()), server.port().to_string()].map(OsString::from)
}

/// An address; an IPv6 one in brackets.
pub(super) fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A program, its arguments, and what is added to its environment.
pub(super) struct Program<'a> {
    /// A path, or a name that is looked for along `PATH`.
    pub(super) name: &'a OsStr,
    /// Seen by everybody on this host: never a secret.
    pub(super) arguments: &'a [OsString],
    /// Seen by the same user only.
    pub(super) environment: &'a [(&'static str, OsString)],
}

impl Program<'_> {
    /// Runs it to its end; the answer is its exit status.
    pub(super) async fn run(&self, call: &Call) -> Result<u8, Failure> {
        call.enter(Phase::Run);
        let mut group = self.start().map_err(|error| self.not_run(&error))?;
        let ended = group.wait().await.map_err(|error| self.not_run(&error))?;
        status(ended)
    }

    fn start(&self) -> io::Result<Group> {
        match self.command(self.name, None).spawn() {
            // As execvp(3), and with it ldirectord, does for a script without a `#!` line.
            Err(error) if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
                self.command(OsStr::new("/bin/sh"), Some(self.name)).spawn()
            }
            started => started,
        }
        .map(Group::of)
    }

    fn command(&self, program: &OsStr, script: Option<&OsStr>) -> Command {
        let mut command = Command::new(program);
        command.args(script).args(self.arguments).process_group(0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn not_run(&self, error: &io::Error) -> Failure {
        let program = self.name.display();
        let help = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => "not found",
            Some(Errno::EACCES) => "not executable",
            _ => return dial::fault(Phase::Run, program, error),
        };
        not_run(format!("{program}: {help}"))
    }
}

/// The verdict of most programs: well with status 0.
pub(super) fn verdict(status: u8) -> Result<String, Failure> {
    match status {
        0 => Ok("exit status 0".to_owned()),
        status => Err(exit(format!("exit status {status}"))),
    }
}

/// The failure of a program that ended with a bad status.
pub(super) fn exit(detail: String) -> Failure {
    Failure::new(Phase::Run, Reason::Exit, detail)
}

/// The failure of a program that could not be started.
pub(super) fn not_run(detail: String) -> Failure {
    Failure::new(Phase::Run, Reason::NotRun, detail)
}

fn status(ended: ExitStatus) -> Result<u8, Failure> {
    match ended.code() {
        // The kernel keeps eight bits of it.
        Some(code) => Ok(code as u8),
        None => {
            let number = ended.signal().unwrap_or_default();
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            Err(Failure::new(Phase::Run, Reason::Signal, format!("ended by signal {number} ({name})")))
        }
    }
}

/// A running program, the leader of its process group; the group ends with this.
struct Group {
    leader: Option<Child>,
}

impl Group {
    fn of(leader: Child) -> Group {
        Group { leader: Some(leader) }
    }

    /// Waits for the leader, and kills what it left running in its group.
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(leader) = &mut self.leader else { return Err(io::ErrorKind::NotFound.into()) };
        let id = leader.id();
        let ended = leader.wait().await?;
        // Somebody of the group lives: its number is still taken. Nobody does: the kernel hands out
        // numbers in a circle, so one that became free a moment ago is the last to come again.
        kill(id, Signal::SIGKILL);
        self.leader = None;
        Ok(ended)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.leader.take() else { return };
        let mut doomed = Doomed(leader);
        doomed.signal(Signal::SIGTERM);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(GRACE).await;
                doomed.signal(Signal::SIGKILL);
                let _ = doomed.0.wait().await;
            });
        }
    }
}

/// A group that has had its TERM. Its leader is not reaped before KILL, so that the group's number
/// can not go to somebody else; dropped early (when the daemon ends), KILL comes at once.
struct Doomed(Child);

impl Doomed {
    fn signal(&self, signal: Signal) {
        kill(self.0.id(), signal);
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Signals a group by its leader's number; none is one that is reaped.
fn kill(group: Option<u32>, signal: Signal) {
    if let Some(id) = group.and_then(|id| i32::try_from(id).ok()) {
        // An error means that nothing of the group is left.
        let _ = killpg(Pid::from_raw(id), signal);
    }
}
