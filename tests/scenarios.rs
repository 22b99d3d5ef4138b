//! Histories as text: a configuration, what the kernel holds, what happens, and what follows.
//!
//! A file in `scenarios/` has sections `== config [NAME]` (ldirectord.cf, or YAML with `services:`), `== kernel` (what stands there at
//! the start: a service a line, `persistent SECONDS` at its end, its servers indented) and `== history`. In the history each line is a
//! time in seconds, what happens, and below it, indented, what follows: `>` operations in order, `!` notices.
//!
//! | line | what happens |
//! |---|---|
//! | `start` | the daemon comes to the kernel |
//! | `start maintenance SERVER…` | the same, with files that take these servers out |
//! | `good SERVER [of SERVICE]`, `bad …` | the server's probes give this result |
//! | `bad SERVER ill CODE` | the same, with evidence of this illness of ours (`no-carrier` …) |
//! | `hand SERVICE SERVER WEIGHT` | somebody sets a weight with ipvsadm |
//! | `remove SERVICE SERVER` | somebody removes a server with ipvsadm |
//! | `flush` | somebody empties the table |
//! | `idle SERVICE SERVER…` | these servers have no connections left |
//! | `refuse N` | the kernel refuses the next N operations |
//! | `maintenance [SERVER…]` | files take these servers out, and no others |
//! | `order DEED SERVER [of SERVICE] [for SECONDS] [deadline SECONDS]` | an operator orders `drain`, `disable` or `weight=N` |
//! | `lift DEED SERVER [of SERVICE]` | he takes it back |
//! | `idle SERVICE SERVER…` | these have weight 0 and no connections left |
//! | `reload NAME` | that configuration comes into force |
//! | `tick` | only time passes |
//!
//! A result is asked for a millisecond before its line's time. `UPDATE=1 cargo test` writes what follows anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lvsentry::config::{self, Config};
use lvsentry::director::Director;
use lvsentry::director::event::Event;
use lvsentry::director::order::{Deed, Order, Whom};
use lvsentry::model::{Forward, Moment, Persistence, Plan, Protocol, ServiceKey, Settings, Watch, Weight};
use lvsentry::outcome::{Failure, Illness, Outcome, Phase, Reason};
use lvsentry::span::Source;
use lvsentry::table::{Destination, Entry, Table, diff};

#[test]
fn every_scenario_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    assert!(paths.len() >= 10, "only {} scenarios found", paths.len());
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play(&text);
        if played != text {
            if update {
                std::fs::write(&path, &played).unwrap();
            }
            wrong.push(format!("{}:\n{}", path.display(), difference(&text, &played)));
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first lines that differ.
fn difference(want: &str, got: &str) -> String {
    let (mut want_lines, mut got_lines) = (want.lines(), got.lines());
    for n in 1.. {
        match (want_lines.next(), got_lines.next()) {
            (None, None) => break,
            (want, got) if want == got => {}
            (want, got) => {
                return format!(
                    "line {n}\n  is written: {}\n  came: {}",
                    want.unwrap_or("(end)"),
                    got.unwrap_or("(end)")
                );
            }
        }
    }
    "they differ in line ends".into()
}

/// The file as it should read: everything that is given, and below each event what follows.
fn play(text: &str) -> String {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    let mut out = String::new();
    let mut stage = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            name = title.to_owned();
            writeln!(out, "{line}").unwrap();
        } else if name != "history" {
            writeln!(sections.entry(name.clone()).or_default(), "{line}").unwrap();
            writeln!(out, "{line}").unwrap();
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(out, "{line}").unwrap();
        } else if !line.starts_with(' ') {
            writeln!(out, "{line}").unwrap();
            let stage = stage.get_or_insert_with(|| Stage::new(&sections));
            stage.event(line, &sections, &mut out);
        }
    }
    out
}

struct Stage {
    director: Option<Director>,
    plan: Plan,
    kernel: Table,
    ours: BTreeSet<ServiceKey>,
    refuse: usize,
}

impl Stage {
    fn new(sections: &BTreeMap<String, String>) -> Stage {
        let kernel = sections.get("kernel").map(|text| kernel(text)).unwrap_or_default();
        let plan = load(&sections["config"]).plan;
        let ours = plan.services.keys().copied().collect();
        Stage { director: None, plan, kernel, ours, refuse: 0 }
    }

