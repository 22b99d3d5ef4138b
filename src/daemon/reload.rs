//! Notices that the configuration file changed on disk.
//!
//! The file is looked at once a second: that works on every file system, with editors that rename
//! and with links. A change counts once the file has stood still for one more look and nobody has it
//! open for writing any more, so that a slow copy is not read half-way, not even one that stalls.

use std::fs::{self, DirEntry};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Event;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How many looks a file that stands still waits for its writer: one who keeps it open for good is no copy.
const PATIENT: u32 = 60;

/// What tells one state of a file from another: device, inode, size, and time of change in
/// nanoseconds. None: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Sends [`Event::FileChanged`] whenever what the file says has changed and it has come to rest:
/// touching it is no change. Never returns before the receiver is gone.
pub async fn watch(path: PathBuf, events: mpsc::Sender<Event>) {
    let mut known = stamp(&path).await;
    let mut last = known;
    let mut text = digest(tokio::fs::read(&path).await);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut waited, mut told) = (0, false);
    loop {
        looks.tick().await;
        let now = stamp(&path).await;
        let at_rest = now == last;
        last = now;
        if !at_rest || now == known {
            waited = 0;
            continue;
        }
        if waited < PATIENT && is_written(&path).await {
            waited += 1;
            continue;
        }
        let read = match tokio::fs::read(&path).await {
            Err(why) if is_ours(&why) => {
                if !std::mem::replace(&mut told, true) {
                    let path = path.display();
                    warn!(id = "file-unread", "cannot read the changed {path} yet: {why}; {}", cure(&why));
                }
                continue;
            }
            read => digest(read),
        };
        told = false;
        known = now;
        let before = std::mem::replace(&mut text, read);
        if text != before && events.send(Event::FileChanged).await.is_err() {
            return;
        }
    }
}

/// What tells one text from another: as long as nobody means to deceive, and he who may write the file needs not to.
fn digest(text: io::Result<Vec<u8>>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    text.ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

async fn stamp(path: &Path) -> Stamp {
    let m = tokio::fs::metadata(path).await.ok()?;
    Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
}

/// Whether it is this process that lacks something, and the file may be a good one.
fn is_ours(why: &io::Error) -> bool {
    why.kind() == ErrorKind::OutOfMemory || is_out_of_descriptors(why)
}

fn cure(why: &io::Error) -> &'static str {
    match is_out_of_descriptors(why) {
        true => "raise LimitNOFILE; it is tried again every second",
        false => "it is tried again every second",
    }
}

fn is_out_of_descriptors(why: &io::Error) -> bool {
    matches!(why.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

/// Whether a process has the file open for writing, as far as we may see that.
async fn is_written(path: &Path) -> bool {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || writers(&path));
    looked.await.is_ok_and(|found| found.unwrap_or(false))
}

fn writers(path: &Path) -> io::Result<bool> {
    let path = path.canonicalize()?;
    let file = fs::metadata(&path)?;
    // What is open elsewhere may lie on a dead server: only a file of the same name is looked at.
    let is_it = |at: &Path| {
        fs::read_link(at).is_ok_and(|to| to.file_name() == path.file_name())
            && fs::metadata(at).is_ok_and(|m| (m.dev(), m.ino()) == (file.dev(), file.ino()))
    };
    // The link of a descriptor may be written to when the descriptor may.
    let writes = |at: &Path| fs::symlink_metadata(at).is_ok_and(|link| link.mode() & 0o200 != 0);
    let processes = fs::read_dir("/proc")?.flatten().filter(is_process);
    let descriptors = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    Ok(descriptors.flatten().flatten().map(|entry| entry.path()).any(|at| writes(&at) && is_it(&at)))
}

fn is_process(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
}
