//! A private view of the file system beside a network namespace: programs in it find lvsentry
//! installed as ldirectord, with empty folders where it writes, and leave nothing behind.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::daemon::binary;
use super::net::Ns;

/// Folders whose entries stay, and to which a room can add its own.
const SHADOWED: [&str; 6] = ["/etc", "/etc/init.d", "/etc/default", "/usr/sbin", "/usr/lib", "/usr/share"];

/// Folders that are empty in a room.
const EMPTY: [&str; 2] = ["/var/log", "/var/lib"];

/// A mount namespace and a network namespace. Both go with their last user.
#[derive(Debug)]
pub struct Room {
    /// Its network.
    pub ns: Ns,
    mounts: File,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Room {
    /// A room on that network. It needs root.
    pub fn new(ns: &Ns) -> Room {
        let mounts = ns.enter(|| {
            let none: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
            empty("/run");
            EMPTY.iter().for_each(|folder| empty(folder));
            SHADOWED.iter().for_each(|folder| shadow(folder));
            fs::create_dir_all("/etc/ha.d/conf").expect("/etc/ha.d");
            fs::create_dir_all("/run/lock/subsys").expect("the folder of lock files");
            for name in ["ldirectord", "lvsentry"] {
                replace(&Path::new("/usr/sbin").join(name), &binary());
            }
            File::open("/proc/thread-self/ns/mnt").expect("this thread's mounts")
        });
        Room { ns: ns.clone(), mounts }
    }

    /// A room in which every file of the system may be changed, with nothing of ours in it; none where
    /// the kernel cannot lay folders over each other.
    pub fn throwaway(ns: &Ns) -> Option<Room> {
        let mounts = ns.enter(|| {
            let none: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
            empty("/run");
            for folder in ["/etc", "/usr", "/var"] {
                let [upper, work] = ["upper", "work"].map(|part| format!("/run/over{folder}/{part}"));
                for path in [&upper, &work] {
                    fs::create_dir_all(path).expect("a folder");
                }
                let options = format!("lowerdir={folder},upperdir={upper},workdir={work}");
                mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(&*options)).ok()?;
            }
            Some(File::open("/proc/thread-self/ns/mnt").expect("this thread's mounts"))
        });
        mounts.map(|mounts| Room { ns: ns.clone(), mounts })
    }

    /// Runs `work` on a thread in this room.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.enter(|| {
            unshare(CloneFlags::CLONE_FS).expect("a root of one's own");
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("entering a room");
            work()
        })
    }

    /// Runs a program here, to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Said {
        self.command(Command::new(program).args(arguments))
    }

    /// Runs a command here, to its end.
    pub fn command(&self, command: &mut Command) -> Said {
        let command = command.stdin(Stdio::null());
        let output = self.enter(|| command.output());
        Said::from(output.unwrap_or_else(|why| panic!("{command:?}: {why}")))
    }

    /// Calls lvsentry by ldirectord's name.
    pub fn ldirectord(&self, arguments: &[&str]) -> Said {
        self.run("/usr/sbin/ldirectord", arguments)
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        self.enter(|| fs::write(path, text).unwrap_or_else(|why| panic!("{path}: {why}")));
    }

    /// Reads a file; nothing when there is none.
    pub fn read(&self, path: &str) -> String {
        self.enter(|| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned())
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.enter(|| Path::new(path).exists())
    }

    /// Copies files and folders of a tree to where they belong, over what was there.
    pub fn bring(&self, tree: &Path, paths: &[&str]) {
        for path in paths {
            let from = tree.join(path.trim_start_matches('/'));
            let parent = Path::new(path).parent().expect("a folder");
            let parent = parent.to_str().expect("a name");
            self.run("mkdir", &["-p", parent]);
            let said =
                self.run("cp", &["-a", "--remove-destination", from.to_str().expect("a name"), parent]);
            assert_eq!(said.status, Some(0), "{path}: {said:?}");
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn empty(folder: &str) {
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("an empty folder");
}

/// Replaces a folder by one of links to its former entries, so that more can be put there.
fn shadow(folder: &str) {
    let none: Option<&str> = None;
    let kept = Path::new("/run/shadow").join(folder.replace('/', "-"));
    fs::create_dir_all(&kept).expect("a place for the former folder");
    mount(Some(folder), &kept, none, MsFlags::MS_BIND, none).expect("the former folder");
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("the new folder");
    for entry in fs::read_dir(&kept).expect("its entries") {
        let name = entry.expect("an entry").file_name();
        symlink(kept.join(&name), Path::new(folder).join(&name)).expect("a link to it");
    }
}

/// Puts a link to `target` at `path`.
fn replace(path: &Path, target: &Path) {
    let parent = path.parent().expect("a folder");
    fs::create_dir_all(parent).unwrap_or_else(|why| panic!("{}: {why}", parent.display()));
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
    symlink(target, path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
}

/// A process whose command line says ldirectord, as another daemon's would. Killed when dropped.
pub struct Pretender(std::process::Child);

impl Pretender {
    /// Starts it in that room and writes its number into the pid file.
    pub fn start(room: &Room, pid_file: &str) -> Pretender {
        use std::os::unix::process::CommandExt;
        let child =
            room.enter(|| Command::new("sleep").arg0("ldirectord").arg("600").spawn().expect("sleep"));
        room.write(pid_file, &format!("{}\n", child.id()));
        Pretender(child)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The signal that ended it; none while it lives.
    pub fn ended_by(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        // The signal was sent before the command that sent it ended.
        for _ in 0..1000 {
            if let Some(status) = self.0.try_wait().expect("its status") {
                return status.signal();
            }
            thread::sleep(std::time::Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Pretender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder that was downloaded into, if Debian's packages could be had.
pub fn debian() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/fetch");
    let output = Command::new(script).output().expect("tests/integration/fetch");
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Some(PathBuf::from(path));
    }
    super::skip(&format!("Debian's packages cannot be had: {}", String::from_utf8_lossy(&output.stderr)));
    None
}