    fn event(&mut self, line: &str, sections: &BTreeMap<String, String>, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = Moment(Duration::from_secs_f64(words[0].parse().unwrap()));
        let mut inputs = Vec::new();
        match words[1..] {
            ["start"] => self.director = Some(Director::new(self.plan.clone(), &self.kernel, now)),
            ["good", server] => inputs = self.answers(server, None, &well()),
            ["good", server, "of", service] => inputs = self.answers(server, Some(service), &well()),
            ["bad", server] => inputs = self.answers(server, None, &bad()),
            ["bad", server, "of", service] => inputs = self.answers(server, Some(service), &bad()),
            ["bad", server, "ill", code] => inputs = self.answers(server, None, &ill(code)),
            ["hand", service, server, weight] => {
                let (key, at) = (self.service(service), server.parse().unwrap());
                let weight = Weight::new(weight.parse().unwrap()).unwrap();
                self.kernel.entry_mut(&key).unwrap().destinations.get_mut(&at).unwrap().weight = weight;
                inputs.push(Event::SetByHand(key, at, weight));
            }
            ["start", "maintenance", ..] => {
                self.director = Some(Director::new(self.plan.clone(), &self.kernel, now));
                inputs.push(held(&words[3..]));
            }
            ["remove", service, server] => {
                let (key, at) = (self.service(service), server.parse().unwrap());
                self.kernel.entry_mut(&key).unwrap().destinations.remove(&at).expect("it stands");
            }
            ["flush"] => self.kernel = Table::default(),
            ["refuse", n] => self.refuse = n.parse().unwrap(),
            ["maintenance", ..] => inputs.push(held(&words[2..])),
            ["reload", name] => {
                self.plan = load(&sections[&format!("config {name}")]).plan;
                inputs.push(Event::Reloaded(self.plan.clone()));
                for key in self.plan.services.keys().filter(|key| !self.ours.contains(key)) {
                    let stands = self.kernel.services.get(key);
                    inputs.extend(stands.map(|entry| Event::Found(*key, entry.clone())));
                }
                self.ours.extend(self.plan.services.keys());
            }
            ["order", deed, server, ..] => inputs.push(self.order(deed, server, &words[4..], now)),
            ["lift", deed, server, ..] => {
                let order = Order { whom: self.whom(server, &words[4..]), ..order(deed) };
                inputs.push(Event::Lifted(order.whom, vec![order.deed.sort()]));
            }
            ["idle", service, ..] => {
                let idle = words[3..].iter().map(|at| at.parse().unwrap());
                inputs.push(Event::Idle(self.service(service), idle.collect()));
            }
            ["tick"] => inputs.push(Event::Tick),
            _ => panic!("unknown event: {line}"),
        }
        let director = self.director.as_mut().expect("the first event is start");
        for input in inputs {
            director.handle(input, now);
        }
        self.reconcile(out);
    }

    /// The results of every probe that asks this server.
    fn answers(&self, server: &str, of: Option<&str>, outcome: &Outcome) -> Vec<Event> {
        let address: SocketAddr = server.parse().unwrap();
        let mut probes = BTreeSet::new();
        for service in self.plan.services.values() {
            if of.is_some_and(|of| service.key.to_string() != of) {
                continue;
            }
            let servers = service.servers.iter().map(|server| (server.address, &server.watch));
            let last = service.policy.fallbacks.iter().map(|fallback| (fallback.address, &fallback.watch));
            for (_, watch) in servers.chain(last).filter(|(at, _)| *at == address) {
                if let Watch::Probe(key) = watch {
                    probes.insert(*key);
                }
            }
        }
        assert!(!probes.is_empty(), "nobody asks {server}");
        probes.into_iter().map(|key| Event::Answered(key, outcome.clone())).collect()
    }

    fn order(&self, deed: &str, server: &str, rest: &[&str], now: Moment) -> Event {
        let after = |word: &str| {
            let place = rest.iter().position(|w| *w == word)?;
            Some(now.after(Duration::from_secs_f64(rest[place + 1].parse().unwrap())))
        };
        let (until, deadline) = (after("for"), after("deadline"));
        Event::Ordered(Order { whom: self.whom(server, rest), until, deadline, ..order(deed) })
    }

