//! Every value in force and where it comes from: as a table for people, or as JSON. Pure.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::draft::{AlertDraft, Draft, FallbackDraft, Said, ServerDraft, ServiceDraft};
use crate::config::role::Role;
use crate::config::workers::Workers;
use crate::config::yaml::address::FORWARDS;
use crate::config::yaml::alert::STATES;
use crate::config::yaml::leaf::written;
use crate::config::yaml::names::{has_body, name_of};
use crate::config::yaml::policy::FAIL_OPEN;
use crate::config::yaml::role::ON_DEMOTE;
use crate::config::yaml::settings::{BY_HAND, ON_FAILURE};
use crate::config::{LogTarget, keys};
use crate::model::{Family, Removal, ServiceKey};
use crate::probe;
use crate::span::{Source, Span};

/// A value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name, as YAML has it; what stands in something else has a dot: `check.interval`.
    pub name: String,
    /// The value; secrets are hidden.
    pub value: String,
    /// `FILE:LINE`, or `default`.
    pub from: String,
}

/// A service with its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// `tcp:192.0.2.1:80`, `fwm:7`.
    pub id: String,
    /// Where it is named.
    pub from: String,
    /// Whether the kernel would refuse it, so that it is left out.
    pub left_out: bool,
    /// Its values.
    pub values: Vec<Row>,
    /// Its servers: the address as the name, and all that is said of it as the value.
    pub servers: Vec<Row>,
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The file.
    pub file: String,
    /// What concerns the daemon.
    pub values: Vec<Row>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
}

/// All values of a draft.
pub fn shown(source: &Source, draft: &Draft) -> Shown {
    let mut daemon = Rows { source, rows: Vec::new() };
    daemon.said("autoreload", &draft.autoreload, bool::to_string);
    daemon.said("log", &draft.log, log);
    daemon.maybe("callback", draft.callback.as_ref(), |path| path.display().to_string());
    for said in &draft.execute {
        daemon.said("execute", said, String::clone);
    }
    daemon.maybe("maintenance_dir", draft.maintenance.as_ref(), |path| path.display().to_string());
    daemon.said("role", &draft.role, Role::to_string);
    daemon.said("on_demote", &draft.on_demote, |value| word(&ON_DEMOTE, *value));
    daemon.maybe("hooks.promote", draft.hooks.promote.as_ref(), String::clone);
    daemon.maybe("hooks.demote", draft.hooks.demote.as_ref(), String::clone);
    daemon.said("workers", &draft.workers, Workers::to_string);
    for (name, said) in &draft.sysctls {
        daemon.said(&format!("lvs.sysctl.{name}"), said, String::clone);
    }
    let services = draft.services.iter().map(|draft| service(source, draft)).collect();
    Shown { file: source.name.to_string(), values: daemon.rows, services }
}

struct Rows<'s> {
    source: &'s Source,
    rows: Vec<Row>,
}

impl Rows<'_> {
    fn put(&mut self, name: &str, value: String, span: Option<&Span>) {
        self.rows.push(Row { name: name.to_owned(), value, from: from(self.source, span) });
    }

    fn said<T>(&mut self, name: &str, said: &Said<T>, show: impl Fn(&T) -> String) {
        self.put(name, show(&said.value), said.span.as_ref());
    }

    fn maybe<T>(&mut self, name: &str, said: Option<&Said<T>>, show: impl Fn(&T) -> String) {
        match said {
            Some(said) => self.said(name, said, show),
            None => self.put(name, "-".into(), None),
        }
    }
}

/// `FILE:LINE`; a place in no text is a default too.
fn from(source: &Source, span: Option<&Span>) -> String {
    let said = span.filter(|span| **span != (0..0));
    said.map_or("default".into(), |span| source.place(span).to_string())
}

fn log(target: &LogTarget) -> String {
    match target {
        LogTarget::File(path) => format!("file {}", path.display()),
        LogTarget::Stdout => "stdout".into(),
        LogTarget::Syslog(facility) => format!("syslog {facility}"),
    }
}

