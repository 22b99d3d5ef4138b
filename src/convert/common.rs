//! What many services have in common: it is written once, in `defaults`. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::draft::{AlertDraft, Draft, ServiceDraft};
use crate::config::yaml::address::FORWARDS;
use crate::config::yaml::alert::STATES;
use crate::config::yaml::leaf::written;
use crate::config::yaml::settings::{BY_HAND, ON_FAILURE};
use crate::convert::comments::{Comments, Remarks};
use crate::convert::text::scalar;
use crate::convert::{Line, path, taken};
use crate::model::{Fallback, Forward, Protocol, ServiceKey};
use crate::span::Span;

/// A setting as it is written, and where the old file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its name; `check.NAME` for what stands in `check`.
    pub(super) name: &'static str,
    /// The value as YAML has it.
    pub(super) value: String,
    /// Where the old file says it; none for a default.
    span: Option<Span>,
    /// What is to be said of a default that people are wrong about.
    doubt: Option<&'static str>,
    /// Whether each service must say it for itself.
    is_own: bool,
}

/// Every setting of a service that `defaults` may hold, in the order of writing.
pub(super) fn settings(service: &ServiceDraft) -> Vec<Setting> {
    let check = &service.check;
    let is_udp = matches!(service.key, ServiceKey::Address(Protocol::Udp, _));
    let mut all = Vec::new();
    let mut put = |name, value: String, span: &Option<Span>, doubt: &'static str| {
        let doubt = Some(doubt).filter(|doubt| span.is_none() && !doubt.is_empty());
        // What `defaults` say of failed servers does not hold for UDP.
        let is_own = name == "on_failure" && is_udp;
        all.push(Setting { name, value, span: span.clone(), doubt, is_own });
    };
    put("scheduler", scalar(&service.scheduler.value), &service.scheduler.span, "");
    if let Some(way) = one_way(service) {
        put("forward", word(&FORWARDS, way), &None, "");
    }
    if asks(service) {
        put(
            "check.interval",
            written(check.interval.value),
            &check.interval.span,
            "checkinterval was not set",
        );
        put(
            "check.timeout",
            written(check.timeout.value),
            &check.timeout.span,
            "no timeout was set: this is ldirectord's",
        );
    }
    if check.connects.is_some() {
        put("check.connect_timeout", written(check.connect_timeout.value), &check.connect_timeout.span, "");
    }
    put("check.fall", service.fall.value.to_string(), &service.fall.span, "");
    let removes = "quiescent was not set: failed servers are removed, whatever ldirectord's manual says";
    put("on_failure", word(&ON_FAILURE, service.on_failure.value), &service.on_failure.span, removes);
    put(
        "by_hand",
        word(&BY_HAND, service.by_hand.value),
        &service.by_hand.span,
        "a weight set with ipvsadm holds until the next change",
    );
    let stops = "cleanstop was not set: services leave the kernel at a stop";
    put("clean_stop", service.clean_stop.value.to_string(), &service.clean_stop.span, stops);
    // Of an ldirectord.cf there is one at most.
    if let Some(said) = service.fallbacks.first() {
        put("fallback", format!("[{}]", fallback(service.key, &said.value)), &said.span, "");
    }
    if let Some(said) = &service.fallback_command {
        put("fallback_command", scalar(&said.value), &said.span, "");
    }
    all
}

/// Whether its servers are asked at all.
pub(super) fn asks(service: &ServiceDraft) -> bool {
    !matches!(service.check.kind.value, "on" | "off")
}

/// The settings in `defaults`, and the alerts at the top.
#[derive(Debug, Default)]
pub(super) struct Common {
    settings: Vec<Setting>,
    alerts: Vec<String>,
}

impl Common {
    /// What every service says alike, where there are two at least.
    pub(super) fn of(draft: &Draft) -> Common {
        let services: Vec<&ServiceDraft> =
            draft.services.iter().filter(|service| !service.is_out()).collect();
        let mut common = Common::default();
        // The alerts of most; the others say theirs.
        let mut asked: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        services.iter().for_each(|service| *asked.entry(alerts(&service.alert)).or_default() += 1);
        common.alerts =
            asked.into_iter().max_by_key(|(_, count)| *count).map(|(alerts, _)| alerts).unwrap_or_default();
        if services.len() < 2 {
            return common;
        }
        let mut votes: BTreeMap<(&str, String), (usize, Setting)> = BTreeMap::new();
        let mut order: Vec<&'static str> = Vec::new();
        for setting in services.iter().flat_map(|service| settings(service)).filter(|setting| !setting.is_own)
        {
            if !order.contains(&setting.name) {
                order.push(setting.name);
            }
            votes.entry((setting.name, setting.value.clone())).or_insert((0, setting)).0 += 1;
        }
        order.sort_by_key(|name| name.starts_with("check."));
        for name in order {
            let of_name = votes.iter().filter(|((voted, _), _)| *voted == name);
            let Some((_, (count, setting))) = of_name.max_by_key(|(_, (count, _))| *count) else { continue };
            // What a service may be silent about stands here only when none is.
            let optional = matches!(name, "fallback" | "fallback_command");
            if *count == services.len() || (!optional && *count > 1) {
                common.settings.push(setting.clone());
            }
        }
        common
    }

