//! The daemon on a real kernel: what it does to a table that others share.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::ask_often;
use crate::support::daemon::Daemon;
use crate::support::http::{Mode, Server};
use crate::support::net::{Ns, Switch};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(40);

/// A director and two servers behind it, by NAT.
struct Pair {
    director: Ns,
    client: Ns,
    servers: [Server; 2],
    _switches: [Switch; 2],
}

const CONFIGURATION: &str = "\
checktimeout=3
checkinterval=1
virtual=10.1.0.200:80
\treal=10.2.0.1:80 masq 1
\treal=10.2.0.2:80 masq 2
\tfallback=127.0.0.1:80
\tservice=http
\tscheduler=wrr
\treceive=\"well\"
";

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}

const BOTH: &str = "-A -t 10.1.0.200:80 -s wrr
    -a -t 10.1.0.200:80 -r 10.2.0.1:80 -m -w 1
    -a -t 10.1.0.200:80 -r 10.2.0.2:80 -m -w 2";

impl Pair {
    fn new() -> Pair {
        let (outside, inside, director, client) = (Switch::new(), Switch::new(), Ns::new(), Ns::new());
        outside.plug(&director, "eth0", "10.1.0.254/24");
        outside.plug(&client, "eth0", "10.1.0.100/24");
        inside.plug(&director, "eth1", "10.2.0.254/24");
        director.sysctl(&["ip_forward=1"]);
        director.ip("addr add 10.1.0.200/32 dev eth0");
        let servers = ["10.2.0.1", "10.2.0.2"].map(|address| {
            let host = Ns::new();
            inside.plug(&host, "eth0", &format!("{address}/24"));
            host.ip("route add default via 10.2.0.254");
            Server::start(&host, address, &[80])
        });
        Pair { director, client, servers, _switches: [outside, inside] }
    }

    fn expect(&self, daemon: &Daemon, what: &str, table: &str) {
        let wanted = lines(table);
        let state = || format!("table: {:#?}\nlog:\n{}", self.director.table(), daemon.log());
        wait_until(SOON, what, state, || self.director.table() == wanted);
    }

