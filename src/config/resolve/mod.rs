//! Directives of `ldirectord.cf` → [`Draft`]: inheritance, defaults, names. Pure, but for the names,
//! which are given.

pub mod address;
pub mod alert;
pub mod check;
pub mod kernel;
pub mod options;
pub mod real;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::LogTarget;
use crate::config::diagnostic::Faults;
use crate::config::draft::{Draft, FallbackDraft, Said, ServerDraft, ServiceDraft, ServiceHooksDraft};
use crate::config::names::Names;
use crate::config::raw::{Block, Directive, Raw};
use crate::config::value;
use crate::model::{ByHand, FailOpen, Family, OnFailure, Removal, ServiceKey};
use crate::span::{Fault, Place, Source, Span};
use address::{LastResort, Lookup, last_resort};
use options::{Globals, Options, inherit, said};
use value::Found;

/// How many servers a configuration may name, ranges counted out: a bound on what a slip in a
/// range can cost.
pub const MOST_SERVERS: usize = 1 << 18;

/// Makes the draft; what is wrong goes to `faults`, and what is right is still made.
pub fn resolve(source: &Source, raw: &Raw, names: &dyn Names, faults: &mut Faults) -> Draft {
    let lookup = Lookup::new(names);
    let globals = Globals::read(&raw.globals, faults);
    let mut fallback = |directive: &Option<Directive>, family| {
        last_resort(directive.as_ref()?, family, None, true, &lookup, faults)
    };
    let fallbacks = [fallback(&globals.fallback, Family::V4), fallback(&globals.fallback6, Family::V6)];
    let places = BTreeMap::new();
    let mut resolver =
        Resolver { source, names, lookup: &lookup, globals: &globals, fallbacks, faults, places, servers: 0 };
    let services: Vec<_> = raw.blocks.iter().filter_map(|block| resolver.block(block)).collect();
    unset_quiescent(&services, faults);
    let path = |found: &Found<std::path::PathBuf>| Said::at(found.value.clone(), found.span.clone());
    let text = |found: &Found<String>| Said::at(found.value.clone(), found.span.clone());
    Draft {
        forgiving: true,
        autoreload: said(globals.autoreload.as_ref(), |yes| *yes, || false),
        log: log(&globals),
        callback: globals.callback.as_ref().map(path),
        execute: globals.execute.iter().map(text).collect(),
        maintenance: globals.maintenancedir.as_ref().map(path),
        services,
        ..Draft::default()
    }
}

fn log(globals: &Globals) -> Said<LogTarget> {
    match &globals.supervised {
        Some(supervised) if supervised.value => Said::at(LogTarget::Stdout, supervised.span.clone()),
        _ => said(globals.logfile.as_ref(), LogTarget::clone, LogTarget::default),
    }
}

struct Resolver<'a, 'r> {
    source: &'a Source,
    names: &'r dyn Names,
    lookup: &'r Lookup<'r>,
    globals: &'r Globals<'a>,
    /// The global fallbacks of IPv4 and IPv6.
    fallbacks: [Option<LastResort>; 2],
    faults: &'r mut Faults,
    /// Where each service was first named.
    places: BTreeMap<ServiceKey, Place>,
    /// How many servers were named so far.
    servers: usize,
}

