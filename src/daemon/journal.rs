//! What the log says of changes. Lines about the kernel's table have ldirectord's words, so that
//! what was written to watch its log keeps working; lines about health say why.
//!
//! Every event has an `id` that stays the same from release to release.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{Level, debug, error, info, warn};

use super::telling::Told;
use crate::config::Config;
use crate::config::diagnostic::Report;
use crate::director::Director;
use crate::director::event::{Decision, Notice};
use crate::ipvs::error::OpError;
use crate::model::ProbeKey;
use crate::outcome::{Failure, Outcome, Phase, Reason};
use crate::span::{Fault, Severity};
use crate::table::Op;

/// From so many operations on it is told how long they took.
const MANY: usize = 100;

/// Tells of operations that were tried together: of many at once, as at a start or a promotion.
pub fn applied(operations: usize, took: Duration) {
    if operations >= MANY {
        let ms = took.as_secs_f64() * 1e3;
        info!(id = "table-applied", "Applied {operations} operations in {ms:.1} ms");
    }
}

/// Tells a confirmed change. The answer is the id under which it is told.
pub fn notice(notice: &Notice) -> &'static str {
    let (level, id) = kind(notice);
    match (notice, level) {
        (Notice::Soft(d, ..), _) => warn!(id = id, why = why(d), "{notice}"),
        (_, Level::ERROR) => error!(id = id, "{notice}"),
        (_, Level::WARN) => warn!(id = id, "{notice}"),
        _ => info!(id = id, "{notice}"),
    }
    id
}

/// How loud a change is told, and under which id.
fn kind(notice: &Notice) -> (Level, &'static str) {
    match notice {
        Notice::Changed(d) if d.health.is_up() => (Level::INFO, "server-up"),
        Notice::Changed(_) => (Level::WARN, "server-down"),
        Notice::Soft(..) => (Level::WARN, "server-soft-failure"),
        Notice::SoftOver(_) => (Level::INFO, "server-soft-failure-over"),
        Notice::ByHand(_) => (Level::WARN, "weight-by-hand"),
        Notice::Maintenance(..) => (Level::WARN, "server-maintenance"),
        Notice::MaintenanceOver(_) => (Level::INFO, "server-maintenance-over"),
        Notice::Ordered(..) => (Level::WARN, "server-ordered"),
        Notice::OrderOver(..) | Notice::WeightBack(_) => (Level::INFO, "server-order-over"),
        Notice::Drained(_) => (Level::INFO, "server-drained"),
        Notice::Held(..) => (Level::WARN, "server-held"),
        Notice::HoldOver(_) => (Level::INFO, "server-hold-over"),
        Notice::Fallback(_, _, outcome) if outcome.is_good() => (Level::INFO, "fallback-up"),
        Notice::Fallback(..) => (Level::WARN, "fallback-down"),
        Notice::Ill(_) => (Level::ERROR, "director-unwell"),
        Notice::Well => (Level::WARN, "director-well"),
        Notice::StillIll => (Level::ERROR, "director-still-unwell"),
        Notice::AllDown(_, Some(_)) => (Level::WARN, "service-on-fallback"),
        Notice::AllDown(_, None) => (Level::ERROR, "service-down"),
        Notice::Served(_) => (Level::INFO, "service-up"),
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
    let heard = director.listeners(probe);
    let asked = heard.filter_map(|(key, i)| Some(director.pool(&key)?.service().servers.get(i)?.address));
    for at in asked.collect::<BTreeSet<_>>() {
        match &*outcome.result {
            Ok(seen) => debug!(id = "answer", "Activated service {at}: {seen}"),
            Err(failure) => debug!(id = "answer", "Deactivated service {at}: {failure}"),
        }
    }
}

/// Tells of a check command that did not end in time and was made to, as ldirectord does each time.
pub fn ended(config: &Config, probe: &ProbeKey, outcome: &Outcome) {
    let Err(Failure { phase: Phase::Run, reason: Reason::Timeout, .. }) = &*outcome.result else { return };
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

/// Tells an operation that the kernel refused. The answer is the line.
pub fn refused(op: &Op, why: &OpError) -> String {
    let line = why.explain(op).to_string();
    error!(id = "table-refused", "{line}");
    line
}
