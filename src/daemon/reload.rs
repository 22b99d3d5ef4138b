//! Notices that the configuration file changed on disk.
//!
//! The file is looked at once a second: that works on every file system, with editors that rename
//! and with links. A change counts once the file has stood still for one more look, so that a
//! slow copy is not read half-way.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::Event;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, size, and time of change in
/// nanoseconds. None: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Sends [`Event::FileChanged`] whenever what the file says has changed and it has come to rest:
/// touching it is no change. Never returns before the receiver is gone.
pub async fn watch(path: PathBuf, events: mpsc::Sender<Event>) {
    let mut known = stamp(&path).await;
    let mut last = known;
    let mut text = tokio::fs::read(&path).await.ok();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = stamp(&path).await;
        let at_rest = now == last;
        last = now;
        if !at_rest || now == known {
            continue;
        }
        known = now;
        let before = std::mem::replace(&mut text, tokio::fs::read(&path).await.ok());
        if text != before && events.send(Event::FileChanged).await.is_err() {
            return;
        }
    }
}

async fn stamp(path: &Path) -> Stamp {
    let m = tokio::fs::metadata(path).await.ok()?;
    Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
}
