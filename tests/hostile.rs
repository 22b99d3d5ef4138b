//! Every kind of check that talks over a network, against servers that answer random and spoilt
//! bytes: changed in a few places, cut, repeated, nested, without end, byte by byte, closed, reset, or
//! none at all.
//!
//! `LVSENTRY_HOSTILE=100000 cargo test hostile` carries out so many exchanges instead of some thousand.
//! `LVSENTRY_HOSTILE_SEED` decides what they are; with `LVSENTRY_HOSTILE_ONLY` there is only this one.
#![allow(unreachable_pub)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lvsentry::probe::KINDS;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::support::skip;
use plan::{Ill, Plan, Shake, Then};
use run::Run;

mod binary;
mod cases;
mod datagrams;
mod dice;
mod memory;
mod ping;
mod plan;
mod run;
mod server;

/// Tells the test that it is the process of its own that it has started.
const APART: &str = "LVSENTRY_HOSTILE_APART";
/// What may be held after the exchanges that was not before, in bytes: buffers that have grown.
const LEFT: isize = 128 << 10;
/// What one exchange may hold at a time: what is read at most (1 MiB), in a buffer that doubles as it
/// grows, and copied once to be matched; and the server's side.
const HELD: isize = 6 << 20;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is to be a number")))
}

#[test]
fn every_kind_that_talks_has_a_case() {
    let cases = cases::CASES.iter().map(|case| case.kind);
    let known: BTreeSet<_> = cases.chain(cases::SILENT.iter().copied()).chain(["ping"]).collect();
    assert_eq!(known, KINDS.iter().map(|kind| kind.name).collect());
}

/// In a process of its own: what other tests hold, and their tasks, would be counted too.
#[test]
fn hostile_servers_cause_no_panic_no_delay_and_no_growth() {
    if std::env::var_os(APART).is_some() {
        return exchanges();
    }
    let name = "hostile::hostile_servers_cause_no_panic_no_delay_and_no_growth";
    let test = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(APART, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&test.stdout);
    let why = String::from_utf8_lossy(&test.stderr);
    assert!(test.status.success() && said.contains("1 passed"), "{said}\n{why}");
    println!("{why}");
}

#[test]
fn no_forged_echo_reply_is_good() {
    let (count, seed) = wanted();
    let rounds = (count / 1_000) as usize;
    // The namespace that it makes is this thread's.
    match std::thread::spawn(move || ping::pings(rounds, seed)).join().unwrap() {
        Ok(forged) => assert!(forged > rounds * 100, "{forged} forgeries were sent, seed {seed}"),
        Err(why) => skip(&why),
    }
}

/// How many exchanges, and the seed of them: the same each time, or in a long run another.
fn wanted() -> (u64, u64) {
    let count = number("LVSENTRY_HOSTILE");
    let fixed = number("LVSENTRY_HOSTILE_SEED").or(count.is_none().then_some(1));
    let seed = fixed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    (count.unwrap_or(2_000), seed)
}

fn exchanges() {
    let (count, seed) = wanted();
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (checks, theirs) = (runtime(), runtime());
    let servers = theirs.handle().clone();
    // To the end of this process.
    std::thread::spawn(move || theirs.block_on(std::future::pending::<()>()));
    let run = Arc::new(Run::new(seed, servers.clone()));
    let all = |numbers| checks.block_on(run.all(numbers)).unwrap_or_else(|wrong| panic!("{wrong}"));
    if let Some(only) = number("LVSENTRY_HOSTILE_ONLY") {
        return all(only..only + 1);
    }
    // What is made once, and as many threads and buffers as it takes.
    honest(&checks, &run);
    all(count..count + count / 10);
    let before = settled(&checks, &servers, isize::MAX);
    memory::forget_peak();
    let start = Instant::now();
    all(0..count);
    let (took, peak) = (start.elapsed(), memory::peak() - before);
    let after = settled(&checks, &servers, before + LEFT);
    eprintln!("seed {seed}: {count} exchanges in {took:.1?}, {peak} bytes at most, {} left", after - before);
    assert!(after < before + LEFT, "{} bytes are left of {count} exchanges, seed {seed}", after - before);
    greedy(&checks, &servers, &run);
}

/// The servers' answers are good ones before they are spoilt.
fn honest(checks: &Runtime, run: &Arc<Run>) {
    for number in 0..cases::CASES.len() as u64 {
        checks.block_on(run.honest(number)).unwrap();
    }
}

/// What is held when all that the exchanges began has ended; waits until it is no more than `enough`.
fn settled(checks: &Runtime, servers: &Handle, enough: isize) -> isize {
    let tasks = || checks.metrics().num_alive_tasks() + servers.metrics().num_alive_tasks();
    let start = Instant::now();
    let waited = |limit: u64| start.elapsed() > Duration::from_secs(limit);
    while (tasks() > 0 && !waited(30)) || (memory::live() > enough && !waited(5)) {
        // The runtime of the checks only goes on in here.
        checks.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
    assert_eq!(tasks(), 0, "tasks are left, and {} bytes", memory::live());
    memory::live()
}

/// One at a time: what the greediest servers make a check hold.
fn greedy(checks: &Runtime, servers: &Handle, run: &Arc<Run>) {
    let mut wrong = Vec::new();
    for (place, case) in cases::CASES.iter().enumerate() {
        for round in 0..4 {
            let dice = dice::Dice::new(run.seed, 1_000_000 + round);
            let turn = case.judged.saturating_sub(1 + round as usize % 2);
            let plan = Plan {
                turn,
                ill: Ill::Endless,
                then: Then::Close,
                shake: Shake::Well,
                dice,
                ..Plan::honest()
            };
            let before = settled(checks, servers, isize::MAX);
            memory::forget_peak();
            let asked = run.exchange(place as u64, case, &plan, Duration::from_secs(20));
            let outcome = checks.block_on(asked).unwrap();
            let held = memory::peak() - before;
            if held > HELD {
                wrong.push(format!("{} {:?}: {held} bytes, {outcome}, {plan:?}", case.kind, case.options));
            }
        }
    }
    assert!(wrong.is_empty(), "too much is held:\n{}", wrong.join("\n"));
}
