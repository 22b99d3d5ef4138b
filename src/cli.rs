//! Commands and flags as plain values; no side effects.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keeps the kernel's IPVS table equal to what health checks say.
#[derive(Debug, Parser)]
#[command(name = "lvsentry", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
