//! Mappings: names and their values, each once, unknown ones told. Pure.

use crate::config::diagnostic::Faults;
use crate::config::suggest::closest;
use crate::config::yaml::leaf::{Item, shown};
use crate::config::yaml::node::{Node, Value};
use crate::span::{Fault, Span};

/// The entries of a mapping.
#[derive(Debug, Clone)]
pub struct Fields<'n> {
    entries: Vec<Item<'n>>,
    /// Where the mapping begins.
    pub span: Span,
}

/// What ldirectord calls a thing, and what it is called here.
const OTHER_NAMES: [(&str, &str); 31] = [
    ("virtual", "listen"),
    ("virtual6", "listen"),
    ("real", "servers"),
    ("real6", "servers"),
    ("fallback6", "fallback"),
    ("fallbackcommand", "fallback_command"),
    ("protocol", "listen: [\"192.0.2.1:53/udp\"]"),
    ("schedflags", "flags"),
    ("ops", "one_packet"),
    ("checktype", "check"),
    ("service", "check"),
    ("checkcommand", "check: { external: { command: ... } }"),
    ("checkport", "check: { port: ... }"),
    ("checktimeout", "check: { timeout: ... }"),
    ("negotiatetimeout", "check: { timeout: ... }"),
    ("checkinterval", "check: { interval: ... }"),
    ("failurecount", "check: { fall: ... }"),
    ("quiescent", "on_failure: quiesce"),
    ("cleanstop", "clean_stop"),
    ("maintenancedir", "maintenance_dir"),
    ("monitorfile", "monitor_file"),
    ("servicename", "name"),
    ("emailalert", "alerts: [{ mail: { to: [...] } }]"),
    ("emailalertfrom", "alerts: [{ mail: { from: ... } }]"),
    ("emailalertfreq", "alerts: [{ mail: { again: ... } }]"),
    ("emailalertstatus", "alerts: [{ mail: { when: [...] } }]"),
    ("smtp", "alerts: [{ mail: { smtp: ... } }]"),
    ("logfile", "log: { file: ... }"),
    ("supervised", "log: stdout"),
    ("receive", "expect"),
    ("virtualhost", "host"),
];

impl<'n> Fields<'n> {
    /// The entries of `node`, called `what` in messages; `known` are the names that it may have.
    pub fn read(
        node: &'n Node,
        what: &str,
        known: &[&'static str],
        faults: &mut Faults,
    ) -> Option<Fields<'n>> {
        let Value::Map(all) = &node.value else {
            let fault =
                Fault::error(node.span.clone(), format!("{what} must be a mapping: lines of `NAME: VALUE`"));
            faults.push(fault.help(format!("the names are {}", known.join(", "))));
            return None;
        };
        let mut entries: Vec<Item> = Vec::with_capacity(all.len());
        for (name, value) in all {
            let item = Item { name: &name.text, node: value };
            if !known.contains(&item.name) {
                faults.push(unknown(&name.text, name.span.clone(), what, known));
            } else if entries.iter().any(|entry| entry.name == item.name) {
                let fault =
                    Fault::error(name.span.clone(), format!("`{}` is given twice in {what}", name.text));
                faults.push(fault.help("remove one of the two"));
            } else {
                entries.push(item);
            }
        }
        Some(Fields { entries, span: node.span.clone() })
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<Item<'n>> {
        self.entries.iter().copied().find(|entry| entry.name == name)
    }

    /// The value of a name, read; what is wrong with it goes to `faults`.
    pub fn take<T>(
        &self,
        name: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Item<'n>) -> Result<T, Fault>,
    ) -> Option<T> {
        faults.keep(read(&self.get(name)?))
    }

    /// All values, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = Item<'n>> + '_ {
        self.entries.iter().copied()
    }
}

fn unknown(name: &str, span: Span, what: &str, known: &[&'static str]) -> Fault {
    let help = match (closest(name, known.iter().copied()), OTHER_NAMES.iter().find(|(old, _)| *old == name))
    {
        (None, Some((_, new))) => format!("here this is `{new}`"),
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, None) if known.is_empty() => "it has no names at all".into(),
        (None, None) => format!("the names are {}", known.join(", ")),
    };
    Fault::error(span, format!("{} is no name that {what} has", shown(name))).help(help)
}
