//! The daemon under test, as a child process in a namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::net::Ns;

/// A running daemon. It is told to end when dropped.
pub struct Daemon {
    child: Child,
    folder: PathBuf,
    /// The configuration's file.
    path: PathBuf,
    flags: Vec<String>,
    ns: Ns,
    /// Its view of the file system: stays when it dies.
    mounts: File,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Daemon {
    /// Starts `lvsentry run` in that namespace with this configuration. `/run`, `/var/log` and
    /// `/var/lib` are the daemon's own, so that a configuration may name any file there.
    pub fn start(ns: &Ns, configuration: &[u8]) -> Daemon {
        Daemon::start_with(ns, configuration, &[])
    }

    /// The same with a configuration in YAML.
    pub fn start_yaml(ns: &Ns, configuration: &[u8]) -> Daemon {
        Daemon::start_as(ns, "lvsentry.yaml", configuration, &[])
    }

    /// The same with more flags of `run`.
    pub fn start_with(ns: &Ns, configuration: &[u8], flags: &[&str]) -> Daemon {
        Daemon::start_as(ns, "ldirectord.cf", configuration, flags)
    }

    /// The same with a configuration of another name, which says in what language it is.
    pub fn start_as(ns: &Ns, name: &str, configuration: &[u8], flags: &[&str]) -> Daemon {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("lvsentry-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the daemon");
        let path = folder.join(name);
        fs::write(&path, configuration).expect("its configuration");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (child, mounts) = ns.enter(|| {
            private_folders();
            let mounts = File::open("/proc/thread-self/ns/mnt").expect("this thread's mounts");
            (spawn(&folder, &path, &flags), mounts)
        });
        Daemon { child, folder, path, flags, ns: ns.clone(), mounts }
    }

    /// Ends it as a crash would: it can [`Daemon::rise`] again.
    pub fn crash(&mut self) {
        self.child.kill().expect("the daemon runs");
        self.child.wait().expect("the daemon ends");
    }

    /// Starts it again after a crash, with the files that it left behind.
    pub fn rise(&mut self) {
        self.child = self.inside(|| spawn(&self.folder, &self.path, &self.flags));
    }

    /// Runs `work` on a thread that sees the files and the network that the daemon sees.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.enter(|| {
            unshare(CloneFlags::CLONE_FS).expect("a root of one's own");
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("entering its mounts");
            work()
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The configuration's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the configuration's text.
    pub fn write(&self, configuration: &[u8]) {
        fs::write(&self.path, configuration).expect("its configuration");
    }

    /// Tells it to read its configuration again.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// What it wrote to standard output and error.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A file as the daemon sees it.
    pub fn file(&self, path: &str) -> String {
        let seen = format!("/proc/{}/root{path}", self.child.id());
        String::from_utf8_lossy(&fs::read(seen).unwrap_or_default()).into_owned()
    }

    /// Tells it to end and waits until it has; none when it had to be killed after 10 s.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.end()
    }

    /// Waits until it has ended by itself; none when it had to be killed after 10 s.
    pub fn wait(mut self) -> Option<ExitStatus> {
        self.ended()
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("the daemon runs");
        self.child.wait().expect("the daemon ends");
    }

    fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the daemon runs");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Gives the calling thread, and what it starts, empty folders where a daemon writes.
fn private_folders() {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    for folder in ["/run", "/var/log", "/var/lib"] {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none).expect("an empty folder");
    }
}

fn spawn(folder: &Path, configuration: &Path, flags: &[String]) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("log")).expect("a log");
    let again = log.try_clone().expect("a log");
    Command::new(binary())
        .args(["run", "-c"])
        .arg(configuration)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(again)
        .spawn()
        .expect("the daemon starts")
}

/// The program under test: what `LVSENTRY_TEST_PROGRAM` names (an installed package, say), else the
/// one that was built: as cargo names it to tests; an example finds it one folder up.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LVSENTRY_TEST_PROGRAM") {
        return path.into();
    }
    match option_env!("CARGO_BIN_EXE_lvsentry") {
        Some(path) => path.into(),
        None => {
            let here = std::env::current_exe().expect("our own path");
            here.parent().and_then(Path::parent).expect("the target folder").join("lvsentry")
        }
    }
}
