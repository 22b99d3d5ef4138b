//! The actions, as the one who calls them sees them.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::{error, info};

use super::options::Action;
use super::pidfile::{State, end};
use super::{Called, FAILED, Found, Missing, REFUSED, STOPPED, complain, tell, text};
use crate::config::LogTarget;
use crate::daemon::further::LEAVE;
use crate::daemon::logging::{self, Guards, Stderr};

/// How long `stop` waits for the end; the daemon itself takes some seconds at most.
const STOP: Duration = Duration::from_secs(10);

/// How long `restart` waits before it ends the old daemon by force, and then.
const RESTART: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// In the environment of `status`: how many instances have asked before this one.
const DEPTH: &str = "LVSENTRY_DEPTH";

/// How deep further instances are asked, since their configurations may name each other.
const DEEPEST: u32 = 4;

impl Called {
    /// Carries the action out.
    pub(super) fn act(&self, found: Result<Found, Missing>) -> u8 {
        match found {
            Ok(found) => {
                let guards = self.log(&found.loaded.config.log);
                tell(&found.loaded.report);
                let words = self.order.words.iter().map(|word| word.to_string_lossy());
                let words = words.collect::<Vec<_>>().join(" ");
                info!(id = "invoked", "Invoking ldirectord invoked as: {} {words} ", self.program.display());
                match self.order.action {
                    Action::Status => self.status(&found),
                    Action::Stop => self.stop(),
                    Action::Reload => self.reload(&found),
                    Action::Start if self.pid_file.running().is_some() => 0,
                    Action::Start => self.start(found, &guards),
                    Action::TryRestart if self.pid_file.running().is_none() => 0,
                    Action::Restart | Action::TryRestart => self.restart(found, &guards),
                }
            }
            Err(missing) => {
                let _guards = self.log(&LogTarget::default());
                self.without_configuration(&missing)
            }
        }
    }

    /// Lines go where the configuration says, with `-d` to standard error.
    pub(super) fn log(&self, target: &LogTarget) -> Guards {
        let instance = self.instance.to_string_lossy();
        match self.order.debug {
            true => logging::start_as(Stderr::Debug, None, &instance),
            false => logging::start_as(Stderr::Nothing, Some(target), &instance),
        }
    }

    /// Says what is wrong with the configuration, and does what can be done without one: a daemon
    /// that runs is not touched, unless it is to end.
    fn without_configuration(&self, missing: &Missing) -> u8 {
        let status = missed(missing);
        match self.order.action {
            Action::Stop => drop(self.stop()),
            Action::Status => {
                let state = self.pid_file.state();
                if let State::Running(_) = state {
                    self.tell_state(&missing.name(), state);
                }
            }
            Action::Start | Action::Restart | Action::TryRestart | Action::Reload => {}
        }
        status
    }

    fn status(&self, found: &Found) -> u8 {
        let state = self.pid_file.state();
        self.tell_state(&found.path.to_string_lossy(), state);
        let status = match state {
            State::Running(_) => {
                self.ask_further(&found.loaded.config.execute);
                info!(id = "exit", "Exiting from ldirectord status");
                return 0;
            }
            State::Stale => FAILED,
            State::Stopped => STOPPED,
        };
        leave_with(status, "Exiting from ldirectord status")
    }

    fn tell_state(&self, file: &str, state: State) {
        match state {
            State::Running(pid) => {
                let line = format!("ldirectord for {file} is running with pid: {pid}");
                complain(&line);
                info!(id = "status", "{line}");
            }
            State::Stale => {
                let path = self.pid_file.path().display();
                let line = format!("ldirectord stale pid file {path} for {file}");
                complain(&line);
                info!(id = "status", "{line}");
                tell_stopped(file);
            }
            State::Stopped => tell_stopped(file),
        }
    }

    /// Asks the further instances how they are. What they print is part of the answer, how they
    /// end is not.
    fn ask_further(&self, names: &[String]) {
        let depth = std::env::var(DEPTH).ok().and_then(|depth| depth.parse::<u32>().ok()).unwrap_or(0);
        if depth >= DEEPEST {
            return;
        }
        for name in names.iter().filter(|name| OsStr::new(name.as_str()) != self.instance) {
            let mut command = self.ourselves([OsString::from(name), "status".into()]);
            command.env(DEPTH, (depth + 1).to_string()).stdin(Stdio::null());
            match command.status() {
                Ok(status) if status.success() => {}
                Ok(status) => self.failed(name, &status.to_string()),
                Err(why) => self.failed(name, &why.to_string()),
            }
        }
    }

    fn failed(&self, name: &str, why: &str) {
        error!(id = "execute-failed", "system({} {name} status) failed: {why}", self.program.display());
    }

    /// Ends the daemon and waits a while for it: an action that follows finds it gone.
    fn stop(&self) -> u8 {
        let leave = std::env::var_os(LEAVE).is_some();
        let signal = if leave { Signal::SIGUSR1 } else { Signal::SIGTERM };
        if let Some(pid) = self.pid_file.running() {
            end(pid, signal, STOP);
        }
        0
    }

    fn reload(&self, found: &Found) -> u8 {
        let sent = self.pid_file.running().map(|pid| kill(pid, Signal::SIGHUP));
        if let Some(Ok(())) = sent {
            return 0;
        }
        info!(id = "status", "ldirectord is stopped for {}", found.path.display());
        leave_with(FAILED, "Exiting from ldirectord reload")
    }

    /// Ends the daemon with all left as it stands in the kernel, for the next one to take over.
    fn restart(&self, found: Found, guards: &Guards) -> u8 {
        if let Some(pid) = self.pid_file.running()
            && !gone(pid)
        {
            complain(format_args!("ldirectord with pid {pid} does not end: no new one is started"));
            return leave_with(FAILED, "Exiting from ldirectord restart");
        }
        self.start(found, guards)
    }

    fn start(&self, found: Found, guards: &Guards) -> u8 {
        let supervised = found.loaded.config.log == LogTarget::Stdout;
        if self.order.debug || supervised {
            let pid = std::process::id();
            info!(id = "starting", "Starting {} with pid: {pid}", text::VERSION);
            return self.work(found, None, guards.target(), || ());
        }
        info!(id = "starting", "Starting {} as daemon", text::VERSION);
        self.start_daemon()
    }
}

fn tell_stopped(file: &str) {
    let line = format!("ldirectord is stopped for {file}");
    // Whoever closed the other end does not want to know.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
    info!(id = "status", "{line}");
}

/// Ends a daemon without its cleaning up. One that has no such signal (ldirectord itself) dies of
/// it, which leaves the kernel's table alone just as well.
fn gone(pid: Pid) -> bool {
    end(pid, Signal::SIGUSR1, RESTART.0) || end(pid, Signal::SIGKILL, RESTART.1)
}

/// Says why there is no configuration. The answer is the exit status.
pub(super) fn missed(missing: &Missing) -> u8 {
    match missing {
        Missing::File(name) => {
            let line = format!("Config file {} not found", name.display());
            complain(&line);
            error!(id = "config-missing", "{line}");
            leave_with(FAILED, "Initialisation Error")
        }
        Missing::Refused(report) => {
            tell(report);
            leave_with(REFUSED, "config_error: Configuration Error")
        }
    }
}

/// Tells the log of an end that is none of the good ones.
pub(super) fn leave_with(status: u8, why: &str) -> u8 {
    error!(id = "exit", "Exiting with exit_status {status}: {why}");
    status
}
