//! Further configurations (`execute`), each with a daemon of its own.
//!
//! A task of its own calls this program by ldirectord's name, `ldirectord NAME start`, `reload` or
//! `stop`. Each call is bounded in time; one that fails is told and otherwise ignored. Nothing in
//! the daemon's loop waits for any of it, save the end, for a bounded while.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::error;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);

/// How long the daemon's end waits for the ends of the others.
const END: Duration = Duration::from_secs(12);

/// How much of what a call complains of is told, in bytes.
const SAID: u64 = 400;

/// In the environment of `stop`: what stands in the kernel is to stay.
pub const LEAVE: &str = "LVSENTRY_LEAVE";

/// Keeps the daemons of further configurations beside ours.
pub struct Further {
    caller: Option<(watch::Sender<Wish>, JoinHandle<()>)>,
}

/// What is wanted of the others. Only the newest one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    names: BTreeSet<String>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Leave,
}

impl Further {
    /// Starts none, whatever the configuration says.
    pub fn none() -> Further {
        Further { caller: None }
    }

    /// Calls this program under the name `program`. Must be called within a runtime.
    pub fn new(program: OsString) -> Further {
        let (wishes, newest) = watch::channel(Wish::default());
        Further { caller: Some((wishes, tokio::spawn(follow(program, newest)))) }
    }

    /// Has the daemons of these run: starts new ones, ends those no longer named, and lets the rest
    /// read their configuration again.
    pub fn want(&self, names: &[String]) {
        if let Some((wishes, _)) = &self.caller {
            let names = names.iter().filter(|name| !name.is_empty()).cloned().collect();
            wishes.send_replace(Wish { names, end: None });
        }
    }

    /// Begins to end them all; `leave` leaves their services in the kernel.
    pub fn stop(&self, leave: bool) {
        if let Some((wishes, _)) = &self.caller {
            let end = Some(if leave { End::Leave } else { End::Stop });
            wishes.send_modify(|wish| wish.end = end);
        }
    }

    /// Waits until they have been told to end, at most `END`.
    pub async fn ended(&mut self) {
        if let Some((_, task)) = self.caller.take() {
            // Who is late is left behind.
            let _ = timeout(END, task).await;
        }
    }
}

/// What is to be done with one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Start,
    Reload,
    Stop,
    Leave,
}

async fn follow(program: OsString, mut wishes: watch::Receiver<Wish>) {
    let mut running = BTreeSet::new();
    while wishes.changed().await.is_ok() {
        let wish = wishes.borrow_and_update().clone();
        let mut calls = JoinSet::new();
        for (name, deed) in deeds(&running, &wish) {
            calls.spawn(carry_out(program.clone(), name, deed));
        }
        while calls.join_next().await.is_some() {}
        running = wish.names;
        if wish.end.is_some() {
            return;
        }
    }
}

fn deeds(running: &BTreeSet<String>, wish: &Wish) -> Vec<(String, Deed)> {
    let all = running.union(&wish.names).cloned();
    let deed = |name: &String| match wish.end {
        // The newest names may never have been acted on: ending what does not run is no fault.
        Some(End::Stop) => Deed::Stop,
        Some(End::Leave) => Deed::Leave,
        None if !wish.names.contains(name) => Deed::Stop,
        None if running.contains(name) => Deed::Reload,
        None => Deed::Start,
    };
    all.map(|name| (name.clone(), deed(&name))).collect()
}

async fn carry_out(program: OsString, name: String, deed: Deed) {
    let result = match deed {
        Deed::Start => call(&program, &name, "start", false).await,
        Deed::Stop => call(&program, &name, "stop", false).await,
        Deed::Leave => call(&program, &name, "stop", true).await,
        Deed::Reload => match call(&program, &name, "reload", false).await {
            Ok(()) => Ok(()),
            Err(_) => call(&program, &name, "start", false).await,
        },
    };
    if let Err(Failed { action, why }) = result {
        let program = program.display();
        error!(id = "execute-failed", "system({program} {name} {action}) failed: {why}");
    }
}

struct Failed {
    action: &'static str,
    why: String,
}

async fn call(program: &OsStr, name: &str, action: &'static str, leave: bool) -> Result<(), Failed> {
    let failed = |why: &dyn fmt::Display| Failed { action, why: why.to_string() };
    let mut child = command(program, name, action, leave).spawn().map_err(|why| failed(&why))?;
    let said = child.stderr.take();
    let exchange = async {
        let mut text = Vec::new();
        if let Some(said) = said {
            // What it says is told; that it can't be read is not.
            let _ = said.take(SAID).read_to_end(&mut text).await;
        }
        (child.wait().await, text)
    };
    match timeout(CALL, exchange).await {
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(status), text)) => Err(failed(&reason(status, &text))),
        Ok((Err(why), _)) => Err(failed(&why)),
        Err(_) => Err(failed(&format_args!("no end within {} s", CALL.as_secs()))),
    }
}

fn command(program: &OsStr, name: &str, action: &str, leave: bool) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(program).args([name, action]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Our supervisor waits for us, not for them.
    command.env_remove("NOTIFY_SOCKET");
    if leave {
        command.env(LEAVE, "yes");
    }
    command
}

fn reason(status: ExitStatus, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    match said.lines().next() {
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn new_ones_start_vanished_ones_stop_and_the_rest_reload() {
        let wish = Wish { names: set(&["b", "c"]), end: None };
        let found = deeds(&set(&["a", "b"]), &wish);
        let wanted = [("a", Deed::Stop), ("b", Deed::Reload), ("c", Deed::Start)];
        assert_eq!(found, wanted.map(|(name, deed)| (name.to_owned(), deed)));
    }

    #[test]
    fn the_end_ends_all_of_them_those_not_yet_started_too() {
        for (end, deed) in [(End::Stop, Deed::Stop), (End::Leave, Deed::Leave)] {
            let wish = Wish { names: set(&["b"]), end: Some(end) };
            let found = deeds(&set(&["a"]), &wish);
            assert_eq!(found, [("a".to_owned(), deed), ("b".to_owned(), deed)]);
        }
    }

    #[test]
    fn they_do_not_tell_our_supervisor_that_they_are_ready() {
        let command = command(OsStr::new("ldirectord"), "a.cf", "start", false);
        let mut changes = command.as_std().get_envs();
        assert!(changes.any(|change| change == (OsStr::new("NOTIFY_SOCKET"), None)));
    }
}
