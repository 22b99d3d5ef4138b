//! lvsentry's own language: YAML → [`Draft`]. Pure, but for the names and the kinds of check, which
//! are given.
//!
//! ```text
//! text ── node (a tree of texts with their places) ── settings, check, server … ─▶ Draft
//! ```
//!
//! Every value is read by us, so that all faults of a file are found in one go. A value of a
//! service comes before that of `defaults`; what neither says has a default, save what must be said:
//! how servers are checked, and how packets reach them.

pub mod address;
pub mod alert;
pub mod check;
pub mod fields;
pub mod leaf;
pub mod names;
pub mod node;
pub mod policy;
pub mod role;
pub mod server;
pub mod settings;
pub mod sysctl;

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::config::diagnostic::Faults;
use crate::config::draft::{Draft, FallbackDraft, Said, ServerDraft, ServiceDraft};
use crate::config::resolve::MOST_SERVERS;
use crate::config::resolve::address::Lookup;
use crate::config::workers::{MOST, Workers};
use crate::config::{Kinds, LogTarget};
use crate::model::{ByHand, Family, OnFailure, Protocol, ServiceKey};
use crate::span::{Fault, Source, Span};
use address::Places;
use alert::Alerts;
use fields::Fields;
use leaf::{Item, all};
use node::{Node, Value};
use server::Home;
use settings::Settings;

/// The names of the whole file.
const FILE: [&str; 14] = [
    "defaults",
    "services",
    "alerts",
    "autoreload",
    "log",
    "callback",
    "execute",
    "maintenance_dir",
    "role",
    "on_demote",
    "hooks",
    "workers",
    "forgiving",
    "lvs",
];

/// The names of a service beside [`settings::NAMES`].
const SERVICE: [&str; 6] = ["name", "comment", "listen", "fwmark", "family", "servers"];

/// Reads a text; what is wrong goes to `faults`, and what is right is still read.
pub fn read(source: &Source, lookup: &Lookup, kinds: Kinds, faults: &mut Faults) -> Draft {
    let mut draft = Draft::default();
    let Some(root) = faults.keep(node::parse(source)) else { return draft };
    if root.value == Value::Null {
        let fault = Fault { span: None, ..Fault::warning(0..0, "no services: there is nothing to do") };
        faults.push(fault);
        return draft;
    }
    let Some(file) = Fields::read(&root, "the file", &FILE, faults) else { return draft };
    if let Some(said) = file.take("autoreload", faults, Item::flag) {
        draft.autoreload = said;
    }
    if let Some(said) = file.get("log").and_then(|item| log(&item, faults)) {
        draft.log = said;
    }
    draft.forgiving = file.take("forgiving", faults, Item::flag).is_some_and(|said| said.value);
    draft.callback = file.take("callback", faults, Item::path);
    draft.maintenance = file.take("maintenance_dir", faults, Item::path);
    if let Some(said) = file.get("role").and_then(|item| role::role(&item, faults)) {
        draft.role = said;
    }
    if let Some(said) = file.take("on_demote", faults, |item| item.one_of(&role::ON_DEMOTE)) {
        draft.on_demote = said;
    }
    draft.hooks = file.get("hooks").and_then(|item| role::hooks(&item, faults)).unwrap_or_default();
    if let Some(said) = file.take("workers", faults, workers) {
        draft.workers = said;
    }
    draft.sysctls = file.get("lvs").map(|item| sysctl::read(&item, faults)).unwrap_or_default();
    if let Some(members) = file.take("execute", faults, Item::one_or_more) {
        draft.execute = all(members.iter().map(Item::line), faults);
    }
    let mut reader = Reader {
        source,
        places: Places { lookup },
        kinds,
        defaults: defaults(&file, kinds, faults),
        faults,
        listening: BTreeMap::new(),
        servers: 0,
    };
    let services = file.take("services", reader.faults, Item::list);
    if services.as_ref().is_none_or(Vec::is_empty) {
        let fault = Fault { span: None, ..Fault::warning(0..0, "no services: there is nothing to do") };
        reader.faults.push(fault);
    }
    for item in services.unwrap_or_default() {
        let services = reader.service(item.node);
        draft.services.extend(services);
    }
    draft
}

/// What holds for services that do not say otherwise.
fn defaults(file: &Fields, kinds: Kinds, faults: &mut Faults) -> Settings {
    let alerts = file.get("alerts").and_then(|item| Alerts::read(&item, faults));
    let own: Vec<&'static str> = settings::NAMES.into_iter().filter(|name| *name != "alerts").collect();
    let fields = file.get("defaults").and_then(|item| Fields::read(item.node, "`defaults`", &own, faults));
    let settings = fields.map(|fields| Settings::read(&fields, kinds, faults)).unwrap_or_default();
    Settings { alerts, ..settings }
}

/// `auto`, or a number of threads.
fn workers(item: &Item) -> Result<Said<Workers>, Fault> {
    let workers = item.text()?.parse().ok();
    let wrong = || item.refuse("auto or a number of threads", format!("1 to {MOST}; 1 is the default"));
    workers.map(|workers| Said::at(workers, item.span())).ok_or_else(wrong)
}

