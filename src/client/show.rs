//! Answers as text for people. Pure. What came from servers or operators may not reach a terminal as it is:
//! control characters are replaced.

use std::fmt::Write;

use crate::http::ask::{Happening, Reloaded};
use crate::http::explain::{Details, Explained};
use crate::http::request::Turned;
use crate::http::status::{Done, Server, Service, State, Status};

/// A text without control characters, line ends aside.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// The table of services and servers.
pub(super) fn status(status: &Status) -> String {
    let mut rows = vec![["SERVICE", "STATE", "WEIGHT", "SINCE", "WHY"].map(str::to_owned)];
    for service in &status.services {
        let why = service.fallback.as_ref().map(|at| format!("fallback {at} serves")).unwrap_or_default();
        let scheduler = service.scheduler.clone();
        rows.push([title(service), state(service.state).into(), scheduler, String::new(), why]);
        rows.extend(service.servers.iter().map(row));
    }
    for gone in &status.leaving {
        let open = gone.connections.map(|open| format!("{open} connections")).unwrap_or_default();
        let name = format!("  {} ({})", gone.server, gone.service);
        rows.push([name, "leaving".into(), "0".into(), String::new(), open]);
    }
    let mut text = table(&rows);
    for order in &status.orders {
        let reason = order.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let until = order.until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(text, "order: {} {}{reason}, given {}{until}", order.order, order.whom, order.given);
    }
    if !status.active {
        let _ = writeln!(text, "standby, the kernel is left alone: {}", status.role);
    }
    if let Some(unwell) = &status.unwell {
        let _ = writeln!(text, "this director is unwell: {unwell}");
    }
    if status.probes.overloaded {
        let (stretch, late) = (status.probes.stretch as f64 / 100.0, status.probes.late_ms);
        let _ = writeln!(
            text,
            "overloaded: intervals of checks are {stretch:.1} times as long as they should be, checks begin up to {late} ms late"
        );
    }
    if status.stopping {
        text.push_str("the daemon is about to end\n");
    }
    plain(&text)
}

fn title(service: &Service) -> String {
    match &service.name {
        Some(name) => format!("{} ({name})", service.service),
        None => service.service.clone(),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Fallback => "fallback",
        State::Down => "down",
        State::Waiting => "waiting",
    }
}

fn row(server: &Server) -> [String; 5] {
    let weight = server.weight.map_or_else(|| "-".into(), |weight| weight.to_string());
    let open = server.kernel.as_ref().and_then(|kernel| kernel.connections);
    let open = open.filter(|_| server.weight == Some(0)).map(|open| format!("; {open} connections"));
    let why = server.why.clone() + &open.unwrap_or_default();
    [format!("  {}", server.server), server.rule.clone(), weight, ago(server.seconds), why]
}

