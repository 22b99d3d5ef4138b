//! Shows the main job on a real IPVS table: three web servers behind one virtual address, a client
//! that never stops asking, and lvsentry in between. `make demo` builds it and runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::client::{Tally, ask};
use support::daemon::Daemon;
use support::http::{Mode, Server};
use support::net::{Ns, Switch};
use support::wait_until;

const CONFIGURATION: &str = "\
checktimeout=1
checkinterval=1
quiescent=no
cleanstop=yes

virtual=10.1.0.200:80
        real=10.2.0.1:80 masq
        real=10.2.0.2:80 masq
        real=10.2.0.3:80 masq
        fallback=127.0.0.1:80
        service=http
        request=\"index.html\"
        receive=\"well\"
        scheduler=rr
        protocol=tcp
        checktype=negotiate
";
/// How long the client is watched after each step.
const WATCH: Duration = Duration::from_millis(2000);
/// The client asks so often.
const PACE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let network = Network::new();
    println!("\nThree web servers (s1, s2, s3) stand behind one address, 10.1.0.200, on this director.");
    println!("lvsentry asks each of them every second for a page, and tells the kernel who may serve.");
    println!("Its configuration is an ldirectord.cf:\n\n{}", indent(CONFIGURATION));
    let daemon = Daemon::start(&network.director, CONFIGURATION.as_bytes());
    let state = || format!("table: {:#?}\nlog:\n{}", network.director.table(), daemon.log());
    wait_until(Duration::from_secs(20), "all servers are in", state, || network.has(&["s1", "s2", "s3"]));
    let client = Client::start(&network.client);
    let mut show = Show { network: &network, daemon: &daemon, client: &client, step: 0, unexpected: 0 };

    let everyone: &[&str] = &["s1", "s2", "s3"];
    let [s1, s2, s3] = &network.servers;
    show.watch("All three are well. The client asks some 50 times a second, each time anew.");
    show.step("s2 dies: nothing listens there any more.", &["s1", "s3"], Losses::Some, || {
        s2.set(Mode::Refuse)
    });
    show.step("s2 is started again.", everyone, Losses::None, || s2.set(Mode::Well));
    show.step(
        "All die, each in its own way: refuses, answers 500, hangs.",
        &["fallback"],
        Losses::Some,
        || {
            s1.set(Mode::Refuse);
            s2.set(Mode::Error);
            s3.set(Mode::Hang);
        },
    );
    // A request that is with the fallback in the very moment when it leaves is lost.
    let what = "All are well again. The fallback leaves when the first is back.";
    show.step(what, everyone, Losses::Some, || {
        network.servers.iter().for_each(|server| server.set(Mode::Well))
    });
    let unexpected = show.unexpected;
    let all = client.stop();
    println!("\nAll in all the client counted: {all}.");
    let ended = daemon.stop().is_some_and(|status| status.success());
    if unexpected == 0 && ended {
        println!("No request failed but while a change was being noticed. That is all there is to it.");
        return ExitCode::SUCCESS;
    }
    println!("{unexpected} requests failed that should not have; the daemon ended well: {ended}.");
    ExitCode::FAILURE
}

/// Prints each step: what happens, how soon the table follows, the table, the client's tally.
struct Show<'a> {
    network: &'a Network,
    daemon: &'a Daemon,
    client: &'a Client,
    step: usize,
    unexpected: usize,
}

/// Whether requests may fail between what happens and the table that follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Losses {
    None,
    Some,
}

