//! Everything goes wrong, on the real kernel: the daemon is killed, the table is emptied, files are broken, limits
//! are hit, and a client asks through the service all along.

mod crowd; // a thousand servers fail at once
mod files; // the configuration replaced in every way that editors and copies have
mod host; // descriptors, disk, clock and names
mod kills; // kill -9 at random moments, with foreign hands in between

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::client::ask;
use crate::support::daemon::Daemon;
use crate::support::http::Server;
use crate::support::net::{Ns, Switch, modprobe};
use crate::support::wait_until;

const SERVICE: &str = "10.1.0.200:80";
/// Far longer than anything takes that is waited for.
const SOON: Duration = Duration::from_secs(40);
/// How long a request may take: a lost packet is sent again after a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// From an answer to the client's next question.
const PAUSE: Duration = Duration::from_millis(20);

/// A director, servers behind it by NAT, a server of last resort on it, and a client.
struct Stage {
    director: Ns,
    client: Ns,
    inside: Switch,
    servers: Vec<Server>,
    _fallback: Server,
    _outside: Switch,
}

impl Stage {
    /// With so many servers: 10.2.0.1 and up.
    fn new(servers: usize) -> Stage {
        let (outside, inside, director, client) = (Switch::new(), Switch::new(), Ns::new(), Ns::new());
        outside.plug(&director, "eth0", "10.1.0.254/24");
        outside.plug(&client, "eth0", "10.1.0.100/24");
        inside.plug(&director, "eth1", "10.2.0.254/24");
        // A port that a client uses again may meet the connection of a server that has left: the kernel would swallow
        // what it sends for a quarter of an hour, whatever the director does.
        modprobe(&["ip_vs"]);
        director.sysctl(&["ip_forward=1", "vs.expire_nodest_conn=1"]);
        client.sysctl(&["ip_local_port_range=1024 65535"]);
        director.ip("addr add 10.1.0.200/32 dev eth0");
        let servers = (1..=servers).map(|n| {
            let host = Ns::new();
            inside.plug(&host, "eth0", &format!("10.2.0.{n}/24"));
            host.ip("route add default via 10.2.0.254");
            Server::start(&host, &format!("s{n}"), &[80])
        });
        let servers = servers.collect();
        let fallback = Server::start(&director, "fallback", &[80]);
        Stage { director, client, inside, servers, _fallback: fallback, _outside: outside }
    }

    /// The table in which those of the servers are, with weight 1, in a service under wrr.
    fn table(servers: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut lines = vec![format!("-A -t {SERVICE} -s wrr")];
        lines.extend(servers.into_iter().map(|n| format!("-a -t {SERVICE} -r 10.2.0.{n}:80 -m -w 1")));
        lines.sort();
        lines
    }

    #[track_caller]
    fn expect(&self, daemon: &Daemon, what: &str, table: &[String]) -> Duration {
        let state = || format!("table: {:#?}\nlog:\n{}", self.director.table(), daemon.log());
        wait_until(SOON, what, state, || self.director.table() == table)
    }

    /// Runs `ipvsadm` on the director; whether it was content.
    fn ipvsadm(&self, arguments: &str) -> bool {
        let arguments = arguments.split(' ');
        self.director
            .enter(|| Command::new("ipvsadm").args(arguments).output())
            .expect("ipvsadm")
            .status
            .success()
    }

    /// Starts a client that asks through the service until it is told to end.
    fn asks(&self) -> Client {
        let over = Arc::new(AtomicBool::new(false));
        let asker = || {
            let over = over.clone();
            self.client.spawn(move || ask_until(&over))
        };
        let threads = vec![asker(), asker()];
        Client { over, threads }
    }
}

#[track_caller]
fn expect_line(daemon: &Daemon, words: &str) {
    let log = || daemon.log();
    wait_until(SOON, &format!("the log says {words:?}"), log, || log().contains(words));
}

/// How many lines of a log hold these words.
fn count(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

/// One request and how it ended.
struct Request {
    begun: Instant,
    ended: Instant,
    answer: Result<String, String>,
}

/// A client that asks all along.
struct Client {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Request>>>,
}

impl Client {
    /// Ends it: all that it asked.
    fn end(self) -> Vec<Request> {
        self.over.store(true, Ordering::Relaxed);
        let asked = self.threads.into_iter().flat_map(|thread| thread.join().expect("the client"));
        asked.collect()
    }

    /// Ends it; no request may have failed.
    #[track_caller]
    fn end_well(self, daemon: &Daemon) {
        let asked = self.end();
        let failed: Vec<_> = asked.iter().filter_map(|request| request.answer.as_ref().err()).collect();
        assert!(
            failed.is_empty(),
            "{} of {} failed: {failed:?}\n{}",
            failed.len(),
            asked.len(),
            daemon.log()
        );
        assert!(asked.len() > 50, "the client asked {} times only", asked.len());
    }
}

fn ask_until(over: &AtomicBool) -> Vec<Request> {
    let service: SocketAddr = SERVICE.parse().expect("an address");
    let mut asked = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = ask(service, PATIENCE);
        asked.push(Request { begun, ended: Instant::now(), answer });
        thread::sleep(PAUSE);
    }
    asked
}