/// Where log lines go: `stdout`, `{ file: PATH }` or `{ syslog: FACILITY }`.
fn log(item: &Item, faults: &mut Faults) -> Option<Said<LogTarget>> {
    const HELP: &str = "{ file: /var/log/lvsentry.log }, { syslog: local0 } or stdout";
    let wrong = || item.refuse("a place for log lines", HELP);
    if let Value::Text(text) = &item.node.value {
        let target =
            if text == "stdout" { Ok(Said::at(LogTarget::Stdout, item.span())) } else { Err(wrong()) };
        return faults.keep(target);
    }
    let fields = Fields::read(item.node, "`log`", &["file", "syslog"], faults)?;
    match (fields.get("file"), fields.get("syslog")) {
        (Some(file), None) => {
            let path = faults.keep(file.path())?;
            if !path.value.is_absolute() {
                faults.push(file.refuse("an absolute path", HELP));
            }
            Some(Said { value: LogTarget::File(path.value), span: path.span })
        }
        (None, Some(facility)) => {
            let name = faults.keep(facility.line())?;
            if name.value.is_empty() {
                faults.push(facility.refuse("a facility", HELP));
            }
            Some(Said { value: LogTarget::Syslog(name.value), span: name.span })
        }
        _ => faults.keep(Err(wrong())),
    }
}

fn is_udp(key: ServiceKey) -> bool {
    matches!(key, ServiceKey::Address(Protocol::Udp, _))
}

struct Reader<'a, 'f> {
    source: &'a Source,
    places: Places<'a>,
    kinds: Kinds,
    defaults: Settings,
    faults: &'f mut Faults,
    /// Where each service was first named.
    listening: BTreeMap<ServiceKey, Span>,
    /// How many servers were named so far.
    servers: usize,
}

impl Reader<'_, '_> {
    /// A member of `services`: as many services as it listens on addresses.
    fn service(&mut self, node: &Node) -> Vec<ServiceDraft> {
        let names: Vec<&'static str> = SERVICE.into_iter().chain(settings::NAMES).collect();
        let Some(fields) = Fields::read(node, "a service", &names, self.faults) else { return Vec::new() };
        let own = Settings::read(&fields, self.kinds, self.faults);
        // What `defaults` say of failed servers is not for UDP: a client's packets keep its entry alive.
        let removes_udp = own.on_failure.is_none();
        let settings = own.or(&self.defaults);
        let name = fields.take("name", self.faults, Item::line);
        let comment = fields.take("comment", self.faults, Item::line);
        let keys = self.keys(&fields);
        let place = fields.iter().next().map_or(node.span.clone(), |item| item.span());
        let place = keys.first().map_or(place, |(_, span)| span.clone());
        let servers = fields.take("servers", self.faults, Item::list);
        if servers.as_ref().is_none_or(Vec::is_empty) {
            let fault = Fault::warning(place.clone(), "the service has no servers");
            self.faults.push(fault.help("servers: [{ address: \"10.0.0.1:80\" }]"));
        }
        let servers = servers.unwrap_or_default();
        let check = match settings.check.draft(&place) {
            Ok(check) => Some(check),
            Err(_) if settings.check.unclear => None,
            Err(fault) => self.faults.keep(Err(fault)),
        };
        let mut services = Vec::new();
        for (key, span) in keys {
            let servers = self.servers(key, &settings, &servers);
            let fallbacks = self.fallbacks(key, &settings);
            let (persistent, netmask) = self.persistence(key, &settings);
            let one_packet = self.one_packet(key, &settings);
            // What is missing was told.
            let Some(check) = check.clone() else { continue };
            let settings = settings.clone();
            services.push(ServiceDraft {
                line: span.clone(),
                span,
                key,
                name: name.clone(),
                comment: comment.clone(),
                scheduler: settings.scheduler.unwrap_or(Said::default("wrr".into())),
                flags: settings.flags.unwrap_or(Said::default(0)),
                one_packet,
                persistent,
                netmask,
                fall: settings.check.fall.unwrap_or(Said::default(1)),
                rise: settings.check.rise.unwrap_or(Said::default(1)),
                on_failure: settings
                    .on_failure
                    .filter(|_| !(removes_udp && is_udp(key)))
                    .unwrap_or(Said::default(OnFailure::Remove)),
                by_hand: settings.by_hand.unwrap_or(Said::default(ByHand::Repair)),
                clean_stop: settings.clean_stop.unwrap_or(Said::default(false)),
                removal: settings.policy.removal(),
                hold: settings.policy.hold(),
                slow_start: settings.policy.slow_start(),
                fallbacks,
                zero_serves: settings.policy.zero_serves(),
                fail_open: settings.policy.fail_open(),
                fallback_command: settings.fallback_command,
                hooks: settings.hooks,
                monitor: settings.monitor,
                alert: settings.alerts.unwrap_or_default().draft(),
                check,
                servers,
                refused: false,
            });
        }
        services
    }

