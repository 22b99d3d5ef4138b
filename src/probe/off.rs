//! `off`: the server is out and counts as down, unchecked.

use super::{Check, Kind};

/// The kind.
pub static KIND: Kind = Kind {
    name: "off",
    doc: "never in service, without a check",
    port: None,
    options: &[],
    make: |_, _| Ok(Check::Off),
};
