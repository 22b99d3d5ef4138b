//! What `defaults` and a service can both say. Pure.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::config::Kinds;
use crate::config::diagnostic::Faults;
use crate::config::draft::{Said, ServiceHooksDraft};
use crate::config::keys::LONGEST_PERSISTENCE;
use crate::config::resolve::kernel::{FLAGS, SCHEDULERS};
use crate::config::yaml::address::{FORWARDS, LastResort};
use crate::config::yaml::alert::Alerts;
use crate::config::yaml::check::CheckSettings;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::{Item, all, did_you_mean, shown};
use crate::config::yaml::policy::PolicySettings;
use crate::config::yaml::role::service_hooks;
use crate::model::{ByHand, Family, Forward, OnFailure};
use crate::span::Fault;

/// The names of these settings.
pub const NAMES: [&str; 20] = [
    "scheduler",
    "flags",
    "one_packet",
    "persistent",
    "netmask",
    "forward",
    "check",
    "on_failure",
    "by_hand",
    "clean_stop",
    "drain",
    "hold",
    "slow_start",
    "zero_serves",
    "fail_open",
    "fallback",
    "fallback_command",
    "hooks",
    "monitor_file",
    "alerts",
];

/// The words of `on_failure`.
pub const ON_FAILURE: [(&str, OnFailure); 2] =
    [("remove", OnFailure::Remove), ("quiesce", OnFailure::Quiesce)];

/// The words of `by_hand`.
pub const BY_HAND: [(&str, ByHand); 2] = [("hold", ByHand::Hold), ("repair", ByHand::Repair)];

/// What is said; nothing inherited, no default.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The scheduler's name.
    pub scheduler: Option<Said<String>>,
    /// The scheduler's flags, as the kernel's bits.
    pub flags: Option<Said<u32>>,
    /// One-packet scheduling.
    pub one_packet: Option<Said<bool>>,
    /// Seconds of persistence; none for `off`.
    pub persistent: Option<Said<Option<u32>>>,
    /// Which clients are one client.
    pub netmask: Option<Said<Mask>>,
    /// How packets reach servers that do not say it.
    pub forward: Option<Said<Forward>>,
    /// What becomes of a failed server.
    pub on_failure: Option<Said<OnFailure>>,
    /// What a weight set by hand means.
    pub by_hand: Option<Said<ByHand>>,
    /// Whether the service leaves the kernel when the daemon is stopped.
    pub clean_stop: Option<Said<bool>>,
    /// How servers leave and come back.
    pub policy: PolicySettings,
    /// The servers of last resort.
    pub fallback: Option<Said<Vec<LastResort>>>,
    /// What a shell runs when no server is up.
    pub fallback_command: Option<Said<String>>,
    /// What a shell runs when the service changes.
    pub hooks: ServiceHooksDraft,
    /// The file that gets every result.
    pub monitor: Option<Said<PathBuf>>,
    /// Who is told of changes.
    pub alerts: Option<Alerts>,
    /// How servers are checked.
    pub check: CheckSettings,
}

/// A netmask as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// `255.255.255.0`.
    Quad(Ipv4Addr),
    /// `24`: a prefix length, up to 128.
    Length(u32),
}

impl Settings {
    /// Reads them.
    pub fn read(fields: &Fields, kinds: Kinds, faults: &mut Faults) -> Settings {
        let fallback = fields.get("fallback").and_then(|item| LastResort::list(&item, kinds, faults));
        let alerts = fields.get("alerts").and_then(|item| Alerts::read(&item, faults));
        let check = fields.get("check").map(|item| CheckSettings::read(&item, kinds, faults));
        let hooks = fields.get("hooks").and_then(|item| service_hooks(&item, faults));
        let scheduler = fields.take("scheduler", faults, scheduler);
        scheduler.iter().for_each(|said| doubt_scheduler(said, faults));
        let forward = fields.take("forward", faults, |item| item.one_of(&FORWARDS));
        // One that was refused is not missing as well.
        let refused = fields.get("forward").map(|item| Said::at(Forward::Masq, item.span()));
        Settings {
            scheduler,
            flags: fields.get("flags").and_then(|item| flags(&item, faults)),
            one_packet: fields.take("one_packet", faults, Item::flag),
            persistent: fields.take("persistent", faults, persistent),
            netmask: fields.take("netmask", faults, netmask),
            forward: forward.or(refused),
            on_failure: fields.take("on_failure", faults, |item| item.one_of(&ON_FAILURE)),
            by_hand: fields.take("by_hand", faults, |item| item.one_of(&BY_HAND)),
            clean_stop: fields.take("clean_stop", faults, Item::flag),
            policy: PolicySettings::read(fields, faults),
            fallback,
            fallback_command: fields.take("fallback_command", faults, Item::line),
            hooks: hooks.unwrap_or_default(),
            monitor: fields.take("monitor_file", faults, Item::path),
            alerts,
            check: check.unwrap_or_default(),
        }
    }