    /// What the service listens on, or its firewall mark; each with its place.
    fn keys(&mut self, fields: &Fields) -> Vec<(ServiceKey, Span)> {
        const FAMILIES: [(&str, Family); 2] = [("v4", Family::V4), ("v6", Family::V6)];
        let family = fields.take("family", self.faults, |item| item.one_of(&FAMILIES));
        let found = match (fields.get("listen"), fields.get("fwmark")) {
            (Some(listen), None) => {
                if let Some(Said { span: Some(span), .. }) = family {
                    let fault = Fault::error(span, "`family` is for services with an `fwmark`");
                    self.faults.push(fault.help("remove it: the address says it"));
                }
                let members = self.faults.keep(listen.one_or_more()).unwrap_or_default();
                let read = members.iter().map(|item| Ok((self.places.listen(item)?, item.span())));
                all(read.collect::<Vec<_>>(), self.faults)
            }
            (None, Some(mark)) => {
                let family = family.map_or(Family::V4, |said| said.value);
                let read = mark.number(1, u32::MAX);
                self.faults
                    .keep(read)
                    .map(|n| (ServiceKey::Mark(family, n.value), mark.span()))
                    .into_iter()
                    .collect()
            }
            (None, None) => {
                let span = fields.iter().next().map_or(fields.span.clone(), |item| item.span());
                let fault = Fault::error(span, "a service without an address");
                self.faults.push(fault.help("listen: [\"192.0.2.1:80/tcp\"], or fwmark: 7"));
                Vec::new()
            }
            (Some(_), Some(mark)) => {
                let fault = Fault::error(mark.span(), "a service has `listen` or an `fwmark`, not both");
                self.faults.push(fault.help("make two services of it"));
                Vec::new()
            }
        };
        found.into_iter().filter(|(key, span)| self.is_new(*key, span)).collect()
    }

    fn is_new(&mut self, key: ServiceKey, span: &Span) -> bool {
        let Some(first) = self.listening.get(&key) else {
            self.listening.insert(key, span.clone());
            return true;
        };
        let fault = Fault::error(span.clone(), format!("the service {} stands here twice", key.id()));
        self.faults.push(fault.help(format!("first at {}", self.source.place(first))));
        false
    }

    fn servers(&mut self, key: ServiceKey, settings: &Settings, list: &[Item]) -> Vec<ServerDraft> {
        let forward = settings.forward.as_ref();
        let (check, told) = (&settings.check, Cell::new(false));
        let home = Home { key, forward, check, places: self.places, told };
        let mut servers = Vec::with_capacity(list.len());
        for item in list {
            let Some(server) = home.server(item.node, self.faults) else { continue };
            if server.count > MOST_SERVERS - self.servers {
                let fault = Fault::error(
                    server.span,
                    format!("too many servers: a configuration may name {MOST_SERVERS}"),
                );
                self.faults.push(fault.help("FIRST-LAST names every address between the two"));
                continue;
            }
            self.servers += server.count;
            servers.push(server);
        }
        servers
    }

    /// The fallbacks that fit the service's family.
    fn fallbacks(&mut self, key: ServiceKey, settings: &Settings) -> Vec<FallbackDraft> {
        let said = settings.fallback.iter().flat_map(|said| &said.value);
        let fitting = said.filter(|last| last.fits(key.family()));
        let read = fitting.map(|last| last.for_service(key, &settings.check, self.places));
        all(read.collect::<Vec<_>>(), self.faults)
    }

    /// One-packet scheduling, for UDP only.
    fn one_packet(&mut self, key: ServiceKey, settings: &Settings) -> Said<bool> {
        let Some(said) = settings.one_packet.clone() else { return Said::default(false) };
        let is_udp = is_udp(key);
        if let (true, false, Some(span)) = (said.value, is_udp, &said.span) {
            let message = format!("`one_packet` has no effect: {} is not udp", key.id());
            self.faults
                .push(Fault::warning(span.clone(), message).help("one-packet scheduling is for udp only"));
        }
        Said { value: said.value && is_udp, span: said.span }
    }

    /// Seconds of persistence, and which clients are one.
    fn persistence(&mut self, key: ServiceKey, settings: &Settings) -> (Option<Said<u32>>, Said<u32>) {
        let whole = if key.family() == Family::V6 { 128 } else { u32::MAX };
        let seconds =
            settings.persistent.clone().and_then(|said| Some(Said { value: said.value?, span: said.span }));
        let Some(mask) = &settings.netmask else { return (seconds, Said::default(whole)) };
        let netmask = match mask.value.bits(key.family()) {
            Ok(value) => Said { value, span: mask.span.clone() },
            Err(help) => {
                let span = mask.span.clone().unwrap_or_default();
                self.faults
                    .push(Fault::error(span, "`netmask` does not fit the family of the service").help(help));
                Said::default(whole)
            }
        };
        (seconds, netmask)
    }
}
