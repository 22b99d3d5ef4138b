//! `on`: the server is up, unchecked.

use super::{Check, Kind};

/// The kind.
pub static KIND: Kind = Kind {
    name: "on",
    doc: "up at once, without a check",
    port: None,
    options: &[],
    make: |_, _| Ok(Check::On),
};
