//! A thousand servers fail at once, and come back.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::{SERVICE, Stage, count};
use crate::support::daemon::Daemon;
use crate::support::net::Ns;

const SERVERS: u16 = 1000;

/// An interval and a timeout, and as much again for a slow guest that has all to do at once.
const BOUND: Duration = Duration::from_secs(20);

/// One process that answers on all addresses of a network, and hangs up at once.
struct Crowd {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Crowd {
    fn start(host: &Ns) -> Crowd {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let listener = host.enter(|| TcpListener::bind("0.0.0.0:80").expect("port 80"));
        let thread = host.spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                drop(listener.accept());
            }
        });
        Crowd { over, thread }
    }

    /// All of them fail: the port is closed.
    fn fail(self, host: &Ns) {
        self.over.store(true, Ordering::Relaxed);
        // One more connection wakes the thread up.
        host.enter(|| drop(std::net::TcpStream::connect("127.0.0.1:80")));
        self.thread.join().expect("the crowd");
    }
}

/// Looks now and then, since to look costs the guest a good part of its time.
#[track_caller]
fn expect(stage: &Stage, daemon: &Daemon, what: &str, table: &[String]) {
    let start = Instant::now();
    while stage.director.table() != table {
        let state = || format!("{what}: not within {BOUND:?}\n{}", daemon.log());
        assert!(start.elapsed() < BOUND, "{}", state());
        sleep(Duration::from_millis(500));
    }
}

fn address(n: u16) -> String {
    format!("10.4.{}.{}", n >> 8, n & 255)
}

#[test]
fn a_thousand_servers_that_fail_at_once_leave_in_bounded_time_and_the_fallback_serves() {
    let stage = Stage::new(0);
    let host = Ns::new();
    stage.inside.plug(&host, "eth0", "10.2.0.1/24");
    host.ip("route add default via 10.2.0.254\nroute add local 10.4.0.0/16 dev lo");
    stage.director.ip("route add 10.4.0.0/16 via 10.2.0.1");
    let crowd = Crowd::start(&host);
    let mut text = format!(
        "checkinterval=6\nchecktimeout=3\nquiescent=no\nvirtual={SERVICE}\n\tscheduler=wrr\n\
         \tchecktype=connect\n\tfallback=127.0.0.1:80\n"
    );
    (1..=SERVERS).for_each(|n| text += &format!("\treal={}:80 masq 1\n", address(n)));
    let head = format!("-A -t {SERVICE} -s wrr");
    let mut all: Vec<String> =
        (1..=SERVERS).map(|n| format!("-a -t {SERVICE} -r {}:80 -m -w 1", address(n))).collect();
    all.push(head.clone());
    all.sort();
    let fallback = [head, format!("-a -t {SERVICE} -r 127.0.0.1:80 -g -w 1")];
    let mut fallback = fallback.to_vec();
    fallback.sort();

    let mut daemon = Daemon::start(&stage.director, text.as_bytes());
    expect(&stage, &daemon, "all are in", &all);
    crowd.fail(&host);
    expect(&stage, &daemon, "all are out and the fallback is in", &fallback);
    let client = stage.asks();
    sleep(Duration::from_secs(2));
    client.end_well(&daemon);
    let log = daemon.log();
    assert_eq!(count(&log, "Deleted real server"), usize::from(SERVERS));
    assert_eq!(count(&log, "Added fallback server"), 1);
    // A crash in the middle of it changes nothing.
    let crowd = Crowd::start(&host);
    sleep(Duration::from_secs(2));
    daemon.crash();
    daemon.rise();
    expect(&stage, &daemon, "all are back", &all);
    crowd.fail(&host);
}