    /// Whether it stands here, so that the service need not say it.
    pub(super) fn has(&self, setting: &Setting) -> bool {
        let same = |common: &Setting| common.name == setting.name && common.value == setting.value;
        !setting.is_own && self.settings.iter().any(same)
    }

    /// The alerts of a service, if they are not those of all.
    pub(super) fn own_alerts(&self, alert: &AlertDraft) -> Vec<Line> {
        let own = alerts(alert);
        if own == self.alerts { Vec::new() } else { alert_lines(&own) }
    }

    /// The alerts of all.
    pub(super) fn alerts(&self) -> Vec<Line> {
        if self.alerts.is_empty() { Vec::new() } else { alert_lines(&self.alerts) }
    }

    /// What stands in `defaults`.
    pub(super) fn lines(&self, comments: &mut Comments) -> Vec<Line> {
        lines(self.settings.iter().filter(|setting| !setting.name.starts_with("check.")), comments)
            .into_iter()
            .chain(check_lines(self.settings.iter(), Vec::new(), comments))
            .collect()
    }
}

/// Settings that do not stand in `check`.
pub(super) fn lines<'s>(settings: impl Iterator<Item = &'s Setting>, comments: &mut Comments) -> Vec<Line> {
    settings.map(|setting| line(setting, setting.name, 0, comments)).collect()
}

/// `check` with the settings that stand in it; `kind` are lines about the kind, indented already.
pub(super) fn check_lines<'s>(
    settings: impl Iterator<Item = &'s Setting>,
    kind: Vec<Line>,
    comments: &mut Comments,
) -> Vec<Line> {
    let mut lines = vec![Line::new("check:")];
    lines.extend(kind);
    for setting in settings {
        if let Some(name) = setting.name.strip_prefix("check.") {
            lines.push(line(setting, name, 2, comments));
        }
    }
    match lines.as_slice() {
        [_] => Vec::new(),
        // A kind without options and times of its own is a word.
        [_, kind] if kind.remarks.above.is_empty() && kind.text.ends_with(": {}") => {
            let text = kind.text.trim_start().trim_end_matches(": {}");
            vec![Line::with(format!("check: {text}"), kind.remarks.clone())]
        }
        _ => lines,
    }
}

fn line(setting: &Setting, name: &str, indent: usize, comments: &mut Comments) -> Line {
    let text = format!("{:indent$}{name}: {}", "", setting.value);
    let line = Line::with(text, taken(&setting.span, comments));
    match setting.doubt {
        Some(doubt) => line.note(doubt),
        None => line,
    }
}

fn fallback(key: ServiceKey, fallback: &Fallback) -> String {
    let at = fallback.address;
    // Without a word the port is the service's.
    let address = match (key, at.port()) {
        (ServiceKey::Mark(..), 0) => at.ip().to_string(),
        _ => at.to_string(),
    };
    format!("{{ address: \"{address}\", forward: {} }}", word(&FORWARDS, fallback.forward))
}

/// How packets reach all servers of a service, if they reach all of them alike.
pub(super) fn one_way(service: &ServiceDraft) -> Option<Forward> {
    let first = service.servers.first()?.forward.value;
    service.servers.iter().all(|server| server.forward.value == first).then_some(first)
}

/// How packets reach a server, in a word.
pub(super) fn forward(forward: Forward) -> String {
    word(&FORWARDS, forward)
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> String {
    words.iter().find(|(_, known)| *known == value).map_or(String::new(), |(word, _)| (*word).to_owned())
}

/// The members of `alerts`.
fn alerts(alert: &AlertDraft) -> Vec<String> {
    let mut members = Vec::new();
    let Some(to) = alert.mail.as_ref() else { return members };
    let named: Vec<&str> = to.value.split(',').collect();
    let plain = named.iter().all(|name| !name.is_empty() && name.trim() == *name);
    let to = match plain {
        true => format!("[{}]", named.iter().map(|name| scalar(name)).collect::<Vec<_>>().join(", ")),
        false => scalar(&to.value),
    };
    let mut mail = vec![format!("to: {to}")];
    mail.extend(alert.from.as_ref().map(|from| format!("from: {}", scalar(&from.value))));
    mail.extend(alert.smtp.as_ref().map(|smtp| format!("smtp: {}", scalar(&smtp.value))));
    let states: Vec<&str> =
        STATES.iter().filter(|(_, state)| alert.when.value.contains(state)).map(|(word, _)| *word).collect();
    match states.len() {
        0 => mail.push("when: [none]".into()),
        4 => {}
        _ => mail.push(format!("when: [{}]", states.join(", "))),
    }
    if alert.again.value > 0 {
        mail.push(format!("again: {}", written(std::time::Duration::from_secs(alert.again.value.into()))));
    }
    members.push(format!("mail: {{ {} }}", mail.join(", ")));
    members
}

fn alert_lines(members: &[String]) -> Vec<Line> {
    match members {
        [] => vec![Line::new("alerts: []")],
        members => {
            let line = |member: &String| Line::with(format!("  - {member}"), Remarks::default());
            std::iter::once(Line::new("alerts:")).chain(members.iter().map(line)).collect()
        }
    }
}

/// A path as a value.
pub(super) fn file(file: &Path) -> String {
    path(file)
}
