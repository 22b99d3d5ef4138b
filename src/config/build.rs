//! [`Draft`] → [`Config`]: ranges counted out, a probe for each server, and the doubts that both
//! languages share. Pure, but for the kinds of check, which are given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostic::Faults;
use crate::config::draft::{CheckDraft, Draft, FallbackDraft, Pair, Said, ServerDraft, ServiceDraft};
use crate::config::resolve::address::entry;
use crate::config::role::{RoleHooks, ServiceHooks};
use crate::config::{Config, Extras, Inquiry, Kinds, Mail, Monitor, advice, monitor};
use crate::model::{
    Fallback, Persistence, Plan, Policy, ProbeKey, Server, Service, ServiceKey, Settings, Watch,
};
use crate::probe::combined::combined;
use crate::probe::datagram::datagram;
use crate::probe::never::never;
use crate::probe::options::Options;
use crate::probe::{Check, Kind, Probe, Target, connect};
use crate::span::{Fault, Severity, Source};

/// Makes the configuration; what is wrong goes to `faults`, and what is right is still made.
pub fn build(source: &Source, draft: Draft, kinds: Kinds, faults: &mut Faults) -> Config {
    let mut builder = Builder {
        source,
        kinds,
        forgiving: draft.forgiving,
        faults,
        config: Config {
            autoreload: draft.autoreload.value,
            log: draft.log.value,
            callback: draft.callback.map(|said| said.value),
            execute: draft.execute.into_iter().map(|said| said.value).collect(),
            maintenance: draft.maintenance.map(|said| said.value),
            role: draft.role.value,
            on_demote: draft.on_demote.value,
            hooks: RoleHooks { promote: command(&draft.hooks.promote), demote: command(&draft.hooks.demote) },
            workers: draft.workers.value,
            sysctls: draft.sysctls.into_iter().map(|(name, said)| (name, said.value)).collect(),
            ..Config::default()
        },
    };
    for service in &draft.services {
        builder.service(service);
    }
    builder.config.names = names(&draft.services);
    builder.config
}

/// The names that servers are written with, by their addresses.
fn names(services: &[ServiceDraft]) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let mut names: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for server in services.iter().flat_map(|service| &service.servers) {
        if let Some(name) = &server.name {
            names.entry(server.address.ip()).or_default().insert(name.clone());
        }
    }
    names
}

struct Builder<'b> {
    source: &'b Source,
    kinds: Kinds,
    forgiving: bool,
    faults: &'b mut Faults,
    config: Config,
}

/// What the servers of one service have in common while they are made.
struct Scene<'s> {
    key: ServiceKey,
    check: &'s CheckDraft,
    kind: &'static Kind,
    /// The service stays out: it is looked at for faults alone.
    is_out: bool,
    /// Options that no check took, by their place.
    unused: BTreeSet<(usize, usize, &'static str)>,
    /// What can't be made was told.
    told: bool,
}

