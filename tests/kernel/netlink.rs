//! `Netlink` on a real kernel; `ipvsadm` is the other program that looks.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use lvsentry::ipvs::error::{OpError, OpenError};
use lvsentry::ipvs::{Kernel, Memory, Netlink, Scope};
use lvsentry::model::{Family, Forward, Persistence, Protocol, ServiceKey, Settings, Weight};
use lvsentry::table::{Destination, Op, Table};

use crate::support::net::Ns;
use crate::support::skip;

fn settings(scheduler: &str) -> Settings {
    let scheduler = scheduler.into();
    Settings { scheduler, flags: 0, one_packet: false, persistence: None, engine: None }
}

fn key(protocol: Protocol, at: &str) -> ServiceKey {
    ServiceKey::Address(protocol, at.parse().unwrap())
}

fn server(forward: Forward, weight: u32) -> Destination {
    Destination::new(forward, Weight::new(weight).unwrap())
}

fn add(service: ServiceKey, at: &str, destination: Destination) -> Op {
    Op::NewDestination(service, at.parse().unwrap(), destination)
}

/// The kernel's table of a namespace; the socket stays there whatever thread uses it.
fn open(ns: &Ns) -> Netlink {
    ns.enter(|| Netlink::open().unwrap_or_else(|error| panic!("{error}")))
}

/// Carries out in the kernel what must succeed there.
fn must(kernel: &mut Netlink, ops: &[Op]) {
    for (op, done) in ops.iter().zip(kernel.apply(ops)) {
        done.unwrap_or_else(|error| panic!("{}", error.explain(op)));
    }
}

/// Services and destinations of every kind that we can write.
fn every_kind() -> Vec<Op> {
    let web = key(Protocol::Tcp, "192.0.2.10:80");
    let dns = key(Protocol::Udp, "[2001:db8::10]:53");
    let sctp = key(Protocol::Sctp, "192.0.2.10:5000");
    let mark = ServiceKey::Mark(Family::V4, 7);
    let mark6 = ServiceKey::Mark(Family::V6, 7);
    let for_an_hour = |netmask| Some(Persistence { seconds: 3600, netmask });
    vec![
        Op::NewService(web, settings("wrr")),
        Op::NewService(dns, Settings { one_packet: true, ..settings("rr") }),
        Op::NewService(sctp, Settings { flags: 0x10, ..settings("sh") }),
        Op::NewService(mark, Settings { persistence: for_an_hour(0xffff_ff00), ..settings("wlc") }),
        Op::NewService(mark6, Settings { persistence: for_an_hour(64), flags: 0x18, ..settings("mh") }),
        add(web, "10.0.0.1:80", server(Forward::Gate, 1)),
        add(web, "10.0.0.2:80", server(Forward::Ipip, 0)),
        add(web, "10.0.0.3:8080", server(Forward::Masq, 65536)),
        add(web, "10.0.0.4:80", server(Forward::Other(1, 0), 3)),
        add(web, "10.0.0.5:80", server(Forward::Other(2, 2), 3)),
        add(web, "[2001:db8::5]:80", server(Forward::Ipip, 2)),
        add(dns, "[2001:db8::1]:53", Destination { upper: 200, lower: 100, ..server(Forward::Gate, 2) }),
        add(mark, "10.0.0.1:0", server(Forward::Gate, 1)),
        add(mark6, "[2001:db8::1]:0", server(Forward::Masq, 1)),
    ]
}

fn as_in_memory(ops: &[Op]) -> Table {
    let mut memory = Memory::default();
    assert!(memory.apply(ops).iter().all(Result::is_ok));
    memory.table()
}

#[test]
fn what_is_written_reads_back_as_it_was() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let ops = every_kind();
    must(&mut kernel, &ops);
    assert_eq!(kernel.read(&Scope::All).unwrap(), as_in_memory(&ops));
}

