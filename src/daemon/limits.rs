//! What this process may use, and what is told when that is not enough: descriptors, threads, time.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Daemon;
use super::load::{Change, Count};
use crate::config::Config;
use crate::http::ask::Pace;

/// Descriptors that are not for probes: log, netlink, runtime, files being read.
const RESERVED: u64 = 64;

/// Raises the limit of descriptors as far as it goes: to the hard one, and beyond where that is not
/// enough for so many probes and this process may. The answer is how many probes may be in flight at once.
pub(super) fn raise(probes: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = needed(probes);
        if hard < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
            return Ok(wanted);
        }
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    let limit = limit.unwrap_or_else(|why| {
        warn!(id = "limit", "cannot raise the limit of open files: {why}; assuming 1024");
        1024
    });
    slots(limit)
}

/// How many descriptors it takes to ask so many at once.
fn needed(probes: usize) -> u64 {
    probes as u64 + RESERVED
}

/// How many may be asked at once with so many descriptors.
fn slots(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX).clamp(16, 1 << 20)
}

/// Tells when not every probe of a configuration can be under way at once.
pub(super) fn tell(slots: usize, config: &Config) {
    if let Some(text) = shortage(slots, config.inquiries.len()) {
        warn!(id = "limit", "{text}");
    }
}

fn shortage(slots: usize, probes: usize) -> Option<String> {
    let needed = needed(probes);
    (probes > slots).then(|| {
        format!(
            "the limit of open files allows {slots} checks at a time and there are {probes}: when many servers \
             hang, checks of others have to wait. {needed} files are enough: LimitNOFILE={needed} in the unit, \
             or `ulimit -n {needed}` before the start"
        )
    })
}

/// On how many threads the checks of a configuration are to be asked.
pub(super) fn workers(config: &Config) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let rate = config.inquiries.values().map(|inquiry| inquiry.interval.as_secs_f64().recip()).sum();
    config.workers.count(rate, processors)
}

impl Daemon {
    /// Tells when probes can no longer keep their interval, and when they can again.
    pub(super) fn tell_load(&mut self, now: Instant) {
        let Some(change) = self.probers.look(now) else { return };
        let (id, text) = match change {
            Change::Overloaded => {
                let shortest = self.config.inquiries.values().map(|inquiry| inquiry.interval).min();
                let text = overload(&self.probers.load().last, shortest.unwrap_or_default());
                warn!(id = "overloaded", "{text}");
                ("overloaded", text)
            }
            Change::Over => {
                let text = "checks keep their interval again";
                info!(id = "overload-over", "{text}");
                ("overload-over", text.to_owned())
            }
        };
        self.recent.add(id, None, None, text);
    }

    /// How probes keep their interval, for those who ask.
    pub(super) fn pace(&self) -> Pace {
        let load = self.probers.load();
        Pace {
            running: self.probers.count(),
            workers: self.probers.workers(),
            late_ms: load.last.worst.as_millis() as u64,
            missed: load.last.missed,
            stretch: load.last.stretch(),
            overloaded: load.overloaded,
        }
    }

    /// Says when a new configuration wants another number of threads: those that run stay.
    pub(super) fn tell_workers(&self) {
        let (wanted, running) = (workers(&self.config), self.probers.workers());
        if wanted != running {
            info!(
                id = "workers",
                "checks go on with {running} workers; {wanted} are wanted: restart for that"
            );
        }
    }
}

fn overload(count: &Count, shortest: Duration) -> String {
    let (stretch, late) = (count.stretch() as f64 / 100.0, count.worst.as_secs_f64());
    let (short, real) = (shortest.as_secs_f64(), shortest.mul_f64(stretch).as_secs_f64());
    let cure = match count.waited {
        0 => "give them more processors (`workers: auto`, `run --workers auto`)",
        _ => "allow more open files (LimitNOFILE= in the unit, `ulimit -n`): all are in use",
    };
    format!(
        "checks can not keep their interval: {short} s is in truth {real:.1} s, all alike, and checks begin up to \
         {late:.1} s late; no server is taken out for that, but failures are seen later. Raise the \
         interval, or {cure}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_told_with_its_cure() {
        assert_eq!(shortage(1000, 1000), None);
        let told = shortage(slots(1024), 10_000).unwrap_or_default();
        assert!(told.contains("allows 960 checks at a time and there are 10000"), "{told}");
        assert!(told.contains("LimitNOFILE=10064") && told.contains("`ulimit -n 10064`"), "{told}");
        assert!(slots(needed(10_000)) >= 10_000);
        assert_eq!(slots(0), 16);
    }

    #[test]
    fn an_overload_is_told_with_the_true_interval_and_what_cures_it() {
        let mut count = Count { begun: 100, missed: 200, waited: 0, worst: Duration::from_millis(2740) };
        let told = overload(&count, Duration::from_secs(1));
        assert!(told.contains("1 s is in truth 3.0 s") && told.contains("up to 2.7 s late"), "{told}");
        assert!(told.contains("`workers: auto`") && !told.contains("LimitNOFILE"), "{told}");
        count.waited = 1;
        let told = overload(&count, Duration::from_secs(1));
        assert!(told.contains("LimitNOFILE") && !told.contains("workers"), "{told}");
    }
}
