//! The director's own illness on a real kernel: what is wrong on our side takes no server out, and what
//! is wrong on theirs takes out exactly those.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::http::{Mode, Server};
use crate::support::net::{Ns, Switch};
use crate::support::wait_until;

/// How long anything may take that must happen; well below the ceiling of delayed removals.
const SOON: Duration = Duration::from_secs(15);

/// How long servers are watched that must stay: two rounds of checks, of which the first would take them out.
const WATCHED: Duration = Duration::from_millis(2500);

/// A director with servers on its own link, and others behind a gateway, over IPv4 and IPv6.
///
/// ```text
/// director ── inside ── near 1, near 2
///               └── gateway ── outside ── far 1, far 2
/// ```
struct World {
    director: Ns,
    inside: Switch,
    outside: Switch,
    /// The ports of `inside` and `outside` at which each stands.
    uplink: String,
    gateway: String,
    near: [(Server, String); 2],
    far: [(Server, String); 2],
    _gateway: Ns,
}

const CONFIGURATION: &str = "\
checktimeout=1
negotiatetimeout=1
checkinterval=1
virtual=10.1.0.200:80
\treal=10.2.0.1:80 masq
\treal=10.2.0.2:80 masq
\tservice=http
\treceive=\"well\"
virtual=10.1.0.200:81
\treal=10.4.0.1:80 masq
\treal=10.4.0.2:80 masq
\tservice=http
\treceive=\"well\"
virtual6=[fd00:1::200]:80
\treal6=[fd00:4::1]:80 masq
\treal6=[fd00:4::2]:80 masq
\tchecktype=ping
";

const ALL: [&str; 9] = [
    "-A -t 10.1.0.200:80 -s wrr",
    "-A -t 10.1.0.200:81 -s wrr",
    "-A -t [fd00:1::200]:80 -s wrr",
    "-a -t 10.1.0.200:80 -r 10.2.0.1:80 -m -w 1",
    "-a -t 10.1.0.200:80 -r 10.2.0.2:80 -m -w 1",
    "-a -t 10.1.0.200:81 -r 10.4.0.1:80 -m -w 1",
    "-a -t 10.1.0.200:81 -r 10.4.0.2:80 -m -w 1",
    "-a -t [fd00:1::200]:80 -r [fd00:4::1]:80 -m -w 1",
    "-a -t [fd00:1::200]:80 -r [fd00:4::2]:80 -m -w 1",
];