fn service(source: &Source, draft: &ServiceDraft) -> Service {
    let mut rows = Rows { source, rows: Vec::new() };
    rows.maybe("name", draft.name.as_ref(), String::clone);
    rows.maybe("comment", draft.comment.as_ref(), String::clone);
    rows.said("scheduler", &draft.scheduler, String::clone);
    rows.said("flags", &draft.flags, |bits| if *bits == 0 { "-".into() } else { format!("{bits:#04x}") });
    rows.said("one_packet", &draft.one_packet, bool::to_string);
    rows.maybe("persistent", draft.persistent.as_ref(), |seconds| seconds_of(*seconds));
    rows.said("netmask", &draft.netmask, |mask| netmask(draft.key, *mask));
    check(&mut rows, draft);
    rows.said("on_failure", &draft.on_failure, |value| word(&ON_FAILURE, *value));
    rows.said("by_hand", &draft.by_hand, |value| word(&BY_HAND, *value));
    rows.said("clean_stop", &draft.clean_stop, bool::to_string);
    policy(&mut rows, draft);
    for FallbackDraft { fallback, check } in &draft.fallbacks {
        let checked = check.as_ref().map(|check| format!(" check {}", check.kind.value)).unwrap_or_default();
        rows.said("fallback", fallback, |at| format!("{} {}{checked}", at.address, at.forward));
    }
    rows.maybe("fallback_command", draft.fallback_command.as_ref(), String::clone);
    rows.maybe("hooks.up", draft.hooks.up.as_ref(), String::clone);
    rows.maybe("hooks.down", draft.hooks.down.as_ref(), String::clone);
    rows.maybe("hooks.fallback", draft.hooks.fallback.as_ref(), String::clone);
    rows.maybe("monitor_file", draft.monitor.as_ref(), |path| path.display().to_string());
    alerts(&mut rows, &draft.alert);
    let servers = draft.servers.iter().map(|line| server(source, line)).collect();
    let from = from(source, Some(&draft.line));
    Service { id: draft.key.id(), from, left_out: draft.is_out(), values: rows.rows, servers }
}

/// How servers leave and come back.
fn policy(rows: &mut Rows, draft: &ServiceDraft) {
    rows.said("drain", &draft.removal, |removal| match removal {
        Removal::AsFailed => "off".into(),
        Removal::Drain(time) => written(*time),
    });
    rows.maybe("hold", draft.hold.as_ref(), |hold| {
        format!("{} falls within {} hold for {}", hold.falls, written(hold.within), written(hold.time))
    });
    rows.maybe("slow_start", draft.slow_start.as_ref(), |time| written(*time));
    rows.said("zero_serves", &draft.zero_serves, bool::to_string);
    rows.said("fail_open", &draft.fail_open, |value| word(&FAIL_OPEN, *value));
}

fn check(rows: &mut Rows, draft: &ServiceDraft) {
    let check = &draft.check;
    rows.said("check", &check.kind, |kind| (*kind).to_owned());
    for (option, given) in check.options.iter() {
        let name = name_of(option, check.kind.value).unwrap_or(option);
        let secret = keys::is_secret(option) || keys::is_secret(name);
        let text = String::from_utf8_lossy(&given.text).into_owned();
        let value = if secret { "(hidden)".into() } else { text };
        rows.put(&format!("check.{name}"), value, Some(&given.span));
    }
    let kind = check.kind.value;
    let known = probe::kind(kind).map_or(&[][..], |kind| kind.options);
    for option in known.iter().filter(|option| check.options.iter().all(|(given, _)| given != **option)) {
        if let Some(name) = name_of(option, kind) {
            rows.put(&format!("check.{name}"), unsaid(option, kind).into(), None);
        }
    }
    rows.maybe("check.port", check.port.as_ref(), u16::to_string);
    rows.said("check.interval", &check.interval, |time| written(*time));
    rows.said("check.timeout", &check.timeout, |time| written(*time));
    if check.connects.is_some() {
        rows.maybe("check.connects", check.connects.as_ref(), u32::to_string);
        rows.said("check.connect_timeout", &check.connect_timeout, |time| written(*time));
    }
    rows.said("check.fall", &draft.fall, u32::to_string);
    rows.said("check.rise", &draft.rise, u32::to_string);
}

/// What a check does where an option is not given.
fn unsaid(option: &str, kind: &str) -> &'static str {
    match (option, kind) {
        ("request", kind) if has_body(kind) => "/",
        ("httpmethod", _) => "GET",
        ("checkcount", _) => "1",
        ("login", "ftp") => "anonymous",
        ("checkcommand", "external") => "/bin/true",
        ("verify", "ldaps" | "mysql" | "pgsql") => "nothing",
        ("verify", "https" | "http_proxy" | "imaps" | "pops") => "chain",
        ("record", _) => "a; ptr for an address",
        _ => "-",
    }
}

