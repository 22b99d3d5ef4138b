//! The health of one server in one service: what results in a row add up to. Pure.
//!
//! ```text
//!            good                    bad
//! Unknown ────────▶ Up    Unknown ────────▶ Down
//!
//!        bad             bad × fall
//!    Up ─────▶ Failing(n) ─────────▶ Down
//!     ▲ ◀──good──┘                    │ good
//!     └───────────── good × rise ── Recovering(n) ──bad──▶ Down
//! ```
//!
//! With a `fall` (or `rise`) of 1 the state between is never seen. A server that stood in the
//! kernel's table when we came is believed: see [`Health::adopted`].

use std::fmt;

use crate::model::Weight;

/// What is known of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No result yet.
    Unknown,
    /// Well.
    Up,
    /// Well so far, with this many bad results in a row.
    Failing(u32),
    /// Failed.
    Down,
    /// Failed so far, with this many good results in a row.
    Recovering(u32),
}

impl Health {
    /// Health of a server that we find in the kernel's table with this weight: above 0 it is taken
    /// for up and needs `fall` bad results like any other; with 0 it is taken for down, and its
    /// first good result brings it back.
    pub fn adopted(weight: Weight) -> Health {
        if weight.is_live() { Health::Up } else { Health::Down }
    }

    /// Whether the server counts as up.
    pub fn is_up(self) -> bool {
        matches!(self, Health::Up | Health::Failing(_))
    }

    /// Health after one more result. `fall` bad ones in a row take a server down, `rise` good ones
    /// bring it up; the `first` result of all decides alone over a server that is not up.
    pub fn next(self, good: bool, first: bool, fall: u32, rise: u32) -> Health {
        match (self, good) {
            (Health::Unknown, true) => Health::Up,
            (Health::Unknown, false) => Health::Down,
            (Health::Up | Health::Failing(_), true) => Health::Up,
            (Health::Up, false) => Health::failing(1, fall),
            (Health::Failing(n), false) => Health::failing(n.saturating_add(1), fall),
            (Health::Down | Health::Recovering(_), false) => Health::Down,
            (Health::Down | Health::Recovering(_), true) if first => Health::Up,
            (Health::Down, true) => Health::recovering(1, rise),
            (Health::Recovering(n), true) => Health::recovering(n.saturating_add(1), rise),
        }
    }

    fn failing(n: u32, fall: u32) -> Health {
        if n >= fall { Health::Down } else { Health::Failing(n) }
    }

    fn recovering(n: u32, rise: u32) -> Health {
        if n >= rise { Health::Up } else { Health::Recovering(n) }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Unknown => f.write_str("unknown"),
            Health::Up => f.write_str("up"),
            Health::Failing(n) => write!(f, "failing ({n} bad in a row)"),
            Health::Down => f.write_str("down"),
            Health::Recovering(n) => write!(f, "recovering ({n} good in a row)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Health::{Down, Failing, Recovering, Unknown, Up};
    use super::*;

    /// The whole table: health, result, whether it is the first one, and health afterwards, with
    /// fall 3 and rise 2.
    #[test]
    fn every_transition_is_as_the_table_says() {
        let table = [
            (Unknown, true, true, Up),
            (Unknown, false, true, Down),
            (Up, true, false, Up),
            (Up, false, false, Failing(1)),
            (Up, true, true, Up),
            (Up, false, true, Failing(1)),
            (Failing(1), true, false, Up),
            (Failing(1), false, false, Failing(2)),
            (Failing(2), true, false, Up),
            (Failing(2), false, false, Down),
            (Down, true, false, Recovering(1)),
            (Down, false, false, Down),
            (Down, true, true, Up),
            (Down, false, true, Down),
            (Recovering(1), true, false, Up),
            (Recovering(1), false, false, Down),
        ];
        for (before, good, first, after) in table {
            assert_eq!(before.next(good, first, 3, 2), after, "{before} good={good} first={first}");
        }
    }

    #[test]
    fn with_fall_and_rise_of_one_a_single_result_decides() {
        for before in [Unknown, Up, Down] {
            assert_eq!(before.next(true, false, 1, 1), Up);
            assert_eq!(before.next(false, false, 1, 1), Down);
        }
    }

    #[test]
    fn an_adopted_server_is_believed() {
        assert_eq!(Health::adopted(Weight::ONE), Up);
        assert_eq!(Health::adopted(Weight::ZERO), Down);
    }

    #[test]
    fn a_counter_at_its_limit_does_not_overflow() {
        assert_eq!(Failing(u32::MAX).next(false, false, u32::MAX, 1), Down);
        assert_eq!(Recovering(u32::MAX).next(true, false, 1, u32::MAX), Up);
    }
}
