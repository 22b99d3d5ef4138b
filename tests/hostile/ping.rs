//! Forged echo replies. The servers' kernel is told not to answer, so that there is no true one.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use lvsentry::probe::{Tools, ask};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::dice::Dice;
use crate::support::probe::{probe, target};

/// The deadline of a ping; those that are forged come at once.
const LIMIT: Duration = Duration::from_millis(60);
/// Pings at once.
const AT_ONCE: u8 = 100;

/// Pings that hear nothing but forgeries; none may be good. Says how many replies were forged, or why
/// that can not be done here.
pub fn pings(rounds: usize, seed: u64) -> Result<usize, String> {
    let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("no network namespace: {error}"))?;
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    up.map_err(told("ip"))?;
    std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1").map_err(told("silence"))?;
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map_err(told("raw socket"))?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // Sees the requests as they come in, and ends when none has for a while.
    let forger = thread::spawn(move || forge(socket, Dice::new(seed, 0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tools = Tools::new();
        for _ in 0..rounds {
            let mut asking = tokio::task::JoinSet::new();
            for host in 1..=AT_ONCE {
                let tools = tools.clone();
                let to = target(SocketAddr::from((Ipv4Addr::new(127, 78, 0, host), 0)));
                asking.spawn(async move { ask(&*probe("ping", &to, &[]), LIMIT, &tools).await });
            }
            while let Some(outcome) = asking.join_next().await {
                let outcome = outcome.unwrap();
                let code = outcome.clone().into_result().map_err(|failure| failure.code());
                assert_eq!(code, Err("receive-timeout".to_owned()), "seed {seed}");
                assert!(outcome.took < LIMIT + Duration::from_secs(10), "took {:?}", outcome.took);
            }
        }
    });
    Ok(forger.join().unwrap())
}

/// Answers each echo request with replies that are almost right.
fn forge(mut socket: Socket, mut dice: Dice) -> usize {
    let mut count = 0;
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.read(&mut buffer) {
        let heard = &buffer[..length];
        let header = usize::from(heard[0] & 0x0f) * 4;
        let (ip, icmp) = heard.split_at(header);
        if icmp.first() != Some(&8) {
            continue;
        }
        for _ in 0..3 {
            let reply = almost(&mut dice, icmp);
            // The server's own address is where the request went.
            let own = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
            let from = if dice.percent(90) { own } else { Ipv4Addr::LOCALHOST };
            let sender = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
            sender.bind(&SockAddr::from(SocketAddr::from((from, 0)))).unwrap();
            let to = SocketAddr::from((Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]), 0));
            // Too long a one is not sent.
            count += usize::from(sender.send_to(&reply, &to.into()).is_ok());
        }
    }
    count
}

/// A reply to the request that is not the one that is waited for.
fn almost(dice: &mut Dice, request: &[u8]) -> Vec<u8> {
    let mut right = request.to_vec();
    right[0] = 0;
    loop {
        let mut reply = if dice.percent(10) { dice.garbage() } else { right.clone() };
        dice.mutate(&mut reply);
        reply.truncate(1_500);
        // The checksum is for the kernel to look at, and it does not.
        let same = |part: std::ops::Range<usize>| reply.get(part.clone()) == right.get(part);
        if reply.len() != right.len() || !same(0..2) || !same(4..right.len()) {
            return reply;
        }
    }
}
