//! Monitor files: a line for every result of every server, as ldirectord writes them.
//!
//! `[Sat Nov 21 07:43:05 2026] [751] negotiate http tcp 10.9.0.2 80 3 masq /x.html OK [up] 200 OK`
//!
//! Every file has a task of its own with a bounded queue; it is opened for what has gathered, and
//! closed again, so that it may be rotated. What can not be written is lost, and that is told once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::logging::Clock;
use crate::config::{Config, Extras};
use crate::director::Director;
use crate::model::{ProbeKey, ServiceKey};
use crate::outcome::Outcome;

/// Lines that may wait for one file.
const QUEUE: usize = 1024;

/// Longest message, in characters: an answer of a server may be anything.
const MESSAGE: usize = 4096;

/// All monitor files.
pub struct Monitors {
    clock: Clock,
    /// What is told around the services that have one.
    extras: BTreeMap<ServiceKey, Arc<Extras>>,
    files: BTreeMap<PathBuf, File>,
}

/// A file's queue.
struct File {
    lines: mpsc::Sender<String>,
    /// How many lines found no room in it.
    lost: Arc<AtomicU64>,
}

impl Monitors {
    /// Those of a configuration. Must be called within a runtime.
    pub fn new(config: &Config) -> Monitors {
        let (extras, files) = (BTreeMap::new(), BTreeMap::new());
        let mut monitors = Monitors { clock: Clock::system(), extras, files };
        monitors.set(config);
        monitors
    }

    /// A new configuration is in force: files that it does not name get what waits for them, and end.
    pub fn set(&mut self, config: &Config) {
        let watched = config.extras.iter().filter(|(_, extras)| extras.monitor.is_some());
        self.extras = watched.map(|(key, extras)| (*key, extras.clone())).collect();
        let mut before = std::mem::take(&mut self.files);
        for monitor in self.extras.values().filter_map(|extras| extras.monitor.as_ref()) {
            let file = before.remove(&monitor.path);
            let file = file.or_else(|| self.files.remove(&monitor.path));
            self.files.insert(monitor.path.clone(), file.unwrap_or_else(|| open(&monitor.path)));
        }
    }

    /// A result: a line for every server that the probe speaks for, whatever comes of it.
    pub fn answered(&self, director: &Director, probe: &ProbeKey, outcome: &Outcome) {
        if self.extras.is_empty() {
            return;
        }
        for (key, i) in director.listeners(probe) {
            let monitor = self.extras.get(&key).and_then(|extras| extras.monitor.as_ref());
            let Some(monitor) = monitor else { continue };
            let Some(file) = self.files.get(&monitor.path) else { continue };
            let name = monitor.names.get(i).map_or("-", String::as_str);
            let maintenance = director.pool(&key).is_some_and(|pool| pool.is_in_maintenance(i));
            let (state, message) = match &*outcome.result {
                _ if maintenance => ("down", "Server in maintenance".to_owned()),
                Ok(seen) => ("up", escaped(seen)),
                Err(failure) => ("down", escaped(&failure.to_string())),
            };
            let time = self.clock.ctime();
            let line = format!("[{time}] [{}] {name} [{state}] {message}\n", std::process::id());
            if file.lines.try_send(line).is_err() {
                file.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A message in one line that ldirectord's readers can split: `%`, `|` and line ends by their numbers.
fn escaped(message: &str) -> String {
    if message.is_empty() {
        return "-".into();
    }
    let mut out = String::new();
    for c in message.chars().take(MESSAGE) {
        match c {
            '%' | '|' | '\r' | '\n' => {
                // Writing to a String does not fail.
                let _ = write!(out, "%{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn open(path: &Path) -> File {
    let (sender, lines) = mpsc::channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    tokio::spawn(write(path.to_owned(), lines, lost.clone()));
    File { lines: sender, lost }
}

/// Writes what comes, until nobody is left to send.
async fn write(path: PathBuf, mut lines: mpsc::Receiver<String>, lost: Arc<AtomicU64>) {
    let mut failed = false;
    let mut some = Vec::new();
    while lines.recv_many(&mut some, QUEUE).await > 0 {
        let (text, path_too) = (some.concat(), path.clone());
        some.clear();
        // It fails only when the runtime ends.
        let Ok(result) = tokio::task::spawn_blocking(move || append(&path_too, &text)).await else { return };
        let path = path.display();
        match result {
            Err(ref why) if !failed => {
                warn!(
                    id = "monitorfile-unwritable",
                    "unable to open monitorfile {path}: {why}; its lines are lost until it can be written"
                );
            }
            Ok(()) if failed => info!(id = "monitorfile-writable", "monitorfile {path} can be written again"),
            _ => {}
        }
        failed = result.is_err();
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            warn!(id = "monitorfile-slow", "monitorfile {path} is too slow: {lost} lines are lost");
        }
    }
}

/// Appends to a file. Blocks, but not for somebody to read a pipe.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_line_or_a_field_is_written_as_a_number() {
        assert_eq!(escaped("100% | done\r\nend"), "100%25 %7c done%0d%0aend");
        assert_eq!(escaped(""), "-");
        assert_eq!(escaped(&"x".repeat(1 << 20)).len(), MESSAGE);
    }
}
