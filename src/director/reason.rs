//! Why: the rule that decides a server's weight, and the reasons that keep one out beside its health. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::order::Order;
use crate::model::Moment;

/// How long evidence of our own illness delays the removal of a server.
pub const SPARE: Duration = Duration::from_secs(30);

/// Why a server is out, beside its health. It comes back when there is no such reason left and a check
/// that was asked since is good.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// A maintenance file of this name.
    Maintenance(Arc<str>),
    /// An operator drains or disables it.
    Order(Arc<Order>),
    /// It failed again and again, and has to wait until then.
    Hold(Moment),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Maintenance(file) => write!(f, "maintenance file {file}"),
            Reason::Order(order) => write!(f, "order: {order}"),
            Reason::Hold(_) => f.write_str("on hold, since it fell again and again"),
        }
    }
}

/// Why a server's weight is what it is: the rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is up: its configured weight.
    Up,
    /// It is never checked and counts as up (`checktype=on`): its configured weight.
    On,
    /// It is never checked and counts as down (`checktype=off`).
    Off,
    /// It was not checked yet, and nobody unverified gets traffic: not in the table.
    NotChecked,
    /// It stood in the table when we came and no check has spoken yet: left as it is.
    Adopted,
    /// It failed.
    Failed,
    /// A maintenance file takes it out.
    Maintenance,
    /// An operator drains it: it stands without new connections.
    Draining,
    /// An operator drains it, and that is done: not in the table.
    Drained,
    /// An operator disabled it: not in the table.
    Disabled,
    /// It fell again and again, and has to wait.
    Hold,
    /// Nothing takes it out any more, and no check asked since has spoken.
    Waiting,
    /// It is up, and somebody set this weight with a tool of his own.
    ByHand,
    /// It is up, and an operator ordered this weight.
    Ordered,
    /// It is up since not long: a share of its configured weight.
    Rising,
    /// It failed, with evidence that we are the reason: it stays for a while.
    Spared,
    /// It failed, and stays since nobody else is left (`fail_open`).
    Kept,
}

impl Rule {
    /// Whether the server counts as up by it.
    pub fn is_up(self) -> bool {
        matches!(self, Rule::Up | Rule::On | Rule::ByHand | Rule::Ordered | Rule::Rising)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Up => "up",
            Rule::On => "not checked, taken for up (checktype=on)",
            Rule::Off => "not checked, taken for down (checktype=off)",
            Rule::NotChecked => "not checked yet",
            Rule::Adopted => "found in the table, not checked yet",
            Rule::Failed => "failed its check",
            Rule::Maintenance => "in maintenance",
            Rule::Draining => "drained by an operator",
            Rule::Drained => "drained by an operator, no connections left",
            Rule::Disabled => "disabled by an operator",
            Rule::Hold => "on hold, since it fell again and again",
            Rule::Waiting => "waits for its next good check",
            Rule::ByHand => "weight set by hand",
            Rule::Ordered => "weight ordered by an operator",
            Rule::Rising => "up, its weight is growing (slow start)",
            Rule::Spared => "failed its check, and stays for a while: this director is unwell",
            Rule::Kept => "failed its check, and stays since nobody else is left (fail_open)",
        })
    }
}
