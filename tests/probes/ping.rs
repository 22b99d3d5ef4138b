//! `ping`. Needs CAP_NET_RAW, and says so when it has not got it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use lvsentry::outcome::Reason;
use lvsentry::probe::{Tools, ask};

use crate::support::probe::{Answer, LONG, make, probe, target};
use crate::support::skip;

/// Whether pings are allowed here.
fn allowed(answer: &Answer) -> bool {
    match answer {
        Err(failure) if failure.reason == Reason::Local => {
            assert!(failure.detail.contains("CAP_NET_RAW"), "{failure}");
            skip(&failure.to_string());
            false
        }
        _ => true,
    }
}

async fn ping(tools: &Tools, to: IpAddr) -> Answer {
    ask(&*probe("ping", &target(SocketAddr::new(to, 80)), &[]), LONG, tools).await.into_result()
}

#[tokio::test]
async fn loopback_answers_in_both_families() {
    let tools = Tools::new();
    for to in ["127.0.0.1", "127.1.2.3", "::1"] {
        let answer = ping(&tools, to.parse().unwrap()).await;
        if !allowed(&answer) {
            return;
        }
        assert_eq!(answer.unwrap(), "echo reply", "{to}");
    }
}

#[tokio::test]
async fn five_hundred_are_in_flight_on_one_socket() {
    let tools = Tools::new();
    if !allowed(&ping(&tools, Ipv4Addr::LOCALHOST.into()).await) {
        return;
    }
    let sockets = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = sockets();
    let mut asking = tokio::task::JoinSet::new();
    for i in 0..500_u16 {
        let tools = tools.clone();
        let to = Ipv4Addr::new(127, 3, (i / 250) as u8, (i % 250) as u8 + 1);
        asking.spawn(async move { ping(&tools, to.into()).await });
    }
    // Each has sent its request when this goes on.
    tokio::task::yield_now().await;
    let after = sockets();
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), "echo reply");
    }
    // Other tests open and close a few meanwhile.
    assert!(after < before + 200, "{before} descriptors before, {after} after");
}

/// Runs `test` in a network namespace of its own, where `ip` has carried out `setup`.
fn apart(setup: &[&str], test: impl AsyncFnOnce() + Send + 'static) {
    let setup: Vec<String> = setup.iter().map(|line| line.to_string()).collect();
    // It carries the test's name, by which what is skipped is told.
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            return skip(&format!("no network namespace: {error}"));
        }
        for line in &setup {
            match std::process::Command::new("ip").args(line.split(' ')).status() {
                Ok(status) if status.success() => {}
                other => return skip(&format!("ip {line}: {other:?}")),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn an_address_without_a_route_is_unreachable() {
    apart(&[], async || {
        let answer = ping(&Tools::new(), "192.0.2.1".parse().unwrap()).await;
        if allowed(&answer) {
            assert_eq!(
                answer.unwrap_err().to_string(),
                "connect-unreachable: 192.0.2.1: network is unreachable"
            );
        }
    });
}

#[test]
fn a_silent_address_is_asked_as_often_as_configured() {
    apart(&["link set lo up"], async || {
        // This kernel setting is the namespace's own.
        if let Err(error) = std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1") {
            return skip(&format!("loopback can not be silenced: {error}"));
        }
        let silent = target("127.0.0.1:0".parse().unwrap());
        let probe = probe("ping", &silent, &[("checkcount", "3")]);
        let outcome = ask(&*probe, Duration::from_millis(100), &Tools::new()).await;
        if allowed(&outcome.result) {
            let failure = outcome.clone().into_result().unwrap_err();
            assert_eq!(failure.to_string(), "receive-timeout: no complete answer within 0.3 s");
            assert!(outcome.took >= Duration::from_millis(300), "{:?}", outcome.took);
            // Kernel statistics: three requests went out.
            let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let mut icmp = snmp.lines().filter(|line| line.starts_with("IcmpMsg:"));
            let names = icmp.next().unwrap().split(' ');
            let values = icmp.next().unwrap().split(' ');
            let sent = names.zip(values).find(|(name, _)| *name == "OutType8").unwrap().1;
            assert_eq!(sent, "3");
        }
    });
}

#[test]
fn a_count_must_be_a_positive_number() {
    let target = target("127.0.0.1:0".parse().unwrap());
    for count in ["0", "", "x", "-1", "99999999999"] {
        let fault = make("ping", &target, &[("checkcount", count)]).unwrap_err();
        assert_eq!(fault.message, "invalid check count", "{count:?}");
    }
    assert_eq!(probe("ping", &target, &[("checkcount", "3")]).attempts(), 3);
}