    /// `10.0.0.1` or `10.0.0.1:80`, and perhaps `of SERVICE`.
    fn whom(&self, server: &str, rest: &[&str]) -> Whom {
        let of = rest.iter().position(|word| *word == "of").map(|place| self.service(rest[place + 1]));
        match server.parse::<SocketAddr>() {
            Ok(at) => Whom { ip: at.ip(), port: Some(at.port()), service: of },
            Err(_) => Whom { ip: server.parse().unwrap(), port: None, service: of },
        }
    }

    fn service(&self, name: &str) -> ServiceKey {
        *self.kernel.services.keys().find(|key| key.to_string() == name).expect("a service of that name")
    }

    fn reconcile(&mut self, out: &mut String) {
        let director = self.director.as_mut().unwrap();
        let desired = director.table();
        for part in diff::PARTS {
            for op in diff::of_all(part, &self.kernel, &desired, &self.ours) {
                let refused = self.refuse > 0 || !self.kernel.apply(&op);
                self.refuse = self.refuse.saturating_sub(1);
                writeln!(out, "  > {op}{}", if refused { " (refused)" } else { "" }).unwrap();
            }
        }
        while let Some(notice) = director.poll_notice() {
            writeln!(out, "  ! {notice}").unwrap();
        }
    }
}

fn well() -> Outcome {
    Outcome::new(Ok("200 OK".into()), Duration::from_millis(1))
}

fn bad() -> Outcome {
    let failure = Failure::new(Phase::Connect, Reason::Refused, "connection refused");
    Outcome::new(Err(failure), Duration::from_millis(1))
}

fn ill(code: &str) -> Outcome {
    let illness = Illness::ALL.into_iter().find(|illness| illness.name() == code).expect("a code");
    let failure = Failure::new(Phase::Connect, Reason::Timeout, "no connection within 1 s");
    Outcome::new(Err(failure.blaming(Some(illness))), Duration::from_millis(1))
}

/// `drain`, `disable` or `weight=5`, about nobody yet.
fn order(deed: &str) -> Order {
    let deed = match deed.split_once('=') {
        Some(("weight", weight)) => Deed::Weight(Weight::new(weight.parse().unwrap()).unwrap()),
        _ if deed == "weight" => Deed::Weight(Weight::ZERO),
        _ if deed == "drain" => Deed::Drain,
        _ if deed == "disable" => Deed::Disable,
        _ => panic!("unknown deed: {deed}"),
    };
    let whom = Whom { ip: [0; 4].into(), port: None, service: None };
    Order { whom, deed, reason: None, given: 0, until: None, deadline: None }
}

/// These servers are in maintenance, by files that are called as they are.
fn held(servers: &[&str]) -> Event {
    Event::Maintenance(servers.iter().map(|server| (server.parse().unwrap(), (*server).into())).collect())
}

fn load(text: &str) -> Config {
    let is_yaml = text.lines().any(|line| line.starts_with("services:"));
    let name = if is_yaml { "lvsentry.yaml" } else { "ldirectord.cf" };
    let source = Source::new(name, text.as_bytes().to_vec());
    config::load_text(source, &config::SystemNames::new())
        .map(|loaded| loaded.config)
        .unwrap_or_else(|r| panic!("{r}"))
}

/// `192.0.2.10:80 wrr` and below it, indented, `10.0.0.1:80 masq 1`; services are TCP.
fn kernel(text: &str) -> Table {
    let mut table = Table::default();
    let mut key = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words[0].parse().unwrap();
        if line.starts_with(' ') {
            let forward = match words[1] {
                "masq" => Forward::Masq,
                "gate" => Forward::Gate,
                _ => Forward::Ipip,
            };
            let destination = Destination::new(forward, Weight::new(words[2].parse().unwrap()).unwrap());
            let entry = table.entry_mut(&key.unwrap()).unwrap();
            entry.destinations.insert(at, destination);
        } else {
            let settings = Settings {
                scheduler: words[1].into(),
                flags: 0,
                one_packet: false,
                persistence: words
                    .get(3)
                    .map(|seconds| Persistence { seconds: seconds.parse().unwrap(), netmask: u32::MAX }),
                engine: None,
            };
            key = Some(ServiceKey::Address(Protocol::Tcp, at));
            table.services.insert(ServiceKey::Address(Protocol::Tcp, at), Entry::new(settings).into());
        }
    }
    table
}
