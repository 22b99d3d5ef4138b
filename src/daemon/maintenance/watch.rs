//! Notices what comes and goes in the maintenance directory.
//!
//! The directory is watched; while it is not there, its nearest parent that is. Whatever happens,
//! what counts is a fresh listing. It is also listed every now and then, since file systems on other
//! hosts and moved parents tell nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::News;
use crate::daemon::Event;

/// How often the directory is listed though nothing was noticed.
const LOOK: Duration = Duration::from_secs(30);

/// The same, where nothing can be noticed.
const LOOK_BLIND: Duration = Duration::from_secs(2);

/// How long events gather before the directory is listed, so that a busy one is not listed for each.
const GATHER: Duration = Duration::from_millis(10);

/// Files that are looked at in one directory: a bound on what somebody's mistake can cost.
const MOST: usize = 1 << 16;

/// The names of the files, and of what else there is, in a directory. Blocks.
pub fn list(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)?.take(MOST) {
        let entry = entry?;
        // As ldirectord sees it, a link that leads nowhere is not there.
        if entry.file_type()?.is_symlink() && !entry.path().exists() {
            continue;
        }
        // No server has a name that is not text.
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Sends what the directory holds, at once and whenever it has changed. Never returns before the
/// receiver is gone.
pub async fn watch(directory: PathBuf, events: mpsc::Sender<Event>) {
    let woken = Arc::new(Notify::new());
    let mut eyes = Eyes::new(&directory, &woken);
    let mut state = State::default();
    loop {
        // Looking may block for long, on a file system of another host say.
        let look = tokio::task::spawn_blocking(move || {
            eyes.open();
            (eyes.list(), eyes)
        });
        // It fails only when the runtime ends.
        let Ok((listed, back)) = look.await else { return };
        eyes = back;
        if let Some(files) = state.update(&directory, listed) {
            let news = News::Listed(directory.clone(), files);
            if events.send(Event::Maintenance(news)).await.is_err() {
                return;
            }
        }
        if timeout(eyes.period(), woken.notified()).await.is_ok() {
            sleep(GATHER).await;
        }
    }
}

/// What was last seen, so that each change is told once.
#[derive(Default)]
struct State {
    files: Option<BTreeSet<String>>,
    /// Why the directory could not be listed.
    failed: Option<io::ErrorKind>,
}

impl State {
    /// Takes in a listing. The answer is what is to be told: a directory that is not there holds nobody; one
    /// that can not be read leaves everybody where he is.
    fn update(&mut self, directory: &Path, listed: io::Result<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let directory = directory.display();
        let kind = listed.as_ref().err().map(io::Error::kind);
        let news = kind != self.failed;
        self.failed = kind;
        let files = match listed {
            Ok(files) => {
                if news {
                    info!(id = "maintenance-directory", "maintenance directory {directory} can be read");
                }
                files
            }
            Err(why) if is_missing(why.kind()) => {
                if news {
                    warn!(
                        id = "maintenance-missing",
                        "maintenance directory does not exist: {directory}: {why}"
                    );
                }
                BTreeSet::new()
            }
            Err(why) => {
                if news {
                    warn!(
                        id = "maintenance-unreadable",
                        "cannot read maintenance directory {directory}: {why}; servers stay in or out of maintenance as they are"
                    );
                }
                return None;
            }
        };
        let changed = self.files.as_ref() != Some(&files);
        self.files = Some(files.clone());
        changed.then_some(files)
    }
}

fn is_missing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is watched.
struct Eyes {
    directory: PathBuf,
    watcher: Option<RecommendedWatcher>,
    watched: Option<PathBuf>,
}

impl Eyes {
    fn new(directory: &Path, woken: &Arc<Notify>) -> Eyes {
        let (woken, concerned) = (woken.clone(), directory.to_owned());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Nothing but the directory, what is in it, and what leads to it: its parent may be busy.
            let concerns = |path: &PathBuf| path.starts_with(&concerned) || concerned.starts_with(path);
            let ours = |event: &notify::Event| {
                !matches!(event.kind, EventKind::Access(_))
                    && (event.need_rescan() || event.paths.iter().any(concerns))
            };
            if event.as_ref().map_or(true, ours) {
                woken.notify_one();
            }
        });
        let watcher = watcher.map_err(|why| tell(directory, &why)).ok();
        Eyes { directory: directory.to_owned(), watcher, watched: None }
    }

    /// Watches the directory, or its nearest parent that is there. Begun anew each time: what had
    /// this path may have been moved away.
    fn open(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Some(before) = self.watched.take() {
            // It has ended already where what was watched is gone.
            let _ = watcher.unwatch(&before);
        }
        let mut last = None;
        for path in self.directory.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched = Some(path.to_owned());
                    return;
                }
                Err(why) => last = Some(why),
            }
        }
        if let Some(why) = last {
            tell(&self.directory, &why);
            self.watcher = None;
        }
    }

    fn list(&self) -> io::Result<BTreeSet<String>> {
        list(&self.directory)
    }

    fn period(&self) -> Duration {
        if self.watcher.is_some() { LOOK } else { LOOK_BLIND }
    }
}

fn tell(directory: &Path, why: &notify::Error) {
    let (directory, seconds) = (directory.display(), LOOK_BLIND.as_secs());
    warn!(
        id = "maintenance-blind",
        "cannot watch maintenance directory {directory}: {why}; it is looked at every {seconds} s"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_read_leaves_everybody_where_he_is_and_one_that_is_gone_holds_nobody() {
        let mut state = State::default();
        let mut update = |listed| state.update(Path::new("/x"), listed);
        let files = || BTreeSet::from(["web1".to_owned()]);
        let failed = |kind| Err(io::Error::from(kind));
        assert_eq!(update(Ok(files())), Some(files()));
        assert_eq!(update(Ok(files())), None, "nothing new");
        assert_eq!(update(failed(io::ErrorKind::PermissionDenied)), None);
        assert_eq!(update(failed(io::ErrorKind::Other)), None);
        assert_eq!(update(Ok(files())), None, "as before");
        assert_eq!(update(failed(io::ErrorKind::NotFound)), Some(BTreeSet::new()));
        assert_eq!(update(failed(io::ErrorKind::NotADirectory)), None, "nobody is held already");
        assert_eq!(update(Ok(files())), Some(files()));
    }
}