impl<'a> Resolver<'a, '_> {
    /// One virtual service. All of it is read even when its address is wrong, so that all faults show.
    fn block(&mut self, block: &Block<'a>) -> Option<ServiceDraft> {
        let family = if block.head.key.name == "virtual6" { Family::V6 } else { Family::V4 };
        let span = block.head.value.trim().span();
        let mut options = Options::read(block, self.faults);
        if options.service.is_some() {
            options.host = Some(self.names.this_host());
        }
        let servers = self.servers(&options.reals, family);
        let key = address::service(&block.head, family, options.protocol.as_ref(), self.lookup, self.faults);
        let fallback = self.fallback(&options, family, key);
        check::doubts(&options, &span, self.faults);
        let key = key.filter(|key| !self.is_no_mark(key, &span) && self.is_new(key, &span))?;
        if options.reals.is_empty() {
            let fault = Fault::advice(span.clone(), "the service has no servers");
            self.faults.push(fault.help("add a line `real=...`"));
        }
        if options.unclear {
            // Which check is meant is not known: more about it would only mislead.
            return None;
        }
        let (own, global) = (&options.shared, &self.globals.shared);
        let interval = self.interval(key, &options);
        let check = check::draft(key, &span, &options, global, interval, self.faults);
        let quiescent = inherit(&own.quiescent, &global.quiescent);
        let text = |found: &Found<String>| Said::at(found.value.clone(), found.span.clone());
        let widest = if family == Family::V6 { 128 } else { u32::MAX };
        Some(ServiceDraft {
            line: block.head.name.clone(),
            key,
            name: options.servicename.as_ref().map(text),
            comment: options.comment.as_ref().map(text),
            scheduler: said(options.scheduler.as_ref(), String::clone, || "wrr".into()),
            flags: said(options.schedflags.as_ref(), |bits| *bits, || 0),
            one_packet: kernel::one_packet(key, &options, self.faults),
            persistent: options.persistent.as_ref().map(|f| Said::at(f.value, f.span.clone())),
            netmask: said(options.netmask.as_ref(), |mask| *mask, || widest),
            fall: said(inherit(&own.failurecount, &global.failurecount), |n| *n, || 1),
            rise: Said::default(1),
            on_failure: said(quiescent, |yes| on_failure(*yes), || OnFailure::Remove),
            by_hand: Said::default(ByHand::Hold),
            clean_stop: said(inherit(&own.cleanstop, &global.cleanstop), |yes| *yes, || true),
            removal: Said::default(Removal::AsFailed),
            hold: None,
            slow_start: None,
            fallbacks: fallback
                .map(|(fallback, span)| Said::at(fallback.for_service(key), span))
                .map(|fallback| FallbackDraft { fallback, check: None })
                .into_iter()
                .collect(),
            zero_serves: Said::default(true),
            fail_open: Said::default(FailOpen::No),
            fallback_command: inherit(&own.fallbackcommand, &global.fallbackcommand).map(text),
            hooks: ServiceHooksDraft::default(),
            monitor: options.monitorfile.as_ref().map(|f| Said::at(f.value.clone(), f.span.clone())),
            alert: alert::draft(own, self.globals),
            check,
            servers,
            refused: options.refused,
            span,
        })
    }

    fn is_new(&mut self, key: &ServiceKey, head: &Span) -> bool {
        let place = self.source.place(head);
        let Some(first) = self.places.get(key) else {
            self.places.insert(*key, place);
            return true;
        };
        let help = format!("{} stands at {first} already", key.id());
        self.faults.push(Fault::error(head.clone(), "duplicate virtual server").help(help));
        false
    }

    /// Whether it is a firewall mark that the kernel refuses: there is no service then.
    fn is_no_mark(&mut self, key: &ServiceKey, head: &Span) -> bool {
        let is_none = matches!(key, ServiceKey::Mark(_, 0));
        if is_none {
            let message = "the kernel refuses this firewall mark: the service stays out";
            let fault = Fault::mistake(head.clone(), message);
            self.faults.push(fault.help("a whole number from 1 to 4294967295"));
        }
        is_none
    }

    /// The `real` lines, each read.
    fn servers(&mut self, lines: &[Directive<'a>], family: Family) -> Vec<ServerDraft> {
        let mut servers = Vec::with_capacity(lines.len());
        for directive in lines {
            let Some(server) = real::read(directive, family, self.lookup, self.faults) else { continue };
            if server.count > MOST_SERVERS - self.servers {
                let message = format!("too many servers: a configuration may name {MOST_SERVERS}");
                let fault = Fault::error(server.span, message);
                self.faults.push(fault.help("FIRST->LAST names every address between the two"));
                continue;
            }
            self.servers += server.count;
            servers.push(server);
        }
        servers
    }

    /// The fallback of a virtual: its own, else the global one of its family.
    fn fallback(
        &mut self,
        options: &Options<'a>,
        family: Family,
        key: Option<ServiceKey>,
    ) -> Option<(LastResort, Span)> {
        let protocol = match key {
            Some(ServiceKey::Address(protocol, _)) => Some(protocol),
            _ => None,
        };
        if let Some(own) = &options.fallback {
            let fallback = last_resort(own, family, protocol, false, self.lookup, self.faults)?;
            return Some((fallback, own.value.trim().span()));
        }
        let (global, directive) = match family {
            Family::V4 => (&self.fallbacks[0], &self.globals.fallback),
            Family::V6 => (&self.fallbacks[1], &self.globals.fallback6),
        };
        global.clone().zip(directive.as_ref().map(|directive| directive.value.trim().span()))
    }

    /// The interval in a virtual counts with fork=yes alone, as in ldirectord.
    fn interval(&mut self, key: ServiceKey, options: &Options) -> Said<Duration> {
        let global = self.globals.shared.checkinterval.as_ref();
        let chosen = match &options.shared.checkinterval {
            Some(own) if self.globals.fork => Some(own),
            Some(own) => {
                let message = format!("checkinterval in virtual service {} ignored when fork=no", key.id());
                let fault = Fault::warning(own.span.clone(), message);
                self.faults
                    .push(fault.help("fork=yes in the global part makes it count (no processes are forked)"));
                global
            }
            None => global,
        };
        said(chosen, |seconds| Duration::from_secs((*seconds).into()), || Duration::from_secs(10))
    }
}

fn on_failure(quiescent: bool) -> OnFailure {
    if quiescent { OnFailure::Quiesce } else { OnFailure::Remove }
}

/// The manual of ldirectord gives another default than it has.
fn unset_quiescent(services: &[ServiceDraft], faults: &mut Faults) {
    let unset = services.iter().find(|service| service.on_failure.span.is_none());
    if let Some(service) = unset.filter(|_| !faults.has_errors()) {
        let message = "`quiescent` is not set: failed servers are removed";
        let help = "that is quiescent=no, whatever ldirectord's manual says; write it down";
        faults.push(Fault::advice(service.span.clone(), message).help(help));
    }
}