impl Builder<'_> {
    fn service(&mut self, draft: &ServiceDraft) {
        let check = &draft.check;
        let Some(kind) = (self.kinds)(check.kind.value) else {
            let message = format!("this program has no check named `{}`", check.kind.value);
            self.faults.push(Fault::error(check.kind.span.clone().unwrap_or(draft.span.clone()), message));
            return;
        };
        let is_out = draft.is_out();
        self.doubt_port(draft);
        let mut scene = Scene { key: draft.key, check, kind, is_out, unused: BTreeSet::new(), told: false };
        let servers = self.servers(draft, &mut scene);
        let fallbacks = self.fallbacks(draft);
        for (start, end, name) in scene.unused {
            let message = format!("`{name}` has no effect with `{}`", check.cause);
            self.faults.push(Fault::advice(start..end, message));
        }
        advice::service(draft, self.faults);
        if is_out {
            return;
        }
        let extras = extras(draft, &servers);
        if extras != Extras::default() {
            self.config.extras.insert(draft.key, Arc::new(extras));
        }
        let service = Service {
            key: draft.key,
            settings: settings(draft),
            servers,
            policy: Policy { fallbacks, ..policy(draft) },
            origin: self.source.place(&draft.line),
        };
        let Plan { services } = &mut self.config.plan;
        services.insert(draft.key, Arc::new(service));
    }

    /// Says of a service of every port without persistence that it stays out.
    fn doubt_port(&mut self, draft: &ServiceDraft) {
        if draft.is_unservable() {
            let message = "port 0 means every port and needs `persistent`: the service stays out";
            let severity = if self.forgiving { Severity::Mistake } else { Severity::Error };
            let help = "a client's connections to several ports belong together";
            self.faults.push(Fault { severity, ..Fault::error(draft.span.clone(), message) }.help(help));
        }
    }

    /// The servers of all lines; one that stands on two lines is as the last one says.
    fn servers(&mut self, draft: &ServiceDraft, scene: &mut Scene) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        let mut known: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for line in &draft.servers {
            advice::server(draft, line, scene.kind, self.faults);
            let mut twice = None;
            for address in line.addresses() {
                let Some(server) = self.server(scene, line, address) else { break };
                match known.get(&server.entry) {
                    Some(&at) => {
                        twice.get_or_insert_with(|| servers[at].origin.clone());
                        servers[at] = server;
                    }
                    None => {
                        known.insert(server.entry, servers.len());
                        servers.push(server);
                    }
                }
            }
            if let Some(first) = twice {
                let message = format!("the same server stands at {first} already");
                self.faults.push(Fault::advice(line.span.clone(), message).help("the last line counts"));
            }
        }
        // They stay as long as the daemon, and there may be thousands of services.
        servers.shrink_to_fit();
        servers
    }

    fn server(&mut self, scene: &mut Scene, line: &ServerDraft, address: SocketAddr) -> Option<Server> {
        let target = target(scene.key, scene.check, address);
        let watch = self.watch(scene, &target, line.pair.as_ref())?;
        Some(Server {
            entry: entry(scene.key, line.forward.value, address),
            address,
            forward: line.forward.value,
            weight: line.weight.value,
            upper: line.upper,
            lower: line.lower,
            watch,
            origin: self.source.place(&line.line),
        })
    }

    /// The fallbacks, each with who says whether it is up.
    fn fallbacks(&mut self, draft: &ServiceDraft) -> Vec<Fallback> {
        let mut all = Vec::new();
        for FallbackDraft { fallback, check } in &draft.fallbacks {
            let fallback = &fallback.value;
            let watch = match check.as_ref().and_then(|check| Some((check, (self.kinds)(check.kind.value)?)))
            {
                None => Some(Watch::On),
                Some((check, kind)) => {
                    let (key, unused) = (draft.key, BTreeSet::new());
                    let mut scene = Scene { key, check, kind, is_out: draft.is_out(), unused, told: false };
                    self.watch(&mut scene, &target(draft.key, check, fallback.address), None)
                }
            };
            all.extend(watch.map(|watch| Fallback { watch, ..fallback.clone() }));
        }
        all
    }

    /// Who says whether something is up.
    fn watch(&mut self, scene: &mut Scene, target: &Target, pair: Option<&Pair>) -> Option<Watch> {
        Some(match self.check(scene, target, pair)? {
            Check::On => Watch::On,
            Check::Off => Watch::Off,
            Check::Ask(probe) if scene.is_out => Watch::Probe(ProbeKey::of(&probe.identity())),
            Check::Ask(probe) => Watch::Probe(self.inquire(scene, probe)),
        })
    }

    fn inquire(&mut self, scene: &Scene, probe: Arc<dyn Probe>) -> ProbeKey {
        let (interval, timeout) = (scene.check.interval.value, scene.check.timeout.value);
        let identity = probe.identity();
        let key = ProbeKey::of(&format!("{} {timeout:?} {interval:?} {identity}", scene.kind.name));
        self.config.inquiries.entry(key).or_insert(Inquiry { probe, interval, timeout });
        key
    }

    /// The check of one server. One that can not be made is told once for all servers of a service;
    /// where it may be forgiven, its servers are never up.
    fn check(&mut self, scene: &mut Scene, target: &Target, pair: Option<&Pair>) -> Option<Check> {
        let mut options = options(scene.check, scene.kind, pair);
        let made = (scene.kind.make)(target, &mut options);
        let fault = match made {
            Ok(check) => {
                let unused = options.unused();
                scene.unused.extend(unused.map(|(name, span)| (span.start, span.end, name)));
                return Some(mixed(check, scene.check, target));
            }
            Err(fault) => fault,
        };
        let why = fault.message.clone();
        if !std::mem::replace(&mut scene.told, true) || pair.is_some() {
            let severity = if self.forgiving { Severity::Mistake } else { fault.severity };
            let help = match (self.forgiving, fault.help) {
                (true, Some(help)) => Some(format!("{help}; until then its servers are never up")),
                (true, None) => Some("until this is put right its servers are never up".into()),
                (false, help) => help,
            };
            self.faults.push(Fault { severity, help, ..fault });
        }
        self.forgiving.then(|| never(format!("{}: this check can not be made: {why}", target.check)))
    }
}

