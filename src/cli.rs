//! Commands and flags as plain values; no side effects.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::workers::Workers;

/// Keeps the kernel's IPVS table equal to what health checks say.
#[derive(Debug, Parser)]
#[command(name = "lvsentry", version, about, max_term_width = 100)]
pub struct Cli {
    /// Which daemon is meant.
    #[command(flatten)]
    pub instance: Instance,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which daemon is meant, where several run side by side.
#[derive(Debug, Clone, Default, Args)]
pub struct Instance {
    /// The daemon's name: that of its configuration's file, without the suffix (with it, for one that was
    /// started as ldirectord). Without it: the one that runs
    #[arg(long, global = true, value_name = "NAME", value_parser = name)]
    pub instance: Option<String>,
    /// The daemon's control socket; without it /run/lvsentry/NAME.sock
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// The name of an instance: it becomes part of paths.
fn name(text: &str) -> Result<String, &'static str> {
    let fine = !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\0']);
    if fine { Ok(text.to_owned()) } else { Err("a name has no / and does not begin with a dot") }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs in the foreground: checks the servers and keeps the kernel's table right
    Run(Run),
    /// Shows every fault of a configuration; exit status 0, 1 for mistakes in a file that can be
    /// used all the same, 2 when it is refused
    Check {
        /// The configuration; without it /etc/lvsentry/lvsentry.yaml, then ldirectord.cf where ldirectord
        /// looks for it
        file: Option<PathBuf>,
        /// Exit status 1 for warnings too
        #[arg(long)]
        strict: bool,
    },
    /// Writes an ldirectord.cf as YAML that means the very same, comments kept
    Convert {
        /// The ldirectord.cf
        file: PathBuf,
        /// The file to make, readable by its owner alone; without it the text goes to standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Shows a configuration as it is understood
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Shows how services and servers stand; exit status 0 all is well, 1 some server is down or held
    /// out, 2 a service has no server that is up, 3 no daemon answers
    Status {
        /// The service: its id, address or name; without it, all
        service: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows why a service and its servers are as they are, and what would change it
    Explain {
        /// The service: its id, address or name
        service: String,
        /// One of its servers
        server: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows what happened
    Events {
        /// Goes on with what happens from now on
        #[arg(short, long)]
        follow: bool,
        /// Not older than this: a time (2026-11-25T02:24:19Z) or how long ago (10m, 2h)
        #[arg(long, value_name = "T")]
        since: Option<String>,
        /// As JSON, an object a line
        #[arg(long)]
        json: bool,
    },
    /// Takes a server out: no new connections, out of the table once it has none left
    Drain {
        /// Whom, why, and for how long.
        #[command(flatten)]
        order: Order,
        /// Waits until it is drained
        #[arg(long)]
        wait: bool,
        /// When it leaves though it has connections (default 5m)
        #[arg(long, value_name = "T", value_parser = time)]
        deadline: Option<Duration>,
    },
    /// Takes a server out of the table at once
    Disable(Order),
    /// Takes `drain` and `disable` back: the server is in again after its next good check
    Enable(Whom),
    /// Gives a server another weight while it is up; `auto`: its own
    Weight {
        /// Whom, why, and for how long.
        #[command(flatten)]
        order: Order,
        /// The weight, or `auto`
        #[arg(value_parser = weight)]
        weight: Given,
    },
    /// Has the daemon read its configuration anew; says what changed, or why not
    Reload,
    /// Has a standby keep the kernel's table, until its file or address says otherwise
    Promote,
    /// Has the daemon stand by, until its file or address says otherwise: its services stay as they
    /// stand, or are removed (`on_demote`)
    Demote,
    /// Ends the daemon; its services leave the kernel where the configuration says so
    Stop,
}

/// Whom an operator means.
#[derive(Debug, Clone, Args)]
pub struct Whom {
    /// The server: its address, with or without port, or its name in the configuration
    pub server: String,
    /// In this service alone: its id, address or name
    #[arg(long, value_name = "S")]
    pub service: Option<String>,
}

/// What goes with every order.
#[derive(Debug, Clone, Args)]
pub struct Order {
    /// Whom.
    #[command(flatten)]
    pub whom: Whom,
    /// Why; shown wherever the order is
    #[arg(long, value_name = "R")]
    pub reason: Option<String>,
    /// It ends by itself after this time (90s, 2h, 1d)
    #[arg(long = "for", value_name = "T", value_parser = time)]
    pub lasting: Option<Duration>,
}

/// A weight that an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// This one.
    Weight(u32),
    /// That of the configuration.
    Auto,
}

fn weight(text: &str) -> Result<Given, &'static str> {
    match text {
        "auto" => Ok(Given::Auto),
        _ => text.parse().map(Given::Weight).map_err(|_| "a whole number, or auto"),
    }
}

/// A time as people write it: `90s`, `1h30m`.
pub fn time(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "a time like 90s, 10m, 2h or 1d";
    let (mut rest, mut sum) = (text, 0u64);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
        let (number, after) = rest.split_at(unit);
        let factor = match after.as_bytes().first() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            _ => return Err(WRONG),
        };
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        sum = number.checked_mul(factor).and_then(|time| time.checked_add(sum)).ok_or(WRONG)?;
        rest = &after[1..];
    }
    if text.is_empty() { Err(WRONG) } else { Ok(Duration::from_secs(sum)) }
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints every value in force and where it comes from; secrets are hidden
    Show {
        /// The configuration; without it, the one that `run` would take
        file: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration; without it /etc/lvsentry/lvsentry.yaml, then ldirectord.cf where ldirectord
    /// looks for it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Checks for real, leaves the kernel alone and prints what it would do
    #[arg(long)]
    pub dry_run: bool,
    /// Checks for real and keeps the table in memory: needs no IPVS and no rights
    #[arg(long, conflicts_with = "dry_run")]
    pub no_kernel: bool,
    /// Stands by, whatever the configuration says: checks run, the kernel is left alone
    #[arg(long)]
    pub standby: bool,
    /// On how many threads is asked, whatever the configuration says: a number, or `auto`
    #[arg(long, value_name = "N")]
    pub workers: Option<Workers>,
    /// The file that remembers, beside that of the instance; for tests
    #[arg(long, hide = true, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// Exit status: all went well.
pub const EXIT_OK: u8 = 0;
/// Exit status: something failed that has no status of its own.
pub const EXIT_FAILURE: u8 = 1;
/// Exit status: the configuration is refused (clap uses it for a wrong command line as well).
pub const EXIT_CONFIG: u8 = 2;
/// Exit status: this kernel has no IPVS.
pub const EXIT_NO_IPVS: u8 = 3;
/// Exit status: no right to manage IPVS.
pub const EXIT_NO_RIGHT: u8 = 4;

/// Exit status of `status`: some server is down or held out.
pub const EXIT_DEGRADED: u8 = 1;
/// Exit status of `status`: a service has no server that is up.
pub const EXIT_CRITICAL: u8 = 2;
/// Exit status of all that asks the daemon: it does not answer.
pub const EXIT_NO_DAEMON: u8 = 3;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_read_as_people_write_it() {
        for (text, seconds) in [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("0s", 0)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "90", "s", "2 h", "-1s", "1w", "1.5h", "99999999999999999999s", "9999999999999999d", "5ü"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_name_of_an_instance_is_no_path() {
        for bad in ["", ".", "..", "a/b", ".hidden"] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(name("web.cf"), Ok("web.cf".into()));
    }
}
