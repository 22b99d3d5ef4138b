//! What the log says of changes. Lines about the kernel's table have ldirectord's words, so that
//! what was written to watch its log keeps working; lines about health say why.
//!
//! Every event has an `id` that stays the same from release to release.

use std::collections::BTreeSet;

use tracing::{Level, debug, error, info, warn};

use super::telling::Told;
use crate::config::Config;
use crate::config::diagnostic::Report;
use crate::director::Director;
use crate::director::event::{Decision, Notice};
use crate::ipvs::error::OpError;
use crate::model::{ProbeKey, Watch};
use crate::outcome::{Failure, Outcome, Phase, Reason};
use crate::span::{Fault, Severity};
use crate::table::Op;

/// Tells a confirmed change.
pub fn notice(notice: &Notice) {
    match notice {
        Notice::Changed(d) if d.health.is_up() => info!(id = "server-up", "{notice}"),
        Notice::Changed(_) => warn!(id = "server-down", "{notice}"),
        Notice::Soft(d, ..) => warn!(id = "server-soft-failure", why = why(d), "{notice}"),
        Notice::SoftOver(_) => info!(id = "server-soft-failure-over", "{notice}"),
        Notice::ByHand(_) => warn!(id = "weight-by-hand", "{notice}"),
        Notice::Maintenance(..) => warn!(id = "server-maintenance", "{notice}"),
        Notice::MaintenanceOver(_) => info!(id = "server-maintenance-over", "{notice}"),
        Notice::Ordered(..) => warn!(id = "server-ordered", "{notice}"),
        Notice::OrderOver(..) | Notice::WeightBack(_) => info!(id = "server-order-over", "{notice}"),
        Notice::Drained(_) => info!(id = "server-drained", "{notice}"),
        Notice::Held(..) => warn!(id = "server-held", "{notice}"),
        Notice::HoldOver(_) => info!(id = "server-hold-over", "{notice}"),
        Notice::Fallback(_, _, outcome) if outcome.is_good() => info!(id = "fallback-up", "{notice}"),
        Notice::Fallback(..) => warn!(id = "fallback-down", "{notice}"),
        Notice::Ill(_) => error!(id = "director-unwell", "{notice}"),
        Notice::Well => warn!(id = "director-well", "{notice}"),
        Notice::AllDown(_, Some(_)) => warn!(id = "service-on-fallback", "{notice}"),
        Notice::AllDown(_, None) => error!(id = "service-down", "{notice}"),
        Notice::Served(_) => info!(id = "service-up", "{notice}"),
    }
}

/// Tells the faults of a configuration, a line each.
pub fn report(report: &Report) {
    for fault in &report.faults {
        let help = fault.help.as_deref().unwrap_or_default();
        let line = fault_line(report, fault);
        match fault.severity {
            Severity::Warning | Severity::Advice => warn!(id = "config-warning", help, "{line}"),
            Severity::Error | Severity::Mistake => error!(id = "config-error", help, "{line}"),
        }
    }
}

/// A fault in ldirectord's words: `Error [750] reading file t.cf at line 13: message`.
pub fn fault_line(report: &Report, fault: &Fault) -> String {
    let pid = std::process::id();
    let what = match fault.severity {
        Severity::Warning | Severity::Advice => "Warning",
        Severity::Error | Severity::Mistake => "Error",
    };
    let message = &fault.message;
    match &fault.span {
        Some(span) => {
            let line = report.source.position(span.start).0;
            format!("{what} [{pid}] reading file {} at line {line}: {message}", report.source.name)
        }
        None => format!("{what} [{pid}]: {message}"),
    }
}

/// Tells one answer, when somebody listens to that much.
pub fn answered(probe: &ProbeKey, outcome: &Outcome, director: &Director) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let servers = director.pools().flat_map(|pool| &pool.service().servers);
    let asked = servers.filter(|server| matches!(&server.watch, Watch::Probe(key) if key == probe));
    for at in asked.map(|server| server.address).collect::<BTreeSet<_>>() {
        match &outcome.result {
            Ok(seen) => debug!(id = "answer", "Activated service {at}: {seen}"),
            Err(failure) => debug!(id = "answer", "Deactivated service {at}: {failure}"),
        }
    }
}

/// Tells of a check command that did not end in time and was made to, as ldirectord does each time.
pub fn ended(config: &Config, probe: &ProbeKey, outcome: &Outcome) {
    let Err(Failure { phase: Phase::Run, reason: Reason::Timeout, .. }) = &outcome.result else { return };
    let Some(inquiry) = config.inquiries.get(probe) else { return };
    if let Some(command) = inquiry.probe.command() {
        let limit = inquiry.timeout.as_secs_f64();
        warn!(id = "command-ended", "system_timeout({limit}, {command}) timed out, kill -TERM child");
    }
}

fn why(decision: &Decision) -> String {
    decision.last.as_ref().map(|outcome| outcome.to_string()).unwrap_or_default()
}

/// Tells an operation that was carried out.
pub fn told(told: &Told) {
    info!(id = "table-changed", "{}", told.line);
}

/// Tells an operation that the kernel refused.
pub fn refused(op: &Op, why: &OpError) {
    error!(id = "table-refused", "{}", why.explain(op));
}
