//! What tests on a real kernel need: network namespaces joined by switches, servers that can fail
//! in every way, a client that counts who answered, the daemon as a child, and another program's
//! view of the table.
// The tests and the demonstration each use a part of it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

pub mod client;
pub mod daemon;
pub mod datagrams; // a server over UDP
pub mod dialogue; // a dialogue in lines, and every way it can go wrong
pub mod hook; // takes webhooks
pub mod http;
pub mod log; // catches log lines
pub mod mail; // takes mail
pub mod net;
pub mod plan; // services and servers by number
pub mod probe; // asks a kind of check
pub mod room; // a private view of the file system, with lvsentry as ldirectord
pub mod server; // a server that follows a script
pub mod tls; // certificates made here
pub mod turns; // a server that changes to TLS
pub mod world; // a real server

use std::fs::OpenOptions;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

/// Looks again and again until `is_so` holds; after `limit` fails with what was waited for and what
/// `state` says.
#[track_caller]
pub fn wait_until(
    limit: Duration,
    what: &str,
    state: impl Fn() -> String,
    is_so: impl Fn() -> bool,
) -> Duration {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > limit {
            panic!("waited {} s in vain until {what}\n{}", limit.as_secs_f64(), state());
        }
        thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// Says that the calling test cannot run here: aloud, and to `tests/run`, which counts it as
/// skipped. The test returns after it.
pub fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("LVSENTRY_TEST_SKIPS") {
        let mut list = OpenOptions::new().append(true).create(true).open(path).expect("the list of skips");
        writeln!(list, "{test}: {why}").expect("the list of skips");
    }
}
