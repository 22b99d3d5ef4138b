//! A real server of Debian's in a world of its own: a network, processes and files that end with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lvsentry::model::{Protocol, ServiceKey};
use lvsentry::probe::{Target, Tools, ask};
use rcgen::{CertificateParams, KeyPair};

use super::net::Ns;
use super::probe::{Answer, probe, target};
use super::tls::{authority, trusting};

/// How long a server may take until it serves, on a busy machine.
const START: Duration = Duration::from_secs(60);
/// What a server that serves is given for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a frozen server is given.
const FROZEN: Duration = Duration::from_millis(400);

/// IPv4 and IPv6.
pub const BOTH: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A running server.
pub struct World {
    ns: Ns,
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    tools: Tools,
}

/// Options of a check.
pub type Given = [(&'static str, &'static str)];

/// Where Debian's servers are; made by the first who asks.
fn root() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/root");
        let made = Command::new(script).stderr(Stdio::inherit()).output().expect("tests/servers/root");
        assert!(made.status.success(), "tests/servers/root: {}", made.status);
        String::from_utf8(made.stdout).expect("a path").trim().to_owned()
    })
}

impl World {
    /// Starts the server that `tests/servers/NAME.sh` starts.
    pub fn start(name: &str) -> World {
        let ns = Ns::new();
        let (tools, key, chain) = certificate();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("lvsentry-{name}-{}-{number}", std::process::id()));
        let said = File::create(&log).expect("a log");
        let mut child = ns.enter(|| {
            Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"])
                .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/boot"), root(), name])
                .env("TLS_KEY", key)
                .env("TLS_CHAIN", chain)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(said)
                .spawn()
                .expect("`unshare` of util-linux")
        });
        let words = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        let mut world = World { ns, child, words, answers, log, tools };
        world.hear("started");
        world
    }

    /// Stops all of its processes where they stand; connections are still taken by the kernel.
    pub fn freeze(&mut self) {
        self.say("freeze");
    }

    /// Lets them go on.
    pub fn thaw(&mut self) {
        self.say("thaw");
    }

    /// Ends all of its processes at once.
    pub fn stop(&mut self) {
        self.say("stop");
    }

    fn say(&mut self, word: &str) {
        let words = self.words.as_mut().expect("open until it ends");
        writeln!(words, "{word}").expect("a world that listens");
        self.hear(word);
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert_eq!(line.trim(), word, "{}", self.log());
    }

    fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Asks once, from within.
    pub fn ask(&self, limit: Duration, kind: &str, target: &Target, options: &Given) -> Answer {
        let probe = probe(kind, target, options);
        self.ns.enter(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let outcome = runtime.block_on(ask(&*probe, limit, &self.tools));
            assert!(outcome.took < limit + Duration::from_secs(2), "took {:?} of {limit:?}", outcome.took);
            outcome.into_result()
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The end of its input is the end of the world.
        drop(self.words.take());
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A certificate for `servers.example.org`, and tools that trust its authority.
fn certificate() -> (Tools, String, String) {
    let authority = authority();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["servers.example.org".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    (trusting(&authority), key.serialize_pem(), certificate.pem())
}

/// A check of a running server, and all that is to be seen of it.
pub struct Drill<'a> {
    /// The kind of check.
    pub kind: &'a str,
    /// Whom it asks.
    pub at: Vec<Target>,
    /// Options with which it is good, and what it says then, or parts of that.
    pub good: &'a [(&'a Given, &'a str)],
    /// Options with which it is not, and parts of the failure.
    pub bad: &'a [(&'a Given, &'a str)],
    /// The code of a frozen server.
    pub frozen: &'a str,
    /// The code of a stopped one.
    pub stopped: &'a str,
}

/// The same port over IPv4 and IPv6, as a TCP service.
pub fn at(port: u16) -> Vec<Target> {
    BOTH.iter().map(|&ip| target(SocketAddr::new(ip, port))).collect()
}

impl Drill<'_> {
    /// Sees that the server is well, and what questions it does not like.
    pub fn serving(&self, world: &World) {
        let (first, _) = self.good[0];
        for target in &self.at {
            let start = Instant::now();
            while let Err(failure) = world.ask(PATIENCE, self.kind, target, first) {
                let told = || format!("{} at {}: {failure}\n{}", self.kind, target.check, world.log());
                assert!(start.elapsed() < START, "{}", told());
                std::thread::sleep(Duration::from_millis(50));
            }
            for (options, seen) in self.good {
                let answer = world.ask(PATIENCE, self.kind, target, options);
                let told = || format!("{} {options:?} at {}\n{}", self.kind, target.check, world.log());
                let said = answer.unwrap_or_else(|failure| panic!("{failure}\n{}", told()));
                assert!(matches(&said, seen), "{said}\n{}", told());
            }
            for (options, failure) in self.bad {
                let answer = world.ask(PATIENCE, self.kind, target, options);
                let told = || format!("{} {options:?} at {}\n{}", self.kind, target.check, world.log());
                let said = answer.expect_err(&told()).to_string();
                assert!(matches(&said, failure), "{said}\n{}", told());
                assert!(!said.contains("a secret"), "{said}");
            }
        }
    }

    /// Sees that where the server serves too, and wants nobody, it is not well.
    pub fn unwilling(&self, world: &World, at: &[Target], wanted: &str) {
        for target in at {
            let (start, mut failure) = (Instant::now(), String::new());
            while !matches(&failure, wanted) {
                let told = || format!("{} at {}: {failure}\n{}", self.kind, target.check, world.log());
                assert!(start.elapsed() < START, "{}", told());
                let answer = world.ask(PATIENCE, self.kind, target, self.good[0].0);
                failure = answer.expect_err("it wants nobody").to_string();
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// The same for a frozen server, one that goes on, and one that is gone.
    pub fn through(drills: &[Drill<'_>], world: &mut World) {
        for drill in drills {
            drill.serving(world);
        }
        world.freeze();
        for drill in drills {
            drill.failing(world, FROZEN, drill.frozen);
        }
        world.thaw();
        for drill in drills {
            drill.serving_again(world);
        }
        world.stop();
        for drill in drills {
            drill.failing(world, PATIENCE, drill.stopped);
        }
    }

    fn serving_again(&self, world: &World) {
        for target in &self.at {
            let answer = world.ask(PATIENCE, self.kind, target, self.good[0].0);
            answer.unwrap_or_else(|failure| {
                panic!("{}: after a freeze: {failure}\n{}", self.kind, world.log())
            });
        }
    }

    fn failing(&self, world: &World, limit: Duration, code: &str) {
        for target in &self.at {
            let failure = world.ask(limit, self.kind, target, self.good[0].0).expect_err(code);
            assert_eq!(failure.code(), code, "{} at {}: {failure}", self.kind, target.check);
        }
    }
}

/// The same as a UDP service.
pub fn udp(port: u16) -> Vec<Target> {
    let service = |target: Target| ServiceKey::Address(Protocol::Udp, target.check);
    at(port).into_iter().map(|target| Target { service: service(target), ..target }).collect()
}

/// Whether all parts of a pattern, between `…`, stand in a text in that order.
fn matches(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split('…').all(|part| match rest.find(part) {
        Some(place) => {
            rest = &rest[place + part.len()..];
            true
        }
        None => false,
    })
}
