//! Who keeps the table, and what is run around it. Pure.

use std::net::IpAddr;

use crate::config::diagnostic::Faults;
use crate::config::draft::{RoleHooksDraft, Said, ServiceHooksDraft};
use crate::config::role::{OnDemote, Role};
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::Item;
use crate::config::yaml::node::Value;
use crate::span::Fault;

/// The words of `on_demote`.
pub const ON_DEMOTE: [(&str, OnDemote); 2] = [("leave", OnDemote::Leave), ("remove", OnDemote::Remove)];

/// What else than a word `role` can be.
const HELP: &str = "active, standby, { file: /run/lvsentry.active } or { address: 192.0.2.10 }";

/// `active`, `standby`, `{ file: PATH }` or `{ address: ADDRESS }`.
pub fn role(item: &Item, faults: &mut Faults) -> Option<Said<Role>> {
    let wrong = || item.refuse("a role", HELP);
    if let Value::Text(text) = &item.node.value {
        return match text.as_str() {
            "active" => Some(Said::at(Role::Active, item.span())),
            "standby" => Some(Said::at(Role::Standby, item.span())),
            _ => faults.keep(Err(wrong())),
        };
    }
    let fields = Fields::read(item.node, "`role`", &["file", "address"], faults)?;
    match (fields.get("file"), fields.get("address")) {
        (Some(file), None) => {
            let path = faults.keep(file.path())?;
            if !path.value.is_absolute() {
                faults.push(file.refuse("an absolute path", "for instance /run/lvsentry.active"));
            }
            Some(Said { value: Role::File(path.value), span: path.span })
        }
        (None, Some(address)) => {
            let ip = faults.keep(ip(&address))?;
            Some(Said { value: Role::Address(ip.value), span: ip.span })
        }
        _ => faults.keep(Err(wrong())),
    }
}

fn ip(item: &Item) -> Result<Said<IpAddr>, Fault> {
    let parsed = item.text()?.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    let wrong = || item.refuse("an address", "one that a host can have, without port or length: 192.0.2.10");
    parsed.map(|ip| Said::at(ip, item.span())).ok_or_else(wrong)
}

/// The `hooks` of the whole file.
pub fn hooks(item: &Item, faults: &mut Faults) -> Option<RoleHooksDraft> {
    let fields = Fields::read(item.node, "`hooks` of the file", &["promote", "demote"], faults)?;
    let promote = fields.take("promote", faults, command);
    let demote = fields.take("demote", faults, command);
    Some(RoleHooksDraft { promote, demote })
}

/// The `hooks` of `defaults` or of a service.
pub fn service_hooks(item: &Item, faults: &mut Faults) -> Option<ServiceHooksDraft> {
    let fields = Fields::read(item.node, "`hooks` of a service", &["up", "down", "fallback"], faults)?;
    let up = fields.take("up", faults, command);
    let down = fields.take("down", faults, command);
    let fallback = fields.take("fallback", faults, command);
    Some(ServiceHooksDraft { up, down, fallback })
}

/// A line for the shell; an empty one runs nothing, whatever `defaults` say.
fn command(item: &Item) -> Result<Said<String>, Fault> {
    let line = item.line()?;
    let value = line.value.trim().to_owned();
    Ok(Said { value, span: line.span })
}