impl Show<'_> {
    /// Something happens: how soon does the table follow, and what does the client see?
    fn step(&mut self, what: &str, expected: &[&str], losses: Losses, happen: impl FnOnce()) {
        self.expect_no_failure(&self.client.take());
        let now = Instant::now();
        happen();
        let state = || format!("table: {:#?}\nlog:\n{}", self.network.director.table(), self.daemon.log());
        wait_until(Duration::from_secs(20), "the table follows", state, || self.network.has(expected));
        let took = now.elapsed().as_secs_f64();
        self.client.finish_request();
        let meanwhile = self.client.take();
        self.title(what);
        println!(
            "   lvsentry changed the table {took:.1} s later. Meanwhile the client counted: {meanwhile}."
        );
        if losses == Losses::None {
            self.expect_no_failure(&meanwhile);
        }
        self.look();
    }

    /// Nothing happens.
    fn watch(&mut self, what: &str) {
        self.title(what);
        self.look();
    }

    fn title(&mut self, what: &str) {
        self.step += 1;
        println!("\n{}. {what}", self.step);
    }

    /// The table as it is, and what the client counts with it.
    fn look(&mut self) {
        println!("{}", indent(&self.network.director.run("ipvsadm", &["-Ln"])));
        thread::sleep(WATCH);
        let settled = self.client.take();
        println!("   With this table the client counts: {settled}.");
        self.expect_no_failure(&settled);
    }

    fn expect_no_failure(&mut self, tally: &Tally) {
        for failure in &tally.failures {
            println!("   A request failed that should not have: {failure}");
        }
        self.unexpected += tally.failures.len();
    }
}

/// The client's network 10.1.0.0/24 and the servers' 10.2.0.0/24, with the director between.
struct Network {
    director: Ns,
    client: Ns,
    servers: [Server; 3],
    _fallback: Server,
    _switches: [Switch; 2],
}

impl Network {
    fn new() -> Network {
        let (outside, inside, director, client) = (Switch::new(), Switch::new(), Ns::new(), Ns::new());
        outside.plug(&director, "eth0", "10.1.0.254/24");
        outside.plug(&client, "eth0", "10.1.0.100/24");
        inside.plug(&director, "eth1", "10.2.0.254/24");
        director.sysctl(&["ip_forward=1"]);
        director.ip("addr add 10.1.0.200/32 dev eth0");
        let servers = [1, 2, 3].map(|i| {
            let host = Ns::new();
            inside.plug(&host, "eth0", &format!("10.2.0.{i}/24"));
            host.ip("route add default via 10.2.0.254");
            Server::start(&host, &format!("s{i}"), &[80])
        });
        let fallback = Server::start(&director, "fallback", &[80]);
        Network { director, client, servers, _fallback: fallback, _switches: [outside, inside] }
    }

    /// Whether exactly these servers are in the table.
    fn has(&self, names: &[&str]) -> bool {
        let mut wanted: Vec<_> = names
            .iter()
            .map(|name| match name.strip_prefix('s') {
                Some(number) => format!("10.2.0.{number}:80"),
                None => "127.0.0.1:80".to_owned(),
            })
            .collect();
        wanted.sort();
        let table = self.director.table();
        let mut found: Vec<_> = table
            .iter()
            .filter(|line| line.starts_with("-a"))
            .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
            .collect();
        found.sort();
        found == wanted
    }
}

/// Asks for ever, at an even pace, and counts.
struct Client {
    tally: Arc<Mutex<(Tally, Tally)>>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(ns: &Ns) -> Client {
        let tally = Arc::new(Mutex::new((Tally::default(), Tally::default())));
        let over = Arc::new(AtomicBool::new(false));
        let (counted, end) = (tally.clone(), over.clone());
        let service = SocketAddr::from(([10, 1, 0, 200], 80));
        let thread = ns.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let start = Instant::now();
                let answer = ask(service, Duration::from_secs(1));
                let mut tally = counted.lock().expect("nobody panics with it");
                tally.0.count(answer.clone());
                tally.1.count(answer);
                drop(tally);
                thread::sleep(PACE.saturating_sub(start.elapsed()));
            }
        });
        Client { tally, over, thread }
    }

    /// What was counted since this was asked last.
    fn take(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().expect("nobody panics with it").0)
    }

    /// Waits until the request that is on its way now has ended: until one more was counted.
    fn finish_request(&self) {
        let count = || {
            let tally = self.tally.lock().expect("nobody panics with it");
            tally.1.answers.values().sum::<usize>() + tally.1.failures.len()
        };
        let before = count();
        wait_until(Duration::from_secs(5), "the client's request ends", String::new, || count() > before);
    }

    /// Ends, and gives all that was ever counted.
    fn stop(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client ends");
        std::mem::take(&mut self.tally.lock().expect("nobody panics with it").1)
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("       {line}\n")).collect()
}