    fn ipvsadm(&self, arguments: &str) {
        self.director.run("ipvsadm", &arguments.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn a_killed_daemon_leaves_the_table_and_the_next_one_takes_it_over_untouched() {
    let pair = Pair::new();
    let first = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    pair.expect(&first, "both are in", BOTH);
    first.kill();
    assert_eq!(pair.director.table(), lines(BOTH), "nothing went with it");
    let second = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    let up = || second.log().contains("Starting lvsentry");
    wait_until(SOON, "the second daemon runs", || second.log(), up);
    // Two rounds of checks and a comparison of the whole table later it has touched nothing.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(pair.director.table(), lines(BOTH));
    let touched = ["Added", "Deleted", "Restored", "Changed", "Purged"];
    assert!(!touched.iter().any(|word| second.log().contains(word)), "{}", second.log());
    // And it is really in charge.
    pair.servers[0].set(Mode::Refuse);
    pair.expect(
        &second,
        "the dead server is out",
        "-A -t 10.1.0.200:80 -s wrr
        -a -t 10.1.0.200:80 -r 10.2.0.2:80 -m -w 2",
    );
}

#[test]
fn a_table_that_stands_is_put_right_and_strangers_are_left_alone() {
    let pair = Pair::new();
    pair.ipvsadm("-A -t 10.1.0.200:80 -s rr -p 60");
    pair.ipvsadm("-a -t 10.1.0.200:80 -r 10.2.0.1:80 -m -w 9");
    pair.ipvsadm("-a -t 10.1.0.200:80 -r 10.2.0.77:80 -m");
    pair.ipvsadm("-A -t 10.1.0.201:80 -s rr");
    pair.ipvsadm("-a -t 10.1.0.201:80 -r 10.2.0.1:80 -m");
    let strangers = "-A -t 10.1.0.201:80 -s rr\n-a -t 10.1.0.201:80 -r 10.2.0.1:80 -m -w 1";
    let daemon = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    pair.expect(&daemon, "all is as configured", &format!("{BOTH}\n{strangers}"));
    assert!(daemon.stop().is_some_and(|status| status.success()));
    assert_eq!(pair.director.table(), lines(strangers));
}

#[test]
fn what_others_do_to_our_services_is_put_right_and_a_weight_by_hand_holds() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    pair.expect(&daemon, "both are in", BOTH);
    pair.ipvsadm("-C");
    pair.expect(&daemon, "the emptied table is filled", BOTH);
    pair.ipvsadm("-E -t 10.1.0.200:80 -s rr");
    pair.ipvsadm("-d -t 10.1.0.200:80 -r 10.2.0.1:80");
    pair.expect(&daemon, "an edit and a removal are undone", BOTH);
    pair.ipvsadm("-e -t 10.1.0.200:80 -r 10.2.0.2:80 -m -w 7");
    let log = || daemon.log();
    wait_until(SOON, "the hand is noticed", log, || log().contains("7 holds until"));
    let held = BOTH.replace("-w 2", "-w 7");
    assert_eq!(pair.director.table(), lines(&held));
    pair.servers[1].set(Mode::Error);
    pair.expect(
        &daemon,
        "it fails",
        "-A -t 10.1.0.200:80 -s wrr\n-a -t 10.1.0.200:80 -r 10.2.0.1:80 -m -w 1",
    );
    pair.servers[1].set(Mode::Well);
    pair.expect(&daemon, "it is back with its configured weight", BOTH);
}

#[test]
fn a_client_loses_nothing_over_reloads_of_every_kind() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    pair.expect(&daemon, "both are in", BOTH);
    let service: SocketAddr = "10.1.0.200:80".parse().unwrap();
    let client = pair.client.clone();
    let asking = std::thread::spawn(move || ask_often(&client, service, 300));
    let edits = [
        (CONFIGURATION.replace("masq 2", "masq 5"), BOTH.replace("-w 2", "-w 5")),
        (CONFIGURATION.replace("wrr", "wlc"), BOTH.replace("wrr", "wlc")),
        (
            CONFIGURATION.replace("\treal=10.2.0.1:80 masq 1\n", ""),
            BOTH.replace("-a -t 10.1.0.200:80 -r 10.2.0.1:80 -m -w 1\n", ""),
        ),
        (CONFIGURATION.to_owned(), BOTH.to_owned()),
    ];
    for (text, table) in edits {
        daemon.write(text.as_bytes());
        daemon.reload();
        let table: String =
            table.lines().filter(|l| !l.trim().is_empty()).map(|l| format!("{l}\n")).collect();
        pair.expect(&daemon, "the reload is in force", &table);
    }
    daemon.write(b"virtual=nonsense\n");
    daemon.reload();
    let log = || daemon.log();
    wait_until(SOON, "the broken file is refused", log, || log().contains("the running one stays, whole"));
    assert_eq!(pair.director.table(), lines(BOTH));
    let tally = asking.join().unwrap();
    assert!(tally.failures.is_empty(), "{tally}: {:?}", tally.failures);
}

#[test]
fn quiescent_servers_stay_with_weight_0_and_come_back() {
    let pair = Pair::new();
    let text = format!("quiescent=yes\nfailurecount=2\n{CONFIGURATION}");
    let daemon = Daemon::start(&pair.director, text.as_bytes());
    pair.expect(&daemon, "both are in", BOTH);
    pair.servers[0].set(Mode::Refuse);
    pair.expect(&daemon, "one is quiesced", &BOTH.replace("-w 1", "-w 0"));
    assert!(daemon.log().contains("failure 1/2"), "{}", daemon.log());
    pair.servers[1].set(Mode::Refuse);
    let all = format!(
        "{}\n-a -t 10.1.0.200:80 -r 127.0.0.1:80 -g -w 1",
        BOTH.replace("-w 1", "-w 0").replace("-w 2", "-w 0")
    );
    pair.expect(
        &daemon,
        "both are, and the fallback is in",
        &all.replace("127.0.0.1:80 -g -w 0", "127.0.0.1:80 -g -w 1"),
    );
    pair.servers.iter().for_each(|server| server.set(Mode::Well));
    pair.expect(&daemon, "both are back", BOTH);
}

#[test]
fn marks_udp_ipv6_persistence_flags_and_pings_reach_the_kernel_as_ipvsadm_would_set_them() {
    let director = Ns::new();
    director.ip("addr add 10.3.0.1/24 dev lo\naddr add fd00:3::1/64 dev lo nodad");
    let text = "\
checktimeout=2
checkinterval=1
virtual=7
\treal=127.0.0.2 gate 3
\tchecktype=ping
\tpersistent=300
\tnetmask=255.255.255.0
virtual=10.3.0.1:53
\treal=127.0.0.3:53 masq
\tprotocol=udp
\tchecktype=connect
\tops=yes
\tscheduler=rr
virtual=10.3.0.1:80
\treal=127.0.0.4->127.0.0.6:80 masq 2
\tchecktype=on
\tscheduler=sh
\tschedflags=sh-port,sh-fallback
virtual6=[fd00:3::1]:443
\treal6=[::1]:443 masq 4
\tchecktype=ping
\tscheduler=wlc
virtual=10.3.0.1:81
\treal=127.0.0.7:81 ipip
\tchecktype=off
\tquiescent=yes
virtual=10.3.0.1:82
\treal=127.0.0.8:82 masq 2
\tcheckcommand=/bin/true
\tchecktype=external
virtual=10.3.0.1:83
\treal=127.0.0.8:83 masq 2
\tcheckcommand=/bin/false
\tchecktype=external
\tfallback=127.0.0.9:83 masq
";
    let wanted = "-A -f 7 -s wrr -p 300 -M 255.255.255.0
        -a -f 7 -r 127.0.0.2:0 -g -w 3
        -A -u 10.3.0.1:53 -s rr -o
        -a -u 10.3.0.1:53 -r 127.0.0.3:53 -m -w 1
        -A -t 10.3.0.1:80 -s sh -b sh-fallback,sh-port
        -a -t 10.3.0.1:80 -r 127.0.0.4:80 -m -w 2
        -a -t 10.3.0.1:80 -r 127.0.0.5:80 -m -w 2
        -a -t 10.3.0.1:80 -r 127.0.0.6:80 -m -w 2
        -A -t [fd00:3::1]:443 -s wlc
        -a -t [fd00:3::1]:443 -r [::1]:443 -m -w 4
        -A -t 10.3.0.1:81 -s wrr
        -a -t 10.3.0.1:81 -r 127.0.0.7:81 -i -w 0 --tun-type ipip
        -A -t 10.3.0.1:82 -s wrr
        -a -t 10.3.0.1:82 -r 127.0.0.8:82 -m -w 2
        -A -t 10.3.0.1:83 -s wrr
        -a -t 10.3.0.1:83 -r 127.0.0.9:83 -m -w 1";
    let daemon = Daemon::start(&director, text.as_bytes());
    let state = || format!("table: {:#?}\nlog:\n{}", director.table(), daemon.log());
    wait_until(SOON, "the table is as ipvsadm would set it", state, || director.table() == lines(wanted));
}

#[test]
fn an_unknown_scheduler_is_named_with_its_cure_and_the_other_services_work() {
    let director = Ns::new();
    let text = "virtual=10.3.0.1:80\n\treal=127.0.0.2:80 masq\n\tchecktype=on\n\tscheduler=bogus\n\
        virtual=10.3.0.1:81\n\treal=127.0.0.2:81 masq\n\tchecktype=on\n";
    let daemon = Daemon::start(&director, text.as_bytes());
    let wanted = lines("-A -t 10.3.0.1:81 -s wrr\n-a -t 10.3.0.1:81 -r 127.0.0.2:81 -m -w 1");
    let state = || format!("table: {:#?}\nlog:\n{}", director.table(), daemon.log());
    wait_until(SOON, "the other service is there", state, || director.table() == wanted);
    let named = || {
        daemon.log().contains("knows no scheduler \"bogus\"") && daemon.log().contains("modprobe ip_vs_bogus")
    };
    wait_until(SOON, "the scheduler is named", state, named);
}

#[test]
fn a_dry_run_a_check_and_a_refused_configuration_leave_the_table_alone() {
    let pair = Pair::new();
    pair.ipvsadm("-A -t 10.1.0.200:80 -s rr");
    pair.ipvsadm("-a -t 10.1.0.200:80 -r 10.2.0.77:80 -m");
    let before = pair.director.table();
    let daemon = Daemon::start_with(&pair.director, CONFIGURATION.as_bytes(), &["--dry-run"]);
    let log = || daemon.log();
    wait_until(SOON, "it says what it would do", log, || {
        log().contains("would change service 10.1.0.200:80 (wrr)")
            && log().contains("would remove server 10.2.0.77:80 from 10.1.0.200:80")
            && log().contains("would add server 10.2.0.1:80 (masq, weight 1) to 10.1.0.200:80")
    });
    assert_eq!(pair.director.table(), before);
    let refused = Daemon::start(&pair.director, b"bogus=1\n");
    let said = || refused.log();
    wait_until(SOON, "it refuses the file", said, || said().contains("Unknown command"));
    assert_eq!(refused.wait().and_then(|status| status.code()), Some(2));
    assert_eq!(pair.director.table(), before);
}

#[test]
fn without_the_right_run_ends_with_a_status_of_its_own() {
    use std::os::unix::process::CommandExt;
    let folder = std::env::temp_dir().join(format!("lvsentry-right-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.cf");
    std::fs::write(&path, CONFIGURATION).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lvsentry"));
    let output = command.args(["run", "-c"]).arg(&path).uid(65534).gid(65534).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("needs CAP_NET_ADMIN"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_signal_to_end_ends_it_within_its_time_while_checks_hang() {
    let pair = Pair::new();
    let daemon = Daemon::start(&pair.director, CONFIGURATION.as_bytes());
    pair.expect(&daemon, "both are in", BOTH);
    pair.servers.iter().for_each(|server| server.set(Mode::Hang));
    std::thread::sleep(Duration::from_millis(1500));
    daemon.signal(Signal::SIGINT);
    let start = std::time::Instant::now();
    assert!(daemon.stop().is_some_and(|status| status.success()));
    assert!(start.elapsed() < Duration::from_secs(4), "it took {:?}", start.elapsed());
    assert_eq!(pair.director.table(), [""; 0]);
}

#[test]
fn parameters_that_matter_are_told_with_their_cure_and_set_where_the_file_says_so() {
    let director = Ns::new();
    let told = |daemon: &Daemon, line: &str| {
        wait_until(SOON, line, || daemon.log(), || daemon.log().contains(line));
    };
    let old = Daemon::start(&director, b"virtual=10.3.0.1:80\n\treal=127.0.0.2:80 masq\n\tchecktype=on\n");
    told(&old, "net.ipv4.vs.expire_nodest_conn is 0 (1 service)");
    told(&old, "cure: sysctl -w net.ipv4.vs.expire_nodest_conn=1");
    assert!(!old.log().contains("expire_quiescent_template"), "{}", old.log());
    drop(old);
    let text = "lvs: { sysctl: { expire_nodest_conn: 1, conn_reuse_mode: 77777777777777777777 } }\n\
        services:\n  - { listen: [\"10.3.0.1:80/tcp\"], forward: masq, check: none, servers: [\"127.0.0.2:80\"] }\n";
    let new = Daemon::start_yaml(&director, text.as_bytes());
    told(&new, "net.ipv4.vs.expire_nodest_conn is set to 1");
    told(&new, "cannot set net.ipv4.vs.conn_reuse_mode to 77777777777777777777");
    told(&new, "Added real server: 127.0.0.2:80");
    assert!(!new.log().contains("expire_nodest_conn is 0"), "{}", new.log());
    let value = director.enter(|| std::fs::read_to_string("/proc/sys/net/ipv4/vs/expire_nodest_conn"));
    assert_eq!(value.unwrap().trim(), "1");
    director.sysctl(&["vs.expire_nodest_conn=0"]);
    new.reload();
    wait_until(
        SOON,
        "a reload sets it again",
        || new.log(),
        || new.log().matches("net.ipv4.vs.expire_nodest_conn is set to 1").count() == 2,
    );
    let log = new.log();
    let (set, made) = (log.find("expire_nodest_conn is set to 1"), log.find("Added virtual server"));
    assert!(set < made, "before the table is touched:\n{log}");
}
