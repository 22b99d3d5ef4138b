//! On how many threads is asked. Pure.

use std::fmt;
use std::str::FromStr;

/// Most threads that may be asked for.
pub const MOST: usize = 64;

/// So many checks a second are little enough for one thread; half a processor's worth on one that is slow.
const SHARE: f64 = 2500.0;

/// On how many threads is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as the checks need, and not more than there are processors.
    Auto,
    /// So many, from 1 to [`MOST`]; 1: the one that does all else too.
    Some(usize),
}

impl Workers {
    /// How many threads these are, for so many checks a second on so many processors.
    pub fn count(self, rate: f64, processors: usize) -> usize {
        match self {
            Workers::Auto => (rate / SHARE).ceil().clamp(1.0, processors.clamp(1, MOST) as f64) as usize,
            Workers::Some(count) => count,
        }
    }
}

impl Default for Workers {
    fn default() -> Workers {
        Workers::Some(1)
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Auto => f.write_str("auto"),
            Workers::Some(count) => count.fmt(f),
        }
    }
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Workers, String> {
        let number = || text.parse().ok().filter(|count| (1..=MOST).contains(count));
        match text {
            "auto" => Ok(Workers::Auto),
            _ => number().map(Workers::Some).ok_or_else(|| format!("auto, or a number from 1 to {MOST}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_are_needed_and_as_there_are_processors() {
        let auto = |rate| Workers::Auto.count(rate, 4);
        assert_eq!([0.0, 100.0, 2500.0, 2501.0, 10_000.0, 1e9].map(auto), [1, 1, 1, 2, 4, 4]);
        assert_eq!(Workers::Auto.count(1e9, 0), 1);
        assert_eq!(Workers::Auto.count(1e9, 1000), MOST);
        assert_eq!(Workers::Some(3).count(1.0, 1), 3);
    }

    #[test]
    fn what_is_read_is_what_is_shown() {
        for text in ["auto", "1", "64"] {
            assert_eq!(text.parse::<Workers>().map(|workers| workers.to_string()), Ok(text.into()));
        }
        for text in ["", "0", "65", "-1", "two", "1.5", "Auto", "99999999999999999999"] {
            assert!(text.parse::<Workers>().is_err(), "{text}");
        }
    }
}
