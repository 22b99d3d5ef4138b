//! Starting the daemon, and being it.
//!
//! The daemon is this program started again with the same words, so that it looks like
//! ldirectord's: `/usr/sbin/ldirectord web.cf start`. A variable of its environment tells it that it
//! is meant, by the number of the process that started it: whoever inherits the variable is not. Its
//! standard output is a pipe on which it says that its pid file is written and its work begins; from
//! then on it has no terminal, no folder and no open stream.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write, stdout};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::unistd::{dup2_stderr, dup2_stdout, getppid, setsid};

use super::action::{leave_with, missed};
use super::pidfile::{Held, Refused};
use super::{Called, FAILED, Found, Missing, complain, load};
use crate::config::LogTarget;
use crate::daemon::logging::Target;
use crate::daemon::start::{self, Launch, StartError};
use crate::ipvs::Netlink;

/// Holds the number of the process that starts the daemon.
const MARK: &str = "LVSENTRY_DAEMON_OF";

/// How long a daemon may take until it is ready: names are looked up before.
const READY: Duration = Duration::from_secs(60);

/// Whether this process was started to be the daemon.
pub(super) fn is_it() -> bool {
    std::env::var(MARK).is_ok_and(|pid| pid == getppid().to_string())
}

impl Called {
    /// This program again, under the same name, with other words.
    pub(super) fn ourselves(&self, words: impl IntoIterator<Item = OsString>) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(&self.program).args(words);
        command
    }

    /// Starts the daemon and waits until it works. The answer is the exit status.
    pub(super) fn start_daemon(&self) -> u8 {
        // Also for `restart`: what runs is one that was started.
        let words = self.order.config.clone().into_iter().chain([OsString::from("start")]);
        let mut command = self.ourselves(words);
        command.env(MARK, std::process::id().to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        match command.spawn().and_then(awaited) {
            Ok(None) => 0,
            Ok(Some(status)) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED),
            Err(why) => {
                complain(format_args!("the daemon does not start: {why}"));
                leave_with(FAILED, "Initialisation Error")
            }
        }
    }

    /// Is the daemon. The answer is the exit status.
    pub(super) fn be_daemon(&self, found: Result<Found, Missing>) -> u8 {
        let found = match found {
            Ok(found) => found,
            Err(missing) => {
                let _guards = self.log(&LogTarget::default());
                return missed(&missing);
            }
        };
        let guards = self.log(&found.loaded.config.log);
        // It fails only where the session is ours already; the name is for people and for pidof.
        let _ = (setsid(), std::fs::write("/proc/self/comm", "ldirectord"));
        match self.pid_file.take() {
            Ok(held) => self.work(found, Some(held), guards.target(), || drop(detach())),
            // Another one was faster: that one runs.
            Err(Refused::Taken) => 0,
            Err(Refused::Unwritable(why)) => {
                let line = format!("Can not open {}", self.pid_file.path().display());
                complain(format_args!("{line}: {why}"));
                tracing::error!(id = "pid-file", "{line}");
                leave_with(FAILED, "Initialisation Error")
            }
        }
    }

    /// Checks servers until the end; `held` is let go of after it. The answer is the exit status.
    pub(super) fn work(
        &self,
        found: Found,
        held: Option<Held>,
        log: Option<Target>,
        ready: impl FnOnce(),
    ) -> u8 {
        let Found { path, loaded } = found;
        // Made absolute, so that it is found again from any folder.
        let path = std::path::absolute(&path).unwrap_or(path);
        if held.is_some() {
            // From `/` no file system is kept from being unmounted.
            let _ = std::env::set_current_dir("/");
        }
        let further = Some(self.program.clone());
        let result = Netlink::open().map_err(StartError::Kernel).and_then(|kernel| {
            let kernel = Box::new(kernel);
            let launch = Launch { path, load, loaded, kernel, log, further, is_real: true };
            start::serve(launch, ready)
        });
        drop(held);
        match result {
            Ok(()) => 0,
            Err(why) => {
                complain(&why);
                tracing::error!(id = "start-failed", "{why}");
                leave_with(FAILED, "Initialisation Error")
            }
        }
    }
}

/// Waits until the daemon is ready, or has ended: then with its exit status.
fn awaited(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let (sender, said) = channel();
    if let Some(mut pipe) = child.stdout.take() {
        // It may stay behind: this process ends soon.
        thread::spawn(move || sender.send(pipe.read(&mut [0]).unwrap_or(0)));
    }
    match said.recv_timeout(READY) {
        Ok(1..) => Ok(None),
        Ok(0) | Err(RecvTimeoutError::Disconnected) => child.wait().map(Some),
        Err(RecvTimeoutError::Timeout) => {
            child.kill()?;
            Err(io::Error::other(format!("it is not ready after {} s", READY.as_secs())))
        }
    }
}

/// Says that the daemon works, and lets go of the streams of the one who started it.
fn detach() -> io::Result<()> {
    stdout().write_all(b"\n")?;
    stdout().flush()?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    Ok(())
}
