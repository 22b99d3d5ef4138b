//! Whether probes keep their interval. Pure: what was counted comes in, a change comes out.
//!
//! A window is stretched when more than one in twenty of the checks that were due in it were left out since
//! the one before began late. Two in a row are an overload, which is over with two that are not: a process
//! that was stopped for a moment is late once, and that is none.

use std::iter::Sum;
use std::time::Duration;

/// How long is counted at a time.
pub const WINDOW: Duration = Duration::from_secs(5);

/// How far intervals are stretched, in percent of what they should be, when that is too far.
const TOO_FAR: u64 = 105;

/// How far they may be when all is well again.
const WELL: u64 = 101;

/// How many windows in a row it takes to believe them.
const SURE: u32 = 2;

/// What was counted in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many probes began.
    pub begun: u64,
    /// How many were left out, since the one before began late.
    pub missed: u64,
    /// How many waited since as many as descriptors allow were under way.
    pub waited: u64,
    /// How late the latest of them began.
    pub worst: Duration,
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Count>>(counts: I) -> Count {
        counts.fold(Count::default(), |all, one| Count {
            begun: all.begun + one.begun,
            missed: all.missed + one.missed,
            waited: all.waited + one.waited,
            worst: all.worst.max(one.worst),
        })
    }
}

impl Count {
    /// How long intervals are in truth, in percent of what they should be.
    pub fn stretch(&self) -> u64 {
        (100 * (self.begun + self.missed)).checked_div(self.begun).unwrap_or(100)
    }
}

/// What is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Probes can't keep their interval.
    Overloaded,
    /// They can again.
    Over,
}

/// What is known of how probes keep their interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// The last window.
    pub last: Count,
    /// Whether they can't.
    pub overloaded: bool,
    /// How many windows in a row speak against that.
    against: u32,
}

impl Load {
    /// A window has ended that lasted so long.
    pub fn counted(&mut self, count: Count, lasted: Duration) -> Option<Change> {
        self.last = count;
        // Nobody knows how much of it this process was let run, or nobody was to be asked.
        if lasted > WINDOW * 2 || count.begun == 0 {
            return None;
        }
        let stretch = count.stretch();
        let against = if self.overloaded { stretch <= WELL } else { stretch > TOO_FAR };
        self.against = if against { self.against + 1 } else { 0 };
        if self.against < SURE {
            return None;
        }
        self.against = 0;
        self.overloaded = !self.overloaded;
        Some(if self.overloaded { Change::Overloaded } else { Change::Over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(begun: u64, missed: u64) -> Count {
        Count { begun, missed, ..Count::default() }
    }

    /// What follows from windows of the usual length, one after the other.
    fn changes(windows: &[Count]) -> Vec<Option<Change>> {
        let mut load = Load::default();
        windows.iter().map(|count| load.counted(*count, WINDOW)).collect()
    }

    #[test]
    fn an_overload_is_told_once_and_its_end_once() {
        let (well, ill) = (window(1000, 0), window(500, 500));
        let seen = changes(&[well, ill, ill, ill, ill, well, well, well, ill, ill]);
        let (begins, ends) = (Some(Change::Overloaded), Some(Change::Over));
        assert_eq!(seen, [None, None, begins, None, None, None, ends, None, None, begins]);
    }

    #[test]
    fn one_late_moment_is_no_overload_and_one_good_one_not_its_end() {
        let (well, ill) = (window(1000, 0), window(1000, 9000));
        assert_eq!(changes(&[ill, well, ill, well, ill, well]), [None; 6]);
        let seen = changes(&[ill, ill, well, ill, well, ill, well]);
        assert_eq!(seen.iter().flatten().count(), 1);
    }

    #[test]
    fn between_too_far_and_well_nothing_changes() {
        let (little, ill) = (window(1000, 30), window(1000, 60));
        assert_eq!(changes(&[little, little, little]), [None; 3]);
        assert_eq!(changes(&[ill, ill, little, little, little])[2..], [None; 3]);
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let mut load = Load::default();
        let ill = window(10, 90);
        // Stopped for long, and what was late then comes in the window after.
        assert_eq!(load.counted(ill, WINDOW * 3), None);
        assert_eq!(load.counted(ill, WINDOW), None);
        // Probes that are asked once a minute leave windows empty.
        assert_eq!(load.counted(window(0, 0), WINDOW), None);
        assert_eq!(load.counted(ill, WINDOW), Some(Change::Overloaded));
        assert_eq!(load.last.stretch(), 1000);
    }
}
