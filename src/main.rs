//! Arguments in, exit status out.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use lvsentry::cli::{Cli, Command, ConfigCommand, EXIT_CONFIG, EXIT_FAILURE, EXIT_OK, Instance};
use lvsentry::client;
use lvsentry::config::{self, SystemNames, diagnostic::Faults, show};
use lvsentry::convert;
use lvsentry::daemon::queue::say;
use lvsentry::daemon::start::{self, StartError};
use lvsentry::ldirectord;
use lvsentry::model::Plan;
use lvsentry::probe;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next().filter(|name| ldirectord::is_called(name)) {
        return ExitCode::from(ldirectord::main(&name, arguments));
    }
    let Cli { command, instance } = Cli::parse();
    let result = match command {
        Command::Run(flags) => start::run(&flags, &instance).map(|()| EXIT_OK),
        Command::Check { file, strict } => check(file.as_deref(), strict),
        Command::Convert { file, output } => convert_file(&file, output.as_deref()),
        Command::Config(ConfigCommand::Show { file, json }) => show(file.as_deref(), json),
        other => return ask(other, &instance),
    };
    ExitCode::from(result.unwrap_or_else(|why| {
        say(&why);
        why.status()
    }))
}

/// Asks a running daemon.
fn ask(command: Command, instance: &Instance) -> ExitCode {
    #[allow(clippy::disallowed_methods)] // people's clock, for "ten minutes ago"
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ExitCode::from(client::run(command, instance, now).unwrap_or_else(|why| {
        say(&why);
        why.status()
    }))
}

/// Prints every fault of a configuration, and a last line that sums up.
fn check(named: Option<&Path>, strict: bool) -> Result<u8, StartError> {
    let path = start::find(named)?;
    let mut restarted = None;
    let (status, report, found) = match config::load(&path, &SystemNames::new()) {
        Ok(loaded) => {
            let plan = &loaded.config.plan;
            let servers = plan.servers();
            let probes = loaded.config.inquiries.len();
            let found =
                format!("accepted: {} services, {servers} servers, {probes} probes", plan.services.len());
            let warned = strict && loaded.report.warnings().next().is_some();
            let wrong = warned || loaded.report.mistakes().next().is_some();
            restarted = restart(&path, plan);
            (if wrong { EXIT_FAILURE } else { EXIT_OK }, loaded.report, found)
        }
        Err(report) => (EXIT_CONFIG, report, "refused".to_owned()),
    };
    let mut out = stdout().lock();
    let shown = report.render(out.is_terminal());
    let errors = report.errors().count() + report.mistakes().count();
    let warnings = report.warnings().count();
    let sum = format!("{}: {found}; {errors} errors, {warnings} warnings", path.display());
    let gap = if shown.is_empty() { "" } else { "\n\n" };
    let restarted = restarted.map(|note| format!("{note}\n")).unwrap_or_default();
    // Whoever closed the other end has seen enough.
    let _ = writeln!(out, "{shown}{gap}{restarted}{sum}");
    Ok(status)
}

/// What a restart does under the unit that came with ldirectord, which knows `stop` and `start` alone.
fn restart(path: &Path, plan: &Plan) -> Option<String> {
    let cleaned = plan.services.values().filter(|service| service.policy.clean_stop).count();
    let told = cleaned > 0 && !config::is_yaml(&path.to_string_lossy());
    told.then(|| {
        format!(
            "cleanstop=yes in {cleaned} services: a restart by ldirectord's own unit is a stop and a start, and takes them out \
             for a moment; `ldirectord restart` and lvsentry's unit do not"
        )
    })
}

/// Writes an `ldirectord.cf` as YAML; what is to be said of the old file goes to standard error.
fn convert_file(path: &Path, output: Option<&Path>) -> Result<u8, StartError> {
    if config::is_yaml(&path.to_string_lossy()) {
        say(format!("{} is YAML already", path.display()));
        return Ok(EXIT_FAILURE);
    }
    let names = SystemNames::new();
    let source = config::source(path).map_err(StartError::Config)?;
    let loaded = config::load_text(source.clone(), &names).map_err(StartError::Config)?;
    let draft = config::draft(&source, &names, probe::kind, &mut Faults::default());
    let forgiving = loaded.report.mistakes().next().is_some();
    let text = convert::yaml(&source, &draft, forgiving);
    let (mistakes, warnings) = (loaded.report.mistakes().count(), loaded.report.warnings().count());
    if mistakes + warnings > 0 {
        let path = path.display();
        say(format!("{path}: {mistakes} errors, {warnings} warnings: `lvsentry check {path}` shows them"));
    }
    let written = match output {
        Some(output) => private(output, &text),
        None => stdout().lock().write_all(text.as_bytes()),
    };
    Ok(match written {
        Ok(()) => EXIT_OK,
        // Whoever closed the other end has seen enough.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(why) => {
            let to = output.map_or("standard output".into(), |output| output.display().to_string());
            say(format!("can not write {to}: {why}"));
            EXIT_FAILURE
        }
    })
}

/// Makes a file that only its owner can read: it may hold passwords. One that stands there stays.
fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Prints every value in force and where it comes from.
fn show(named: Option<&Path>, json: bool) -> Result<u8, StartError> {
    let path = start::find(named)?;
    let names = SystemNames::new();
    let source = config::source(&path).map_err(StartError::Config)?;
    config::load_text(source.clone(), &names).map_err(StartError::Config)?;
    let draft = config::draft(&source, &names, probe::kind, &mut Faults::default());
    let shown = show::shown(&source, &draft);
    let text = match json {
        // Strings and lists alone: nothing that JSON can not say.
        true => serde_json::to_string_pretty(&shown).unwrap_or_default() + "\n",
        false => show::table(&shown),
    };
    let _ = stdout().lock().write_all(text.as_bytes());
    Ok(EXIT_OK)
}