/// With `connects`, a check that mostly only connects.
fn mixed(check: Check, draft: &CheckDraft, target: &Target) -> Check {
    match (check, &draft.connects) {
        (Check::Ask(talk), Some(connects)) => {
            let connect = match target.is_udp() {
                true => datagram(target.check),
                false => connect::to(target.check),
            };
            Check::Ask(combined(talk, connect, connects.value, draft.connect_timeout.value))
        }
        (check, _) => check,
    }
}

/// Whom to ask about a server at that address.
fn target(service: ServiceKey, check: &CheckDraft, server: SocketAddr) -> Target {
    let check = SocketAddr::new(server.ip(), port(check, server.port()));
    Target { service, server, check }
}

/// The port to ask for a server with this port of its own.
pub fn port(check: &CheckDraft, own: u16) -> u16 {
    let own = if own == 0 { check.standard_port } else { own };
    check.port.as_ref().map_or(own, |said| said.value)
}

/// What one server is asked: the service's question, or its own.
fn options(check: &CheckDraft, kind: &Kind, pair: Option<&Pair>) -> Options {
    let mut options = check.options.clone();
    let Some(pair) = pair else { return options };
    for (name, given) in [("request", &pair.request), ("receive", &pair.receive)] {
        options.remove(name);
        if !given.text.is_empty() {
            options.give(name, given.text.clone(), given.span.clone());
        }
    }
    if is_absolute(kind, &pair.request.text) {
        options.give("request_absolute", pair.request.text.clone(), pair.request.span.clone());
    }
    options
}

/// Whether a server's own request is a whole URL of the kind's scheme: it is asked as it stands,
/// at the host it names.
fn is_absolute(kind: &Kind, request: &[u8]) -> bool {
    let rest = request.strip_prefix(kind.name.as_bytes());
    matches!(kind.name, "http" | "https") && rest.is_some_and(|rest| rest.starts_with(b"://"))
}

fn settings(draft: &ServiceDraft) -> Settings {
    let netmask = draft.netmask.value;
    Settings {
        scheduler: draft.scheduler.value.clone(),
        flags: draft.flags.value,
        one_packet: draft.one_packet.value,
        persistence: draft.persistent.as_ref().map(|said| Persistence { seconds: said.value, netmask }),
        engine: None,
    }
}

fn policy(draft: &ServiceDraft) -> Policy {
    Policy {
        fall: draft.fall.value,
        rise: draft.rise.value,
        on_failure: draft.on_failure.value,
        by_hand: draft.by_hand.value,
        removal: draft.removal.value,
        hold: draft.hold.as_ref().map(|said| said.value),
        slow_start: draft.slow_start.as_ref().map(|said| said.value),
        fallbacks: Vec::new(),
        zero_serves: draft.zero_serves.value,
        fail_open: draft.fail_open.value,
        clean_stop: draft.clean_stop.value,
    }
}

/// A line for the shell; an empty one is none.
fn command(said: &Option<Said<String>>) -> Option<String> {
    said.as_ref().map(|said| said.value.clone()).filter(|line| !line.is_empty())
}

/// What is told and run around the service.
fn extras(draft: &ServiceDraft, servers: &[Server]) -> Extras {
    let alert = &draft.alert;
    let text = |said: &Said<String>| said.value.clone();
    let mail = alert.mail.as_ref().map(|to| Mail {
        to: to.value.clone(),
        from: alert.from.as_ref().map(text),
        smtp: alert.smtp.as_ref().map(text),
    });
    let alerts = mail.is_some() || !alert.webhooks.is_empty();
    let hooks = ServiceHooks {
        up: command(&draft.hooks.up),
        down: command(&draft.hooks.down),
        fallback: command(&draft.hooks.fallback),
    };
    let again = Duration::from_secs(alert.again.value.into());
    Extras {
        name: draft.name.as_ref().map(text),
        // For alerts alone.
        comment: draft.comment.as_ref().map(text).filter(|_| alerts),
        mail,
        webhooks: alert.webhooks.iter().map(|said| said.value.clone()).collect(),
        alert_in: if alerts { alert.when.value.clone() } else { BTreeSet::new() },
        alert_again: Some(again).filter(|again| alerts && !again.is_zero()),
        fallback_command: draft.fallback_command.as_ref().map(text),
        hooks,
        monitor: draft
            .monitor
            .as_ref()
            .map(|path| Monitor { path: path.value.clone(), names: monitor::names(draft, servers) }),
    }
}
