#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod around;
mod bad;
mod checks;
pub(crate) mod fake;
mod good;
mod grammar;
mod properties;
mod rules;
mod syntax;

use std::net::SocketAddr;

use lvsentry::config::diagnostic::Report;
use lvsentry::config::{Config, Loaded, load_with};
use lvsentry::model::Service;
use lvsentry::span::Source;

use crate::support::probe::said;
use fake::FakeNames;

fn load(text: impl AsRef<[u8]>) -> Result<Loaded, Report> {
    load_with(Source::new("test.cf", text.as_ref()), &FakeNames::default(), fake::kind)
}

/// The configuration of a text that must be accepted.
fn accept(text: impl AsRef<[u8]>) -> Config {
    load(text).unwrap_or_else(|report| panic!("{report}")).config
}

/// The only service of a text that must be accepted.
fn service(text: impl AsRef<[u8]>) -> Service {
    let mut services = accept(text).plan.services.into_values();
    let service = services.next().expect("a service");
    assert!(services.next().is_none(), "one service only");
    Service::clone(&service)
}

/// What is said of a text, accepted or not, one line a fault: `error 2:5 message`. Without the advice to
/// set `quiescent`, which every short text would get.
fn faults(text: impl AsRef<[u8]>) -> Vec<String> {
    let report = match load(text) {
        Ok(loaded) => loaded.report,
        Err(report) => report,
    };
    let line = |fault: &lvsentry::span::Fault| {
        let (line, column) = fault.span.as_ref().map_or((0, 0), |span| report.source.position(span.start));
        let severity = format!("{:?}", fault.severity).to_lowercase().replace("advice", "warning");
        format!("{severity} {line}:{column} {}", fault.message)
    };
    let told = report.faults.iter().filter(|fault| !fault.message.starts_with("`quiescent` is not set"));
    told.map(line).collect()
}

/// A virtual with one server and these options.
fn with(options: &str) -> String {
    let indented: String = options.lines().map(|line| format!("    {line}\n")).collect();
    format!("virtual=192.0.2.1:80\n    real=10.0.0.1:80 masq\n{indented}\n")
}

/// What the checks of a text are made from, in order.
fn asked(text: &str) -> Vec<String> {
    let config = accept(text);
    let mut all: Vec<_> = config.inquiries.iter().map(|(key, one)| (said(&config, key), one)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let kind = |text: &str| text.split(' ').next().unwrap().to_owned();
    all.iter().map(|(text, one)| format!("{} {}", kind(text), one.probe.identity())).collect()
}

/// Timeout and interval of the only check of a text, in seconds.
fn times(text: &str) -> (u64, u64) {
    let config = accept(text);
    assert_eq!(config.inquiries.len(), 1);
    let inquiry = config.inquiries.values().next().unwrap();
    (inquiry.timeout.as_secs(), inquiry.interval.as_secs())
}

/// Entry, weight and thresholds of each server.
fn servers(text: &str) -> Vec<(String, u32, u32, u32)> {
    let servers = service(text).servers.into_iter();
    servers.map(|s| (s.entry.to_string(), s.weight.get(), s.lower, s.upper)).collect()
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}