#[test]
fn another_program_sees_what_we_wrote() {
    let ns = Ns::new();
    let (web, mark) = (key(Protocol::Tcp, "192.0.2.10:80"), ServiceKey::Mark(Family::V4, 7));
    let persistence = Some(Persistence { seconds: 600, netmask: 0xffff_0000 });
    let limited = Destination { upper: 20, lower: 10, ..server(Forward::Gate, 5) };
    let ops = [
        Op::NewService(web, Settings { flags: 0x10, ..settings("sh") }),
        add(web, "10.0.0.1:80", limited),
        add(web, "10.0.0.2:8080", server(Forward::Masq, 0)),
        Op::NewService(mark, Settings { persistence, ..settings("rr") }),
        add(mark, "10.0.0.1:0", server(Forward::Ipip, 1)),
    ];
    must(&mut open(&ns), &ops);
    let expected = [
        "-A -f 7 -s rr -p 600 -M 255.255.0.0",
        "-A -t 192.0.2.10:80 -s sh -b sh-port",
        "-a -f 7 -r 10.0.0.1:0 -i -w 1 --tun-type ipip",
        "-a -t 192.0.2.10:80 -r 10.0.0.1:80 -g -w 5",
        "-a -t 192.0.2.10:80 -r 10.0.0.2:8080 -m -w 0",
    ];
    assert_eq!(ns.table(), expected);
    let limits = ns.run("ipvsadm", &["-Ln", "--thresholds", "-t", "192.0.2.10:80"]);
    let limits: Vec<_> = limits.lines().filter(|line| line.contains("10.0.0.1:80")).collect();
    assert_eq!(limits[0].split_whitespace().collect::<Vec<_>>()[1..], ["10.0.0.1:80", "20", "10", "0", "0"]);
}

#[test]
fn changes_replace_all_that_is_not_key_and_removals_remove() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let mut ops = every_kind();
    let web = key(Protocol::Tcp, "192.0.2.10:80");
    let (one, three) = ("10.0.0.1:80".parse().unwrap(), "10.0.0.3:8080".parse().unwrap());
    let persistence = Some(Persistence { seconds: 60, netmask: u32::MAX });
    ops.extend([
        Op::SetService(web, Settings { persistence, flags: 0x8, ..settings("sh") }),
        Op::SetDestination(web, one, Destination { upper: 9, ..server(Forward::Ipip, 7) }),
        Op::DelDestination(web, three),
        Op::SetService(ServiceKey::Mark(Family::V4, 7), settings("lc")),
        Op::DelService(ServiceKey::Mark(Family::V6, 7)),
    ]);
    must(&mut kernel, &ops);
    assert_eq!(kernel.read(&Scope::All).unwrap(), as_in_memory(&ops));
}

#[test]
fn only_the_services_asked_for_are_read_and_one_that_is_not_there_is_left_out() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let ops = every_kind();
    must(&mut kernel, &ops);
    let (web, absent) = (key(Protocol::Tcp, "192.0.2.10:80"), key(Protocol::Tcp, "192.0.2.99:80"));
    let sctp = key(Protocol::Sctp, "192.0.2.10:5000"); // has no destinations
    let read = kernel.read(&Scope::Only(BTreeSet::from([web, absent, sctp]))).unwrap();
    let mut expected = as_in_memory(&ops);
    expected.services.retain(|key, _| [web, sctp].contains(key));
    assert_eq!(read, expected);
}

#[test]
fn each_namespace_has_its_own_table() {
    let (here, there) = (Ns::new(), Ns::new());
    let (mut kernel, mut other) = (open(&here), open(&there));
    must(&mut kernel, &every_kind());
    assert_eq!(other.read(&Scope::All).unwrap(), Table::default());
}