    /// These, and where they are silent, the others.
    pub fn or(self, other: &Settings) -> Settings {
        Settings {
            scheduler: self.scheduler.or_else(|| other.scheduler.clone()),
            flags: self.flags.or_else(|| other.flags.clone()),
            one_packet: self.one_packet.or_else(|| other.one_packet.clone()),
            persistent: self.persistent.or_else(|| other.persistent.clone()),
            netmask: self.netmask.or_else(|| other.netmask.clone()),
            forward: self.forward.or_else(|| other.forward.clone()),
            on_failure: self.on_failure.or_else(|| other.on_failure.clone()),
            by_hand: self.by_hand.or_else(|| other.by_hand.clone()),
            clean_stop: self.clean_stop.or_else(|| other.clean_stop.clone()),
            policy: self.policy.or(&other.policy),
            fallback: self.fallback.or_else(|| other.fallback.clone()),
            fallback_command: self.fallback_command.or_else(|| other.fallback_command.clone()),
            hooks: self.hooks.or(&other.hooks),
            monitor: self.monitor.or_else(|| other.monitor.clone()),
            alerts: self.alerts.or_else(|| other.alerts.clone()),
            check: self.check.or(&other.check),
        }
    }
}

impl Mask {
    /// As the kernel has it, in a service of that family.
    pub fn bits(self, family: Family) -> Result<u32, &'static str> {
        match (self, family) {
            (Mask::Quad(quad), Family::V4) => Ok(quad.to_bits()),
            (Mask::Length(length @ 1..=32), Family::V4) => Ok(u32::MAX << (32 - length)),
            (Mask::Length(length), Family::V6) => Ok(length),
            (_, Family::V4) => Err("for instance 255.255.255.0 or 24"),
            (_, Family::V6) => Err("an IPv6 service has a prefix length, for instance 64"),
        }
    }
}

fn scheduler(item: &Item) -> Result<Said<String>, Fault> {
    let name = item.line()?;
    let is_name = !name.value.is_empty()
        && name.value.bytes().all(|b| b.is_ascii_lowercase())
        && name.value.len() <= 15;
    if is_name { Ok(name) } else { Err(item.refuse("a scheduler", did_you_mean(&name.value, &SCHEDULERS))) }
}

/// An unknown scheduler is only told: the kernel may have it.
fn doubt_scheduler(said: &Said<String>, faults: &mut Faults) {
    let Some(span) = said.span.clone().filter(|_| !SCHEDULERS.contains(&said.value.as_str())) else { return };
    let message = format!("the scheduler {} is not known; the kernel may not have it", shown(&said.value));
    faults.push(Fault::warning(span, message).help(did_you_mean(&said.value, &SCHEDULERS)));
}

fn flags(item: &Item, faults: &mut Faults) -> Option<Said<u32>> {
    let members = faults.keep(item.one_or_more())?;
    let bits = all(members.iter().map(|member| member.one_of(&FLAGS)), faults);
    Some(Said::at(bits.iter().fold(0, |sum, bit| sum | bit.value), item.span()))
}

fn persistent(item: &Item) -> Result<Said<Option<u32>>, Fault> {
    if item.text()? == "off" {
        return Ok(Said::at(None, item.span()));
    }
    let seconds = item.seconds(LONGEST_PERSISTENCE)?;
    Ok(Said { value: Some(seconds.value), span: seconds.span })
}

fn netmask(item: &Item) -> Result<Said<Mask>, Fault> {
    let text = item.text()?;
    let mask = match text.parse() {
        Ok(quad) => Mask::Quad(quad),
        Err(_) => Mask::Length(
            item.number(1, 128)
                .map_err(|fault| fault.help("for instance 255.255.255.0 or 24; 64 for IPv6"))?
                .value,
        ),
    };
    Ok(Said::at(mask, item.span()))
}
