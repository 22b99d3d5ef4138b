//! The pid file of an instance, and the process that it names.
//!
//! An instance runs when its pid file holds the number of a process whose command line contains
//! `ldirectord`. The daemon holds a lock on the file while it lives, so that of two that start at the
//! same time one stays.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often is looked whether a process has gone.
const NAP: Duration = Duration::from_millis(20);

/// Largest pid file that is read, in bytes.
const LARGEST: usize = 64;

/// The pid file of an instance.
#[derive(Debug, Clone)]
pub struct PidFile {
    path: PathBuf,
}

/// What a pid file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// This process is the daemon.
    Running(Pid),
    /// There is a file, but no such process.
    Stale,
    /// There is no file.
    Stopped,
}

/// Why a pid file could not be taken.
#[derive(Debug)]
pub enum Refused {
    /// A daemon of this instance has it.
    Taken,
    /// It can't be written.
    Unwritable(io::Error),
}

/// A pid file that holds our number. Removed when dropped.
#[derive(Debug)]
pub struct Held {
    file: Flock<File>,
    path: PathBuf,
}

impl PidFile {
    /// That of the instance with this name.
    pub fn of(instance: &OsStr) -> PidFile {
        let mut name = OsStr::new("ldirectord.").to_owned();
        name.push(instance);
        name.push(".pid");
        PidFile { path: Path::new("/var/run").join(name) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub fn state(&self) -> State {
        match fs::read(&self.path) {
            Ok(text) => number(&text).filter(|pid| is_ours(*pid)).map_or(State::Stale, State::Running),
            Err(why) if why.kind() == io::ErrorKind::NotFound => State::Stopped,
            Err(_) => State::Stale,
        }
    }

    /// The process that it names, if that is a daemon.
    pub fn running(&self) -> Option<Pid> {
        match self.state() {
            State::Running(pid) => Some(pid),
            State::Stale | State::Stopped => None,
        }
    }

    /// Writes our number into it.
    pub fn take(&self) -> Result<Held, Refused> {
        loop {
            let options = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path);
            let file = options.map_err(Refused::Unwritable)?;
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Err(Refused::Taken),
                Err((_, why)) => return Err(Refused::Unwritable(why.into())),
            };
            let mut held = Held { file, path: self.path.clone() };
            // Its last holder may have removed it between our opening and locking it.
            if held.is_in_place() {
                held.write().map_err(Refused::Unwritable)?;
                return Ok(held);
            }
        }
    }
}

impl Held {
    fn is_in_place(&self) -> bool {
        let place = |m: fs::Metadata| (m.dev(), m.ino());
        let held = self.file.metadata().map(place).ok();
        held.is_some() && fs::metadata(&self.path).map(place).ok() == held
    }

    fn write(&mut self) -> io::Result<()> {
        let text = format!("{}\n", std::process::id());
        // Whoever reads in between sees our number first.
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_in_place() {
            // Where it can't be removed it stays behind as a stale one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The number in a pid file: that of a process, not of a group of them.
fn number(text: &[u8]) -> Option<Pid> {
    let text = text.get(..LARGEST.min(text.len()))?;
    let first = text.split(|&b| b == b'\n').next()?;
    let number: i32 = std::str::from_utf8(first).ok()?.trim().parse().ok()?;
    (number > 0).then(|| Pid::from_raw(number))
}

/// Whether a process with that number lives and is a daemon of this name.
fn is_ours(pid: Pid) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.windows(b"ldirectord".len()).any(|part| part == b"ldirectord")
}

/// Sends a signal and waits, at most so long, until the process has gone. Says whether it has.
pub fn end(pid: Pid, signal: Signal, patience: Duration) -> bool {
    if kill(pid, signal).is_err() {
        return !is_ours(pid);
    }
    let naps = patience.as_millis() / NAP.as_millis();
    for _ in 0..naps {
        if !is_ours(pid) {
            return true;
        }
        sleep(NAP);
    }
    !is_ours(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_temp(name: &str) -> PidFile {
        let file = format!("lvsentry-pid-{}-{name}", std::process::id());
        PidFile { path: std::env::temp_dir().join(file) }
    }

    #[test]
    fn a_pid_file_is_named_after_the_instance() {
        assert_eq!(PidFile::of(OsStr::new("web.cf")).path(), Path::new("/var/run/ldirectord.web.cf.pid"));
    }

    #[test]
    fn only_a_number_of_one_process_counts() {
        let read = |text: &str| number(text.as_bytes()).map(Pid::as_raw);
        assert_eq!(read("751\n"), Some(751));
        assert_eq!(read(" 751"), Some(751));
        assert_eq!(read("751\n99\n"), Some(751));
        for text in ["", "\n", "0", "-1", "-751", "x", "99999999999", "7 5"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_holds_the_file_at_a_time_and_takes_it_along() {
        let file = in_temp("held");
        assert_eq!(file.state(), State::Stopped);
        let held = file.take().unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{}\n", std::process::id()));
        assert!(matches!(file.take(), Err(Refused::Taken)));
        drop(held);
        assert_eq!(file.state(), State::Stopped);
    }

    #[test]
    fn a_stale_file_is_taken_over_whatever_it_says() {
        let file = in_temp("stale");
        fs::write(file.path(), "2147483646 and much more\n").unwrap();
        assert_eq!(file.state(), State::Stale);
        let held = file.take().unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{}\n", std::process::id()));
        drop(held);
    }

    #[test]
    fn a_file_that_somebody_else_put_in_our_place_is_left_alone() {
        let file = in_temp("other");
        let held = file.take().unwrap();
        fs::remove_file(file.path()).unwrap();
        fs::write(file.path(), "1\n").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "1\n");
        fs::remove_file(file.path()).unwrap();
    }
}
