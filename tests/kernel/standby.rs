//! A pair of directors on a real kernel, by direct routing: the address of the service moves from one to the
//! other and back, and the table follows.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::ask;
use crate::support::daemon::Daemon;
use crate::support::http::{Mode, Server};
use crate::support::net::{Ns, Switch};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(40);

/// How long after its address came a director takes until its table is right, on average: less than if it
/// looked once a second.
const FAST: Duration = Duration::from_millis(400);

/// The same, at the most, on a slow guest.
const SLOWEST: Duration = Duration::from_secs(1);

const CONFIGURATION: &str = "
role: { address: 10.9.0.200 }
on_demote: remove
log: stdout
services:
  - listen: '10.9.0.200:80/tcp'
    forward: gate
    check: { http: { path: /, expect: { body: well } }, interval: 1s, timeout: 900ms }
    servers: [10.9.0.1, 10.9.0.2, 10.9.0.3]
";

/// Two directors, a client and three servers of 10.9.0.0/24 on one switch.
struct Pair {
    directors: [Ns; 2],
    daemons: [Daemon; 2],
    client: Ns,
    servers: [Server; 3],
    _switch: Switch,
}

impl Pair {
    fn new() -> Pair {
        let (switch, client) = (Switch::new(), Ns::new());
        switch.plug(&client, "eth0", "10.9.0.100/24");
        let servers = [1, 2, 3].map(|n| {
            let host = Ns::new();
            switch.plug(&host, "eth0", &format!("10.9.0.{n}/24"));
            host.sysctl(&["conf.all.arp_ignore=1", "conf.all.arp_announce=2"]);
            host.ip("addr add 10.9.0.200/32 dev lo");
            Server::start(&host, &format!("s{n}"), &[80])
        });
        let directors = [253, 254].map(|n| {
            let director = Ns::new();
            switch.plug(&director, "eth0", &format!("10.9.0.{n}/24"));
            director.sysctl(&["ip_forward=1"]);
            director
        });
        let daemons =
            [0, 1].map(|i| Daemon::start_as(&directors[i], "pair.yaml", CONFIGURATION.as_bytes(), &[]));
        Pair { directors, daemons, client, servers, _switch: switch }
    }

    fn state(&self) -> String {
        let one = |i: usize| {
            let (director, daemon) = (&self.directors[i], &self.daemons[i]);
            format!("director {i}: {:#?}\n{}", director.table(), daemon.log())
        };
        format!("{}\n{}", one(0), one(1))
    }

    /// Waits until a director's table has these servers; how long that took.
    fn expect(&self, director: usize, servers: &[usize]) -> Duration {
        let mut wanted = vec!["-A -t 10.9.0.200:80 -s wrr".to_owned()];
        wanted.extend(servers.iter().map(|n| format!("-a -t 10.9.0.200:80 -r 10.9.0.{n}:80 -g -w 1")));
        let is_so = || self.directors[director].table() == wanted;
        wait_until(SOON, "the table is right", || self.state(), is_so)
    }

    /// Both directors have come to the same view of a server.
    fn both_say(&self, words: &str, times: usize) {
        let said = |daemon: &Daemon| daemon.log().matches(words).count() == times;
        wait_until(SOON, words, || self.state(), || self.daemons.iter().all(said));
    }

    /// Moves the address; what a VRRP daemon would announce the client is told.
    fn move_address(&self, from: usize, to: usize) {
        self.directors[from].ip("addr del 10.9.0.200/32 dev eth0");
        self.directors[to].ip("addr add 10.9.0.200/32 dev eth0");
        self.client.ip("neigh flush to 10.9.0.200");
    }
}

/// A request: its begin, its end and its answer.
type Request = (Instant, Instant, Result<String, String>);

/// Asks again and again until it is told to end.
struct Client {
    over: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    asking: JoinHandle<()>,
}

impl Client {
    fn start(ns: &Ns) -> Client {
        let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Request>>>::default());
        let (end, all) = (over.clone(), requests.clone());
        let service: SocketAddr = "10.9.0.200:80".parse().unwrap();
        let asking = ns.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let answer = ask(service, Duration::from_secs(10));
                all.lock().unwrap().push((begin, Instant::now(), answer));
                // The guest has one processor, which others need as well.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Client { over, requests, asking }
    }

    /// Whether a request that began after that moment was served.
    fn is_served_after(&self, moment: Instant) -> bool {
        let requests = self.requests.lock().unwrap();
        requests.iter().any(|(begin, _, answer)| *begin > moment && answer.is_ok())
    }

    fn end(self) -> Vec<Request> {
        self.over.store(true, Ordering::Relaxed);
        self.asking.join().unwrap();
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

#[test]
fn the_other_director_takes_over_at_once_with_what_it_knows_and_nobody_else_loses_a_request() {
    let pair = Pair::new();
    pair.both_say("This director is standby", 1);
    pair.both_say(" is up: ", 3);
    assert_eq!([pair.directors[0].table(), pair.directors[1].table()], [const { Vec::<String>::new() }; 2]);
    pair.directors[0].ip("addr add 10.9.0.200/32 dev eth0");
    pair.expect(0, &[1, 2, 3]);
    pair.servers[1].set(Mode::Refuse);
    pair.both_say("10.9.0.2:80 (10.9.0.200:80) is down", 1);
    pair.expect(0, &[1, 3]);

    let client = Client::start(&pair.client);
    let (mut moves, mut times) = (Vec::new(), Vec::new());
    for (from, to) in [(0, 1), (1, 0), (0, 1), (1, 0)] {
        let begin = Instant::now();
        pair.move_address(from, to);
        let took = pair.expect(to, &[1, 3]);
        let right = Instant::now();
        times.push(took);
        let gone = || pair.directors[from].table().is_empty();
        wait_until(SOON, "the other table is empty", || pair.state(), gone);
        wait_until(SOON, "the client is served", || pair.state(), || client.is_served_after(right));
        moves.push((begin, right));
    }
    let slow = times.iter().any(|took| *took > SLOWEST) || times.iter().sum::<Duration>() > FAST * 4;
    assert!(!slow, "the moves took {times:?}\n{}", pair.state());
    let all = client.end();
    // A request that was under way while the address moved may be lost, and no other one.
    let is_move = |begin: &Instant, end: &Instant| moves.iter().any(|(from, to)| begin <= to && end >= from);
    let lost = all.iter().filter(|(begin, end, answer)| answer.is_err() && !is_move(begin, end));
    let lost: Vec<_> = lost.map(|(begin, end, answer)| (*end - *begin, answer)).collect();
    assert!(lost.is_empty(), "{lost:?} of {}\n{}", all.len(), pair.state());
    // A stop where the address is not leaves the other one's work alone, and its own kernel.
    let [active, standby] = pair.daemons;
    assert!(standby.stop().is_some_and(|status| status.success()));
    assert!(active.stop().is_some_and(|status| status.success()));
    assert_eq!(pair.directors[0].table().len(), 3, "clean_stop is off");
}
