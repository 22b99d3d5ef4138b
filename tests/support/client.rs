//! A client that asks through a virtual service, with a fresh connection each time, and counts who
//! answered.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::net::Ns;

/// How long one request may take: room for a few lost packets on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who answered how often, and what went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by the server's name.
    pub answers: BTreeMap<String, usize>,
    /// The failed requests, each in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts one request.
    pub fn count(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(name) => *self.answers.entry(name).or_default() += 1,
            Err(why) => self.failures.push(why),
        }
    }

    /// How often that server answered.
    pub fn of(&self, name: &str) -> usize {
        self.answers.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.answers {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "failed {}", self.failures.len())
    }
}

/// Asks once, from the namespace of the calling thread: the first word of a good answer's body.
pub fn ask(service: SocketAddr, limit: Duration) -> Result<String, String> {
    let body = exchange(service, limit).map_err(|error| error.to_string())?;
    match body.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => {
            Ok(body.split(' ').next().unwrap_or_default().to_owned())
        }
        _ => Err(format!("answered {:?}", body.lines().next().unwrap_or_default())),
    }
}

fn exchange(service: SocketAddr, limit: Duration) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&service, limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks so many times, one after the other, from that namespace.
pub fn ask_often(ns: &Ns, service: SocketAddr, times: usize) -> Tally {
    ns.enter(|| {
        let mut tally = Tally::default();
        for _ in 0..times {
            tally.count(ask(service, PATIENCE));
        }
        tally
    })
}
