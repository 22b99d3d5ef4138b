//! What servers are called in a monitor file. Pure.

use crate::config::draft::{CheckDraft, Pair, ServiceDraft};
use crate::model::{Protocol, Server, ServiceKey};

/// The names of the servers, as ldirectord puts them together: how it is checked, protocol, address,
/// port, virtualhost, checkport, weight, method, request and receive, those that are not there left out.
pub fn names(draft: &ServiceDraft, servers: &[Server]) -> Vec<String> {
    servers.iter().map(|server| name(draft, server)).collect()
}

fn name(draft: &ServiceDraft, server: &Server) -> String {
    let check = &draft.check;
    let pair = pair(draft, server);
    let text = |name: &str| {
        let own = pair.map(|pair| if name == "request" { &pair.request } else { &pair.receive });
        let given = own.filter(|_| name == "request" || name == "receive").or(check.options.get(name));
        given.map(|given| String::from_utf8_lossy(&given.text).into_owned()).unwrap_or_default()
    };
    let (way, what) = way(check, &text("checkcommand"));
    let request = text("request");
    let request = if request.starts_with('/') { request } else { format!("/{request}") };
    let port = check.port.as_ref().map(|said| said.value.to_string()).unwrap_or_default();
    let fields = [
        way.to_owned(),
        what,
        protocol(draft.key).to_owned(),
        server.address.ip().to_string(),
        server.address.port().to_string(),
        text("virtualhost"),
        port,
        server.weight.to_string(),
        server.forward.to_string(),
        request,
    ];
    let shown = fields.iter().filter(|field| !field.is_empty()).map(|field| tidy(field));
    format!("{} {}", shown.collect::<Vec<_>>().join(" "), tidy(&text("receive")))
}

fn pair<'d>(draft: &'d ServiceDraft, server: &Server) -> Option<&'d Pair> {
    let line = draft.servers.iter().find(|line| line.addresses().any(|at| at == server.address))?;
    line.pair.as_ref()
}

fn way<'c>(check: &'c CheckDraft, command: &str) -> (&'c str, String) {
    match check.kind.value {
        kind @ ("connect" | "ping" | "on" | "off") => (kind, String::new()),
        kind @ ("external" | "external-perl") => (kind, command.to_owned()),
        kind if check.connects.is_some() => ("combined", kind.to_owned()),
        kind => ("negotiate", kind.to_owned()),
    }
}

fn protocol(key: ServiceKey) -> &'static str {
    match key {
        ServiceKey::Address(Protocol::Udp, _) => "udp",
        ServiceKey::Address(..) => "tcp",
        ServiceKey::Mark(..) => "fwm",
    }
}

/// A field as it stands in the file: colons are blanks, backslashes left out.
fn tidy(field: &str) -> String {
    field.replace('\\', "").replace(':', " ")
}
