//! Network namespaces, and switches between them.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It has no name and goes with its last user, even when a test fails.
#[derive(Debug, Clone)]
pub struct Ns {
    handle: Arc<File>,
}

impl Ns {
    /// A new one with `lo` up.
    pub fn new() -> Ns {
        let ns = Ns::bare();
        ns.ip("link set lo up");
        ns
    }

    /// A new one in which nothing is up, and so no IPv4 address exists.
    pub fn bare() -> Ns {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace needs root: `make test` runs these tests where they can run");
            File::open("/proc/thread-self/ns/net").expect("this thread's namespace")
        });
        Ns { handle: Arc::new(made.join().expect("a network namespace")) }
    }

    /// Runs `work` on a thread in this namespace. Sockets it opens and programs it starts stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.handle, CloneFlags::CLONE_NEWNET).expect("entering a namespace");
                work()
            });
            inside.join()
        });
        result.unwrap_or_else(|fault| std::panic::resume_unwind(fault))
    }

    /// Starts a thread in this namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let ns = self.clone();
        thread::spawn(move || {
            setns(&*ns.handle, CloneFlags::CLONE_NEWNET).expect("entering a namespace");
            work()
        })
    }

    /// Runs `ip` with these commands, one a line.
    pub fn ip(&self, commands: &str) {
        let mut ip = self.enter(|| {
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("`ip` of iproute2")
        });
        ip.stdin.take().expect("its input").write_all(commands.as_bytes()).expect("writing to `ip`");
        assert!(ip.wait().expect("`ip`").success(), "ip -batch:\n{commands}");
    }

    /// Sets kernel parameters below `net.ipv4`: `ip_forward=1`.
    pub fn sysctl(&self, settings: &[&str]) {
        self.enter(|| {
            for setting in settings {
                let (name, value) = setting.split_once('=').expect("name=value");
                let path = format!("/proc/sys/net/ipv4/{}", name.replace('.', "/"));
                fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        });
    }

    /// Runs a program here and returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.enter(|| {
            Command::new(program)
                .args(arguments)
                .output()
                .unwrap_or_else(|error| panic!("{program}: {error}"))
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The kernel's IPVS table as another program sees it, a line an entry, sorted.
    pub fn table(&self) -> Vec<String> {
        let mut lines: Vec<_> =
            self.run("ipvsadm", &["-Sn"]).lines().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    }

    /// What other programs find this namespace by, while this process runs.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }
}

/// An Ethernet switch: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Switch {
    ns: Ns,
    ports: AtomicU32,
}

impl Switch {
    /// A switch without cables.
    pub fn new() -> Switch {
        modprobe(&["bridge", "veth"]);
        let ns = Ns::new();
        ns.ip("link add br0 type bridge\nlink set br0 up");
        Switch { ns, ports: AtomicU32::new(0) }
    }

    /// Gives a namespace an interface on this switch, with an address (`10.0.0.1/24`); says at which port.
    pub fn plug(&self, ns: &Ns, interface: &str, address: &str) -> String {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let switch = self.ns.path();
        ns.ip(&format!(
            "link add {interface} type veth peer name {port} netns {switch}\n\
             addr add {address} dev {interface}\nlink set {interface} up"
        ));
        self.ns.ip(&format!("link set {port} master br0\nlink set {port} up"));
        port
    }

    /// Pulls the plug at a port: who stands there has no carrier.
    pub fn cut(&self, port: &str) {
        self.ns.ip(&format!("link set {port} down"));
    }

    /// Puts it in again.
    pub fn mend(&self, port: &str) {
        self.ns.ip(&format!("link set {port} up"));
    }
}

/// Loads kernel modules; what is built in or cannot be loaded shows itself later.
pub fn modprobe(modules: &[&str]) {
    let _ = Command::new("modprobe").arg("-qa").args(modules).stderr(Stdio::null()).status();
}
