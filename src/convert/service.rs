//! One service. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::draft::{CheckDraft, Pair, ServerDraft, ServiceDraft};
use crate::config::resolve::kernel::FLAGS;
use crate::config::yaml::leaf::written;
use crate::config::yaml::names::{has_body, name_of};
use crate::convert::comments::{Comments, Remarks};
use crate::convert::common::{
    Common, Setting, asks, check_lines, file, forward, lines as settings_lines, one_way, settings,
};
use crate::convert::text::{bytes, scalar};
use crate::convert::{Line, taken};
use crate::model::{Family, ServiceKey};
use crate::probe::options::Given;
use crate::probe::{self, Kind};

/// The lines of a service; none for one that the kernel refuses.
pub(super) fn lines(service: &ServiceDraft, common: &Common, comments: &mut Comments) -> Option<Vec<Line>> {
    if service.is_out() {
        return None;
    }
    let head = comments.take(&service.line);
    let mut lines: Vec<Line> = Vec::new();
    if let Some(said) = &service.name {
        lines.push(Line::with(format!("name: {}", scalar(&said.value)), taken(&said.span, comments)));
    }
    lines.extend(address(service.key));
    if let Some(said) = &service.comment {
        lines.push(Line::with(format!("comment: {}", scalar(&said.value)), taken(&said.span, comments)));
    }
    let all = settings(service);
    let own: Vec<&Setting> = all.iter().filter(|setting| !common.has(setting)).collect();
    let some = |wanted: fn(&str) -> bool| own.iter().copied().filter(move |setting| wanted(setting.name));
    lines.extend(settings_lines(some(|name| name == "scheduler"), comments));
    lines.extend(kernel(service, comments));
    lines.extend(settings_lines(some(|name| name == "forward"), comments));
    lines.extend(check_lines(own.iter().copied(), kind(service, comments), comments));
    let policy =
        |name: &str| !name.starts_with("check.") && !matches!(name, "scheduler" | "forward" | "fallback");
    lines.extend(settings_lines(some(policy), comments));
    if let Some(said) = &service.monitor {
        lines.push(Line::with(format!("monitor_file: {}", file(&said.value)), taken(&said.span, comments)));
    }
    lines.extend(common.own_alerts(&service.alert));
    lines.extend(servers(service, comments));
    lines.extend(settings_lines(some(|name| name == "fallback"), comments));
    if let Some(first) = lines.first_mut() {
        first.remarks.above.splice(0..0, head.above);
        first.remarks.beside = head.beside.or(first.remarks.beside.take());
    }
    Some(lines)
}

fn address(key: ServiceKey) -> Vec<Line> {
    match key {
        ServiceKey::Address(protocol, at) => vec![Line::new(format!("listen: [\"{at}/{protocol}\"]"))],
        ServiceKey::Mark(Family::V4, mark) => vec![Line::new(format!("fwmark: {mark}"))],
        ServiceKey::Mark(Family::V6, mark) => {
            vec![Line::new(format!("fwmark: {mark}")), Line::new("family: v6")]
        }
    }
}

/// What the kernel holds beside the scheduler.
fn kernel(service: &ServiceDraft, comments: &mut Comments) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut put = |span, text: String| lines.push(Line::with(text, taken(span, comments)));
    if service.flags.value != 0 {
        put(
            &service.flags.span,
            format!("flags: [{}]", flags(&service.scheduler.value, service.flags.value)),
        );
    }
    if service.one_packet.value {
        put(&service.one_packet.span, "one_packet: true".into());
    }
    if let Some(said) = &service.persistent {
        let time = std::time::Duration::from_secs(said.value.into());
        put(&said.span, format!("persistent: {}", written(time)));
    }
    if service.netmask.span.is_some() {
        let mask = match service.key.family() {
            Family::V4 => Ipv4Addr::from_bits(service.netmask.value).to_string(),
            Family::V6 => service.netmask.value.to_string(),
        };
        put(&service.netmask.span, format!("netmask: {mask}"));
    }
    lines
}

/// The names of flags; those of the scheduler where it has some.
fn flags(scheduler: &str, bits: u32) -> String {
    let name = |bit: u32| {
        let of_bit = FLAGS.iter().filter(|(_, known)| *known == bit);
        let own = of_bit.clone().find(|(name, _)| name.starts_with(&format!("{scheduler}-")));
        own.or(of_bit.clone().find(|(name, _)| name.starts_with("flag-"))).map(|(name, _)| *name)
    };
    let names: Vec<&str> =
        [0x08, 0x10, 0x20].into_iter().filter(|bit| bits & bit != 0).filter_map(name).collect();
    names.join(", ")
}

