//! How servers leave and come back: `drain`, `hold`, `slow_start`, `fail_open`. Pure.

use std::time::Duration;

use crate::config::diagnostic::Faults;
use crate::config::draft::Said;
use crate::config::yaml::fields::Fields;
use crate::config::yaml::leaf::Item;
use crate::config::yaml::node::Value;
use crate::model::{FailOpen, Hold, Removal};
use crate::span::Fault;

/// The words of `fail_open`.
pub const FAIL_OPEN: [(&str, FailOpen); 3] =
    [("off", FailOpen::No), ("keep_last", FailOpen::KeepLast), ("keep_all", FailOpen::KeepAll)];

/// How long a server that is taken out on purpose may keep its connections, where nothing is said.
const DRAIN: Duration = Duration::from_secs(300);

/// What is said; nothing inherited, no default.
#[derive(Debug, Clone, Default)]
pub struct PolicySettings {
    /// How servers leave that are taken out on purpose.
    removal: Option<Said<Removal>>,
    /// What keeps a server out that fails again and again; none for `off`.
    hold: Option<Said<Option<Hold>>>,
    /// How long a server that comes up takes to get its whole weight; none for `off`.
    slow_start: Option<Said<Option<Duration>>>,
    /// Whether a server that is up with weight 0 keeps the fallback out.
    zero_serves: Option<Said<bool>>,
    /// Who serves when no fallback can.
    fail_open: Option<Said<FailOpen>>,
}

impl PolicySettings {
    /// Reads them.
    pub fn read(fields: &Fields, faults: &mut Faults) -> PolicySettings {
        PolicySettings {
            removal: fields.take("drain", faults, removal),
            hold: fields.get("hold").and_then(|item| hold(&item, faults)),
            slow_start: fields.take("slow_start", faults, time_or_off),
            zero_serves: fields.take("zero_serves", faults, Item::flag),
            fail_open: fields.take("fail_open", faults, |item| item.one_of(&FAIL_OPEN)),
        }
    }

    /// These, and where they are silent, the others.
    pub fn or(self, other: &PolicySettings) -> PolicySettings {
        PolicySettings {
            removal: self.removal.or_else(|| other.removal.clone()),
            hold: self.hold.or_else(|| other.hold.clone()),
            slow_start: self.slow_start.or_else(|| other.slow_start.clone()),
            zero_serves: self.zero_serves.or_else(|| other.zero_serves.clone()),
            fail_open: self.fail_open.or_else(|| other.fail_open.clone()),
        }
    }

    /// How servers leave that are taken out on purpose.
    pub fn removal(&self) -> Said<Removal> {
        self.removal.clone().unwrap_or(Said::default(Removal::Drain(DRAIN)))
    }

    /// What keeps a server out that fails again and again.
    pub fn hold(&self) -> Option<Said<Hold>> {
        self.hold.clone().and_then(some)
    }

    /// How long a server that comes up takes to get its whole weight.
    pub fn slow_start(&self) -> Option<Said<Duration>> {
        self.slow_start.clone().and_then(some)
    }

    /// Whether a server that is up with weight 0 keeps the fallback out.
    pub fn zero_serves(&self) -> Said<bool> {
        self.zero_serves.clone().unwrap_or(Said::default(false))
    }

    /// Who serves when no fallback can.
    pub fn fail_open(&self) -> Said<FailOpen> {
        self.fail_open.clone().unwrap_or(Said::default(FailOpen::No))
    }
}

fn some<T>(said: Said<Option<T>>) -> Option<Said<T>> {
    Some(Said { value: said.value?, span: said.span })
}

fn is_off(item: &Item) -> bool {
    matches!(&item.node.value, Value::Text(text) if text == "off")
}

fn time_or_off(item: &Item) -> Result<Said<Option<Duration>>, Fault> {
    if is_off(item) {
        return Ok(Said::at(None, item.span()));
    }
    let said = item.time()?;
    Ok(Said { value: Some(said.value), span: said.span })
}

fn removal(item: &Item) -> Result<Said<Removal>, Fault> {
    let said = time_or_off(item)?;
    Ok(Said { value: said.value.map_or(Removal::AsFailed, Removal::Drain), span: said.span })
}

/// `{ falls: 3, within: 5m, time: 10m }`, or `off`.
fn hold(item: &Item, faults: &mut Faults) -> Option<Said<Option<Hold>>> {
    if is_off(item) {
        return Some(Said::at(None, item.span()));
    }
    let names = ["falls", "within", "time"];
    let fields = Fields::read(item.node, "`hold`", &names, faults)?;
    let falls = fields.take("falls", faults, |item| item.number(2, 1000));
    let within = fields.take("within", faults, Item::time);
    let time = fields.take("time", faults, Item::time);
    if names.iter().any(|name| fields.get(name).is_none()) {
        let fault = Fault::error(item.span(), "`hold` needs `falls`, `within` and `time`");
        faults.push(fault.help("hold: { falls: 3, within: 5m, time: 10m }, or off"));
    }
    let hold = Hold { falls: falls?.value, within: within?.value, time: time?.value };
    Some(Said::at(Some(hold), item.span()))
}