/// Columns as wide as they must be; the last one ends where it ends.
fn table(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        line.push_str(&row[4]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How long, in the two largest units.
fn ago(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

/// Services and servers, explained.
pub(super) fn explained(all: &[Explained]) -> String {
    let mut text = String::new();
    for one in all {
        let service = &one.service;
        let (title, state) = (title(service), state(service.state));
        let serves =
            service.fallback.as_ref().map(|at| format!(": fallback {at} serves")).unwrap_or_default();
        let _ = writeln!(text, "{title} is {state}{serves}  [{}]", service.origin);
        let _ = writeln!(text, "  scheduler {}", service.scheduler);
        each(&mut text, "  ", &one.policy);
        for fallback in &one.fallbacks {
            let up = if fallback.up { "up" } else { "down" };
            let _ = writeln!(text, "  fallback {} ({up})", fallback.server);
        }
        match &one.kernel {
            None => text.push_str("  the kernel has no such service, as far as is known\n"),
            Some(lines) if lines.is_empty() => text.push_str("  kernel: no servers\n"),
            Some(lines) => each(&mut text, "  kernel: ", lines),
        }
        for (server, details) in service.servers.iter().zip(&one.details) {
            explain(server, details, &mut text);
        }
    }
    plain(&text)
}

fn each(text: &mut String, before: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{before}{line}");
    }
}

fn explain(server: &Server, details: &Details, text: &mut String) {
    let weight = server.weight.map_or_else(|| "not in the table".into(), |weight| format!("weight {weight}"));
    let (at, configured) = (&server.server, details.configured);
    let _ = writeln!(text, "\n  {at}: {weight} (configured {configured})  [{}]", server.origin);
    let _ = writeln!(text, "    rule: {} ({})", details.rule, server.rule);
    let _ =
        writeln!(text, "    health: {}, since {} ({})", details.health, server.since, ago(server.seconds));
    each(text, "    reason: ", &details.reasons);
    for result in &details.results {
        let good = if result.good { "good" } else { "bad" };
        let _ = writeln!(text, "    result: {} {good}: {}", result.time, result.text);
    }
    match &server.kernel {
        Some(kernel) => {
            let open = kernel.connections.map(|open| format!(", {open} connections")).unwrap_or_default();
            let _ = writeln!(text, "    kernel: {} weight {}{open}", kernel.entry, kernel.weight);
        }
        None => text.push_str("    kernel: not there\n"),
    }
    each(text, "    would change it: ", &details.next);
}

/// One line for what happened.
pub(super) fn happening(one: &Happening) -> String {
    plain(&format!("{} {}: {}", one.time, one.id, one.text.replace('\n', " "))) + "\n"
}

/// What came of an order.
pub(super) fn done(done: &Done, how: &str) -> String {
    let mut text = String::new();
    if done.orders.is_empty() {
        text.push_str("nothing was ordered\n");
    }
    for order in &done.orders {
        let reason = order.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let until = order.until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        let _ = writeln!(text, "{how}{} {}{reason}{until}", order.order, order.whom);
    }
    for server in &done.servers {
        let _ = writeln!(text, "  {} ({}): {}", server.server, server.service, server.why);
    }
    plain(&text)
}

/// Those of the servers concerned that are not drained yet, with their connections.
pub(super) fn draining(status: &Status, done: &Done) -> String {
    let mut text = String::new();
    for service in &status.services {
        for server in &service.servers {
            let same = |c: &crate::http::status::Concerned| {
                c.service == service.service && c.server == server.server
            };
            if server.rule != "draining" || !done.servers.iter().any(same) {
                continue;
            }
            let open = server.kernel.as_ref().and_then(|kernel| kernel.connections);
            let open =
                open.map_or_else(|| "connections are counted".into(), |open| format!("{open} connections"));
            let _ = writeln!(text, "  {} ({}): {open}", server.server, service.service);
        }
    }
    plain(&text)
}

/// Which role the daemon has now.
pub(super) fn turned(turned: &Turned) -> String {
    let role = if turned.active { "active" } else { "standby" };
    let before = if turned.turned { "" } else { ", as before" };
    format!("{role}{before}\n")
}

/// What a reload changed.
pub(super) fn reloaded(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    if reloaded.changes.is_empty() {
        text.push_str("no service and no server changed\n");
    }
    each(&mut text, "", &reloaded.changes);
    let (errors, warnings) = (reloaded.errors, reloaded.warnings);
    let hint = if errors + warnings > 0 { ": `lvsentry check` shows them" } else { "" };
    let _ = writeln!(text, "in force; {errors} errors, {warnings} warnings{hint}");
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_their_two_largest_units() {
        let shown = [0, 59, 61, 3_599, 3_600, 90_061].map(ago);
        assert_eq!(shown, ["0s", "59s", "1m1s", "59m59s", "1h0m", "1d1h"]);
    }

    #[test]
    fn what_a_server_says_can_not_reach_the_terminal_as_it_is() {
        let evil = Happening {
            number: 1,
            time: "now".into(),
            id: "server-up".into(),
            service: None,
            server: None,
            text: "\u{1b}[2Jwell\nforged line".into(),
        };
        assert_eq!(happening(&evil), "now server-up:  [2Jwell forged line\n");
    }
}