fn alerts(rows: &mut Rows, alert: &AlertDraft) {
    rows.maybe("alerts.mail.to", alert.mail.as_ref(), String::clone);
    if alert.mail.is_some() {
        rows.maybe("alerts.mail.from", alert.from.as_ref(), String::clone);
        rows.maybe("alerts.mail.smtp", alert.smtp.as_ref(), String::clone);
    }
    for webhook in &alert.webhooks {
        rows.said("alerts.webhook", webhook, |webhook| {
            format!("{} {}", host_of(&webhook.url), written(webhook.timeout))
        });
    }
    if alert.mail.is_some() || !alert.webhooks.is_empty() {
        let states = |when: &std::collections::BTreeSet<_>| {
            let words = STATES.iter().filter(|(_, state)| when.contains(state)).map(|(word, _)| *word);
            let words: Vec<&str> = words.collect();
            if words.is_empty() { "none".into() } else { words.join(", ") }
        };
        rows.said("alerts.when", &alert.when, states);
        rows.said("alerts.again", &alert.again, |s| if *s == 0 { "never".into() } else { seconds_of(*s) });
    }
}

/// Where a URL goes, without its path: that may hold a token.
fn host_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/...")
}

fn server(source: &Source, line: &ServerDraft) -> Row {
    let name = match (&line.name, line.count) {
        (Some(name), _) => format!("{} ({name})", line.address),
        (None, 1) => line.address.to_string(),
        (None, count) => format!("{} and {} more", line.address, count - 1),
    };
    let mut value = format!("{} weight {}", word(&FORWARDS, line.forward.value), line.weight.value);
    if line.upper > 0 {
        value.push_str(&format!(" upper {} lower {}", line.upper, line.lower));
    }
    if line.pair.is_some() {
        value.push_str(" check of its own");
    }
    Row { name, value, from: from(source, Some(&line.line)) }
}

fn netmask(key: ServiceKey, mask: u32) -> String {
    match key.family() {
        Family::V4 => std::net::Ipv4Addr::from_bits(mask).to_string(),
        Family::V6 => mask.to_string(),
    }
}

fn seconds_of(seconds: u32) -> String {
    written(Duration::from_secs(seconds.into()))
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> String {
    words.iter().find(|(_, known)| *known == value).map_or("-".into(), |(word, _)| (*word).to_owned())
}

/// As a table: names, values and origins in three columns.
pub fn table(shown: &Shown) -> String {
    let servers = |service: &Service| {
        let named = |row: &Row| Row { name: format!("server {}", row.name), ..row.clone() };
        service.servers.iter().map(named).collect::<Vec<_>>()
    };
    let services: Vec<(&Service, Vec<Row>)> =
        shown.services.iter().map(|s| (s, s.values.iter().cloned().chain(servers(s)).collect())).collect();
    let every = || shown.values.iter().chain(services.iter().flat_map(|(_, rows)| rows));
    // One long value does not move the column for all.
    let widest =
        |lengths: &mut dyn Iterator<Item = usize>, most| lengths.filter(|n| *n <= most).max().unwrap_or(0);
    let names = widest(&mut every().map(|row| row.name.chars().count()), 50);
    let values = widest(&mut every().map(|row| row.value.chars().count()), 50);
    let line = |row: &Row| {
        let (value, from) = (one_line(&row.value), brief(&row.from, &shown.file));
        format!("{:names$}  {value:values$}  {from}\n", row.name)
    };
    let mut out = format!("{}\n\n", shown.file);
    shown.values.iter().for_each(|row| out.push_str(&line(row)));
    for (service, rows) in &services {
        let left_out = if service.left_out { "  left out: the kernel refuses it" } else { "" };
        out.push_str(&format!("\nservice {}  {}{left_out}\n", service.id, brief(&service.from, &shown.file)));
        rows.iter().for_each(|row| out.push_str(&format!("  {}", line(row))));
    }
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An origin by the last part of the path: the whole stands above.
fn brief(from: &str, file: &str) -> String {
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
    match (from.strip_prefix(file), name) {
        (Some(line), Some(name)) => format!("{name}{line}"),
        _ => from.to_owned(),
    }
}