/// What stands in `check` beside its times.
fn kind(service: &ServiceDraft, comments: &mut Comments) -> Vec<Line> {
    let check = &service.check;
    let Some(kind) = probe::kind(check.kind.value) else { return Vec::new() };
    let mut remarks = taken(&check.kind.span, comments);
    let mut given = Vec::new();
    let mut useless = Vec::new();
    // In the order of the kind's list.
    let rank = |name: &str| kind.options.iter().position(|option| *option == name).unwrap_or(usize::MAX);
    let mut every: Vec<_> = check.options.iter().collect();
    every.sort_by_key(|(name, _)| rank(name));
    for (name, found) in every {
        let said = comments.take(&found.span);
        remarks.above.extend(said.above);
        remarks.above.extend(said.beside);
        match option(kind, name, found) {
            Some(text) => given.push(text),
            None => useless.push(name),
        }
    }
    if !useless.is_empty() {
        remarks.above.push(format!("without effect, and left out: {}", useless.join(", ")));
    }
    let name = match kind.name {
        "on" => "none",
        "off" => "\"off\"",
        name => name,
    };
    let options = if given.is_empty() { "{}".into() } else { format!("{{ {} }}", given.join(", ")) };
    let mut line = Line::with(format!("  {name}: {options}"), remarks);
    if kind.name == "on" && check.kind.span.is_none() {
        line = line.note("never checked: no service was set, and the port has no default one");
    }
    let mut lines = vec![line];
    if let Some(said) = &check.port {
        lines.push(Line::with(format!("  port: {}", said.value), taken(&said.span, comments)));
    } else if let Some(port) = port(service, kind) {
        lines.push(Line::new(format!("  port: {port}")));
    }
    if let Some(said) = &check.connects {
        lines.push(Line::with(format!("  connects: {}", said.value), taken(&said.span, comments)));
    }
    lines
}

/// The port that servers without one are asked at, where the kind does not say it.
fn port(service: &ServiceDraft, kind: &Kind) -> Option<u16> {
    let CheckDraft { standard_port, .. } = service.check;
    let portless =
        !service.servers.is_empty() && service.servers.iter().all(|server| server.address.port() == 0);
    (portless && asks(service) && standard_port != 0 && kind.port != Some(standard_port))
        .then_some(standard_port)
}

/// An option as it is written; none if the kind does not take it.
fn option(kind: &Kind, name: &'static str, given: &Given) -> Option<String> {
    let known = kind.options.contains(&name).then(|| name_of(name, kind.name)).flatten()?;
    let text = bytes(&given.text);
    Some(match name {
        "receive" if has_body(kind.name) => format!("{known}: {{ body: {text} }}"),
        _ => format!("{known}: {text}"),
    })
}

fn servers(service: &ServiceDraft, comments: &mut Comments) -> Vec<Line> {
    let mut lines = Vec::new();
    let one_way = one_way(service).is_some();
    if service.servers.is_empty() {
        lines.push(Line::new("servers: []"));
        return lines;
    }
    lines.push(Line::new("servers:"));
    for server in &service.servers {
        let remarks: Remarks = comments.take(&server.line);
        lines.push(Line::with(format!("  - {{ {} }}", server_text(service, server, one_way)), remarks));
    }
    lines
}

fn server_text(service: &ServiceDraft, server: &ServerDraft, one_way: bool) -> String {
    let at = server.address;
    let mut parts = Vec::new();
    match &server.name {
        Some(name) => {
            parts.push(format!("address: {}", scalar(name)));
            if at.port() != 0 || service.key.port().is_some() {
                parts.push(format!("port: {}", at.port()));
            }
        }
        None => {
            parts.push(format!("address: {}", place(at, server.count)));
            if at.port() == 0 && service.key.port().is_some() {
                parts.push("port: 0".into());
            }
        }
    }
    if server.weight.span.is_some() || server.weight.value.get() != 1 {
        parts.push(format!("weight: {}", server.weight.value));
    }
    if !one_way {
        parts.push(format!("forward: {}", forward(server.forward.value)));
    }
    if server.upper != 0 {
        parts.push(format!("upper: {}", server.upper));
    }
    if server.lower != 0 {
        parts.push(format!("lower: {}", server.lower));
    }
    if let Some(pair) = &server.pair {
        parts.extend(question(service.check.kind.value, pair));
    }
    parts.join(", ")
}

/// What one server is asked, in place of the rest.
fn question(kind: &str, pair: &Pair) -> Option<String> {
    let kind = probe::kind(kind)?;
    let parts = [option(kind, "request", &pair.request), option(kind, "receive", &pair.receive)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("check: {{ {} }}", parts.join(", ")))
}

/// An address, perhaps with a port, or the first and last of a range.
fn place(at: SocketAddr, count: usize) -> String {
    let (ip, port) = (at.ip(), at.port());
    match ip {
        IpAddr::V4(first) if count > 1 => {
            let last = Ipv4Addr::from_bits(first.to_bits().saturating_add(count as u32 - 1));
            let port = if port == 0 { String::new() } else { format!(":{port}") };
            format!("\"{first}-{last}{port}\"")
        }
        ip if port == 0 => format!("\"{ip}\""),
        _ => format!("\"{at}\""),
    }
}