#[test]
fn tunnels_and_methods_of_other_programs_read_as_such() {
    let ns = Ns::new();
    let web = "192.0.2.10:80";
    ns.run("ipvsadm", &["-A", "-t", web, "-s", "rr"]);
    let gue = ["-a", "-t", web, "-r", "10.0.0.1", "-i", "--tun-type", "gue", "--tun-port", "6080"];
    ns.run("ipvsadm", &gue);
    ns.run("ipvsadm", &["-a", "-t", web, "-r", "10.0.0.2", "-i", "--tun-type", "gre"]);
    ns.run("ipvsadm", &["-a", "-t", web, "-r", "10.0.0.3", "-i"]);
    let table = open(&ns).read(&Scope::All).unwrap();
    let forwards: Vec<_> =
        table.services[&key(Protocol::Tcp, web)].destinations.values().map(|d| d.forward).collect();
    assert_eq!(forwards, [Forward::Other(2, 1), Forward::Other(2, 2), Forward::Ipip]);
}

#[test]
fn every_error_that_can_be_provoked_has_its_meaning() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let (web, absent) = (key(Protocol::Tcp, "192.0.2.10:80"), key(Protocol::Tcp, "192.0.2.99:80"));
    let (one, two) = ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
    let gate = || server(Forward::Gate, 1);
    must(&mut kernel, &[Op::NewService(web, settings("rr")), add(web, "10.0.0.1:80", gate())]);
    let unknown = || OpError::NoScheduler { name: "wlx".into(), engine: None };
    let v6_mask = Settings { persistence: Some(Persistence { seconds: 9, netmask: 129 }), ..settings("rr") };
    let cases = [
        (Op::NewService(web, settings("rr")), OpError::Exists),
        (Op::NewService(absent, settings("wlx")), unknown()),
        (Op::NewService(absent, settings("a_name_much_too_long")), OpError::Invalid(0)),
        (Op::NewService(key(Protocol::Tcp, "[2001:db8::1]:80"), v6_mask), OpError::Invalid(22)),
        (Op::SetService(web, settings("wlx")), unknown()),
        (Op::SetService(absent, settings("rr")), OpError::NoService),
        (Op::DelService(absent), OpError::NoService),
        (Op::NewDestination(web, one, gate()), OpError::Exists),
        (Op::NewDestination(absent, one, gate()), OpError::NoService),
        (Op::SetDestination(web, two, gate()), OpError::Missing),
        (Op::SetDestination(absent, one, gate()), OpError::NoService),
        (Op::DelDestination(web, two), OpError::Missing),
        (Op::DelDestination(absent, one), OpError::NoService),
        (add(web, "224.0.0.1:80", gate()), OpError::Invalid(22)),
        (add(web, "[2001:db8::1]:80", gate()), OpError::Invalid(22)),
        (add(web, "10.0.0.9:80", Destination { upper: 1, lower: 2, ..gate() }), OpError::Invalid(34)),
        (add(web, "10.0.0.9:80", server(Forward::Other(2, 1), 1)), OpError::Invalid(22)), // gue without a port
    ];
    let ops: Vec<_> = cases.iter().map(|(op, _)| op.clone()).collect();
    for ((op, expected), answer) in cases.iter().zip(kernel.apply(&ops)) {
        assert_eq!(answer.as_ref(), Err(expected), "{op}");
    }
    let before = as_in_memory(&[Op::NewService(web, settings("rr")), add(web, "10.0.0.1:80", gate())]);
    assert_eq!(kernel.read(&Scope::All).unwrap(), before, "nothing of it was carried out");
}

#[test]
fn a_namespace_without_an_ipv4_address_is_named_as_the_cause() {
    let ns = Ns::bare();
    let mut kernel = open(&ns);
    let web = key(Protocol::Tcp, "192.0.2.10:80");
    must(&mut kernel, &[Op::NewService(web, settings("rr"))]);
    let op = add(web, "10.0.0.1:80", server(Forward::Gate, 1));
    let answer = kernel.apply(std::slice::from_ref(&op)).remove(0).unwrap_err();
    assert!(answer.explain(&op).contains("ip link set lo up"), "{}", answer.explain(&op));
    ns.ip("link set lo up");
    must(&mut kernel, &[op]);
}