impl World {
    fn new() -> World {
        let (inside, outside, director, gateway) = (Switch::new(), Switch::new(), Ns::new(), Ns::new());
        let uplink = inside.plug(&director, "eth0", "10.2.0.254/24");
        let at = inside.plug(&gateway, "eth0", "10.2.0.250/24");
        outside.plug(&gateway, "eth1", "10.4.0.254/24");
        gateway.ip("addr add fd00:2::250/64 dev eth0 nodad\naddr add fd00:4::254/64 dev eth1 nodad");
        gateway.sysctl(&["ip_forward=1"]);
        gateway.enter(|| std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")).unwrap();
        director.ip("addr add 10.1.0.200/32 dev lo\naddr add fd00:1::200/128 dev lo nodad\n\
             addr add fd00:2::254/64 dev eth0 nodad\n\
             route add 10.4.0.0/24 via 10.2.0.250\nroute add fd00:4::/64 via fd00:2::250");
        let near = [1, 2].map(|n| {
            let host = Ns::new();
            let port = inside.plug(&host, "eth0", &format!("10.2.0.{n}/24"));
            (Server::start(&host, &format!("near {n}"), &[80]), port)
        });
        let far = [1, 2].map(|n| {
            let host = Ns::new();
            let port = outside.plug(&host, "eth0", &format!("10.4.0.{n}/24"));
            host.ip(&format!(
                "addr add fd00:4::{n}/64 dev eth0 nodad\nroute add default via 10.4.0.254\n\
                 route add default via fd00:4::254"
            ));
            (Server::start(&host, &format!("far {n}"), &[80]), port)
        });
        World { director, inside, outside, uplink, gateway: at, near, far, _gateway: gateway }
    }

    /// A daemon that has found everybody well.
    fn daemon(&self) -> Daemon {
        let daemon = Daemon::start(&self.director, CONFIGURATION.as_bytes());
        self.expect(&daemon, "all are in", &ALL);
        daemon
    }

    fn state(&self, daemon: &Daemon) -> String {
        format!("table: {:#?}\nlog:\n{}", self.director.table(), daemon.log())
    }

    fn expect(&self, daemon: &Daemon, what: &str, table: &[&str]) -> Duration {
        wait_until(SOON, what, || self.state(daemon), || self.director.table() == table)
    }

    fn told(&self, daemon: &Daemon, what: &str, times: usize) {
        let seen = || daemon.log().matches(what).count() >= times;
        wait_until(SOON, what, || self.state(daemon), seen);
    }

    /// Sees that this illness is told and that no server leaves for it.
    fn stays(&self, daemon: &Daemon, illness: &str) {
        self.told(daemon, &format!("This director is unwell: {illness}"), 1);
        thread::sleep(WATCHED);
        self.is_whole(daemon);
    }

    /// Sees that no server has ever left.
    fn is_whole(&self, daemon: &Daemon) {
        assert_eq!(self.director.table(), ALL, "{}", daemon.log());
        assert!(!daemon.log().contains("Deleted"), "{}", daemon.log());
    }

    /// Sees that it has come to an end for the `times`th time, and that no server has left meanwhile.
    fn is_over(&self, daemon: &Daemon, times: usize) {
        self.told(daemon, "This director is well again", times);
        self.is_whole(daemon);
    }
}

#[test]
fn an_uplink_without_carrier_and_a_route_that_is_gone_take_no_server_out() {
    let world = World::new();
    let daemon = world.daemon();
    world.inside.cut(&world.uplink);
    world.stays(&daemon, "the interface on the way has no carrier");
    world.inside.mend(&world.uplink);
    world.is_over(&daemon, 1);
    world.director.ip("route del 10.4.0.0/24 via 10.2.0.250\nroute del fd00:4::/64 via fd00:2::250");
    world.stays(&daemon, "there is no route");
    world.director.ip("route add 10.4.0.0/24 via 10.2.0.250\nroute add fd00:4::/64 via fd00:2::250");
    world.is_over(&daemon, 2);
}

#[test]
fn a_gateway_that_is_gone_takes_no_server_out_that_is_behind_it() {
    let world = World::new();
    let daemon = world.daemon();
    world.inside.cut(&world.gateway);
    world.stays(&daemon, "the gateway on the way does not answer");
    for far in ["10.4.0.1:80", "10.4.0.2:80", "[fd00:4::1]:80", "[fd00:4::2]:80"] {
        assert!(daemon.log().contains(&format!("Real server {far} ")), "{far} failed\n{}", daemon.log());
    }
    // One on our own link that is silent too is at fault itself.
    world.inside.cut(&world.near[0].1);
    let without: Vec<_> = ALL.into_iter().filter(|line| !line.contains("10.2.0.1:80")).collect();
    world.expect(&daemon, "the silent neighbour is out", &without);
    world.inside.mend(&world.near[0].1);
    world.inside.mend(&world.gateway);
    world.told(&daemon, "This director is well again", 1);
    world.expect(&daemon, "all are in", &ALL);
    assert_eq!(daemon.log().matches("Deleted real server").count(), 1, "{}", daemon.log());
}

#[test]
fn a_daemon_that_is_not_let_run_takes_no_server_out() {
    let world = World::new();
    let daemon = world.daemon();
    // So there is always an exchange under way, and most often one that does not outlive this.
    world.director.run("tc", &["qdisc", "add", "dev", "eth0", "root", "netem", "delay", "300ms"]);
    thread::sleep(Duration::from_secs(1));
    let mut stops = [5, 2, 2, 2].into_iter();
    let told = || daemon.log().contains("This director is unwell: this process was not let run in time");
    while !told() {
        let time = stops.next().unwrap_or_else(|| panic!("it noticed nothing\n{}", daemon.log()));
        daemon.signal(Signal::SIGSTOP);
        thread::sleep(Duration::from_secs(time));
        daemon.signal(Signal::SIGCONT);
        thread::sleep(Duration::from_millis(1300));
        assert!(!daemon.log().contains("Deleted"), "{}", daemon.log());
    }
    world.is_over(&daemon, 1);
    // It runs only when nobody else wants to, and somebody always does.
    world.director.run("chrt", &["--idle", "--all-tasks", "--pid", "0", &daemon.pid().to_string()]);
    busy(Duration::from_secs(6));
    thread::sleep(Duration::from_secs(2));
    world.is_whole(&daemon);
}

/// Uses up the processor.
fn busy(time: Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn descriptors_and_ports_that_are_used_up_take_no_server_out() {
    let world = World::new();
    let daemon = world.daemon();
    let limit = |most: &str| {
        let (pid, most) = (daemon.pid().to_string(), format!("--nofile={most}:65536"));
        world.director.run("prlimit", &["--pid", &pid, &most]);
    };
    limit("4");
    world.stays(&daemon, "no file descriptors are left");
    limit("65536");
    world.is_over(&daemon, 1);
    let held: [TcpListener; 2] =
        world.director.enter(|| [40_000, 40_001].map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap()));
    world.director.sysctl(&["ip_local_port_range=40000 40001"]);
    world.stays(&daemon, "no local address or port is left");
    drop(held);
    world.director.sysctl(&["ip_local_port_range=32768 60999"]);
    world.is_over(&daemon, 2);
}

#[test]
fn a_rack_that_is_cut_off_and_servers_that_refuse_leave_in_normal_time() {
    let world = World::new();
    let daemon = world.daemon();
    // One on our link, whose neighbours fail to find it, and one behind the gateway.
    world.inside.cut(&world.near[0].1);
    world.outside.cut(&world.far[0].1);
    let gone = ["10.2.0.1:80", "10.4.0.1:80", "[fd00:4::1]:80"];
    let left: Vec<_> = ALL.into_iter().filter(|line| !gone.iter().any(|gone| line.contains(gone))).collect();
    let took = world.expect(&daemon, "the rack is out", &left);
    assert!(took < Duration::from_secs(5), "it took {took:?}\n{}", daemon.log());
    // Every other server that can refuse as well: many failures at once alone are nothing of ours.
    world.near[1].0.set(Mode::Refuse);
    world.far[1].0.set(Mode::Refuse);
    let left: Vec<_> = ALL.into_iter().filter(|l| l.starts_with("-A") || l.contains("[fd00:4::2]")).collect();
    let took = world.expect(&daemon, "all are out", &left);
    assert!(took < Duration::from_secs(3), "it took {took:?}\n{}", daemon.log());
    assert!(!daemon.log().contains("unwell"), "{}", daemon.log());
}