#[test]
fn an_error_in_the_middle_of_a_batch_stops_nothing() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let web = key(Protocol::Tcp, "192.0.2.10:80");
    let mut ops = vec![Op::NewService(web, settings("rr"))];
    ops.extend((1..=200).map(|i| add(web, &format!("10.0.0.{i}:80"), server(Forward::Gate, 1))));
    ops.insert(100, ops[50].clone());
    ops.insert(150, Op::DelDestination(web, "10.9.9.9:80".parse().unwrap()));
    let answers = kernel.apply(&ops);
    assert_eq!(answers[100], Err(OpError::Exists));
    assert_eq!(answers[150], Err(OpError::Missing));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 201);
    let mut refused = vec![Err(OpError::Exists); ops.len()];
    refused[150] = Err(OpError::Missing);
    assert_eq!(kernel.apply(&ops), refused, "as many errors as operations");
    assert_eq!(kernel.read(&Scope::All).unwrap().services[&web].destinations.len(), 200);
}

#[test]
fn a_thousand_services_of_ten_servers_are_written_and_read_whole() {
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let mut ops = Vec::new();
    for i in 0..1000u32 {
        let service = key(Protocol::Tcp, &format!("10.{}.{}.1:80", 100 + i / 250, i % 250));
        ops.push(Op::NewService(service, settings("wlc")));
        let servers = (1..=10).map(|n| format!("10.{}.{}.{n}:80", 1 + i / 250, i % 250));
        ops.extend(servers.map(|at| add(service, &at, server(Forward::Masq, i % 7))));
    }
    let start = Instant::now();
    must(&mut kernel, &ops);
    let written = start.elapsed();
    let table = kernel.read(&Scope::All).unwrap();
    let read = start.elapsed() - written;
    eprintln!("11,000 operations in {written:?}, 1,000 services of 10 read in {read:?}");
    assert_eq!(table, as_in_memory(&ops));
    // One service with more destinations than a datagram holds.
    let big = key(Protocol::Tcp, "10.200.0.1:80");
    let mut ops = vec![Op::NewService(big, settings("rr"))];
    ops.extend(
        (0..1000)
            .map(|i| add(big, &format!("10.201.{}.{}:80", i / 250, i % 250 + 1), server(Forward::Gate, 1))),
    );
    must(&mut kernel, &ops);
    let read = kernel.read(&Scope::Only([big].into())).unwrap();
    assert_eq!(read, as_in_memory(&ops));
}

#[test]
fn without_the_right_opening_says_which_one_is_missing() {
    // Root of a user namespace of its own has every capability there, and none that counts.
    const INSIDE: &str = "LVSENTRY_TEST_IN_USER_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        assert_eq!(Netlink::open().err(), Some(OpenError::NoRight));
        return;
    }
    let test = "kernel::netlink::without_the_right_opening_says_which_one_is_missing";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_module_that_is_removed_and_loaded_again_is_found_again() {
    // Unloading a host's module is not a test's business.
    let lab = std::fs::read_to_string("/proc/cmdline").unwrap().contains("rootfstype=hostfs");
    if !lab {
        return skip("only the lab's kernel may lose its module");
    }
    let ns = Ns::new();
    let mut kernel = open(&ns);
    let web = key(Protocol::Tcp, "192.0.2.10:80");
    let ops = [Op::NewService(web, settings("rr")), add(web, "10.0.0.1:80", server(Forward::Gate, 1))];
    unload();
    must(&mut kernel, &ops);
    assert_eq!(kernel.read(&Scope::All).unwrap(), as_in_memory(&ops));
    must(&mut kernel, &[Op::DelService(web)]);
    unload();
    assert_eq!(kernel.read(&Scope::All).unwrap(), Table::default());
}

/// Removes `ip_vs` and all that uses it.
fn unload() {
    let modules = std::fs::read_to_string("/proc/modules").unwrap();
    let users: Vec<_> = modules
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| name.starts_with("ip_vs_"))
        .collect();
    for module in users.into_iter().chain(["ip_vs"]) {
        let done = Command::new("rmmod").arg(module).status().unwrap();
        assert!(done.success(), "rmmod {module}");
    }
}
