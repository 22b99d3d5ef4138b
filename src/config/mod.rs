//! From a file to a [`Config`]: the one door for the rest.
//!
//! ```text
//! ldirectord.cf ── cf ─▶ Raw (directives and blocks) ── resolve ──┐
//!                                                                 ├─▶ Draft ── build ─▶ Config, or a
//! YAML ── yaml ───────────────────────────────────────────────────┘         Report of all faults
//! ```

pub mod advice;
pub mod build;
pub mod cf;
pub mod diagnostic;
pub mod draft;
pub mod keys;
pub mod monitor;
pub mod names;
pub mod raw;
pub mod resolve;
pub mod role;
pub mod show;
pub mod suggest;
pub mod value;
pub mod workers;
pub mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::model::{Plan, ProbeKey, ServiceKey};
use crate::probe::{self, Kind, Probe};
use crate::span::{Fault, Severity, Source};
use diagnostic::{Faults, Report};
use draft::Draft;
pub use names::{Names, SystemNames};
use resolve::address::Lookup;
use role::{OnDemote, Role, RoleHooks, ServiceHooks};
use workers::Workers;

/// A question that is to be asked again and again.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The question.
    pub probe: Arc<dyn Probe>,
    /// From start to start.
    pub interval: Duration,
    /// For one attempt: the whole exchange, name resolution, TLS and scripts included.
    pub timeout: Duration,
}

/// Where log lines go beside standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// A file, reopened when it was rotated.
    File(PathBuf),
    /// Standard output, and nothing else (`supervised=yes`).
    Stdout,
    /// The system's log, under this facility as it was written (`local0`).
    Syslog(String),
}

/// What is told and run around a service. Nothing of it bears on the kernel's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// What people call the service (`servicename`).
    pub name: Option<String>,
    /// A remark for alerts (`comment`).
    pub comment: Option<String>,
    /// Who gets mail.
    pub mail: Option<Mail>,
    /// Whom to post alerts to.
    pub webhooks: Vec<Webhook>,
    /// In which states of the daemon alerts are sent.
    pub alert_in: BTreeSet<State>,
    /// How long a server is down before it is told of again, and again; none for once.
    pub alert_again: Option<Duration>,
    /// What a shell runs when no server is up, and when one is again.
    pub fallback_command: Option<String>,
    /// What a shell runs when the service changes.
    pub hooks: ServiceHooks,
    /// Where every result is written.
    pub monitor: Option<Monitor>,
}

/// What the daemon is doing, as far as alerts are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Until every service has had its first results.
    Starting,
    /// Working.
    Running,
    /// Ending.
    Stopping,
    /// After a reload, until every service has had its first results.
    Reloading,
}

/// Mail about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The recipients as written, comma separated.
    pub to: String,
    /// The sender; without one, the user and host we run as.
    pub from: Option<String>,
    /// The host that takes mail on port 25; without one, the local sendmail.
    pub smtp: Option<String>,
}

/// A receiver of alerts as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to post.
    pub url: String,
    /// Until it must have answered.
    pub timeout: Duration,
}

/// A file that gets a line for every result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Its path.
    pub path: PathBuf,
    /// What each server is called in it: as many as the service has servers, in their order.
    pub names: Vec<String>,
}

impl Default for LogTarget {
    /// ldirectord's file.
    fn default() -> LogTarget {
        LogTarget::File(PathBuf::from("/var/log/ldirectord.log"))
    }
}

/// A configuration, resolved: every name looked up, every default filled in, every probe ready.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What the director is to do.
    pub plan: Plan,
    /// What is to be asked, by the keys that the plan's servers name.
    pub inquiries: BTreeMap<ProbeKey, Inquiry>,
    /// Read the file anew when it changed on disk.
    pub autoreload: bool,
    /// Where log lines go.
    pub log: LogTarget,
    /// What is run, with the file's path, when the file has changed.
    pub callback: Option<PathBuf>,
    /// Further configurations that have a daemon of their own, as ldirectord finds them.
    pub execute: Vec<String>,
    /// The directory where a file of a server's name takes that server out.
    pub maintenance: Option<PathBuf>,
    /// What decides whether this director keeps the kernel's table.
    pub role: Role,
    /// What becomes of our services when it no longer does.
    pub on_demote: OnDemote,
    /// What a shell runs when that changes.
    pub hooks: RoleHooks,
    /// Kernel parameters below `net.ipv4.vs` that are to have these values.
    pub sysctls: BTreeMap<&'static str, String>,
    /// What the addresses of servers are called where the configuration names them by name.
    pub names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// On how many threads is asked.
    pub workers: Workers,
    /// What is told and run around services.
    pub extras: BTreeMap<ServiceKey, Arc<Extras>>,
}

/// A configuration that can be used, and what is to be said about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings; no errors.
    pub report: Report,
}

/// Finds the kind of check of a name.
pub type Kinds = fn(&str) -> Option<&'static Kind>;

/// Largest file that is read, in bytes.
pub const LARGEST: u64 = 64 << 20;

/// Reads a file. An error holds all faults, warnings included.
pub fn load(path: &Path, names: &dyn Names) -> Result<Loaded, Report> {
    load_text(source(path)?, names)
}

/// The text of a file.
pub fn source(path: &Path) -> Result<Source, Report> {
    let name = path.to_string_lossy();
    read(path).map(|text| Source::new(&*name, text)).map_err(|error| {
        let mut faults = Faults::default();
        let message = format!("can not open file {name}: {error}");
        let spent = matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE));
        let help = spent.then(|| "no file descriptors are left: raise LimitNOFILE".to_owned());
        faults.push(Fault { severity: Severity::Error, span: None, message, help });
        Report::new(Source::new(&*name, Vec::new()), faults)
    })
}

/// Reads a text.
pub fn load_text(source: Source, names: &dyn Names) -> Result<Loaded, Report> {
    load_with(source, names, probe::kind)
}

/// Reads a text, with kinds of check other than the program's own.
pub fn load_with(source: Source, names: &dyn Names, kinds: Kinds) -> Result<Loaded, Report> {
    let mut faults = Faults::default();
    let draft = draft(&source, names, kinds, &mut faults);
    let config = build::build(&source, draft, kinds, &mut faults);
    let report = Report::new(source, faults);
    if report.has_errors() { Err(report) } else { Ok(Loaded { config, report }) }
}

/// Whether a file of that name is YAML; any other is an `ldirectord.cf`.
pub fn is_yaml(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// What a text says, in the language that its name shows; what is wrong goes to `faults`.
pub fn draft(source: &Source, names: &dyn Names, kinds: Kinds, faults: &mut Faults) -> Draft {
    if is_yaml(&source.name) {
        return yaml::read(source, &Lookup::new(names), kinds, faults);
    }
    let raw = cf::parse(source, faults);
    if raw.blocks.is_empty() {
        let message = "no virtual services: there is nothing to do".into();
        faults.push(Fault { severity: Severity::Advice, span: None, message, help: None });
    }
    resolve::resolve(source, &raw, names, faults)
}

/// Where lvsentry's own configuration stands when none is named.
pub const OWN: &str = "/etc/lvsentry/lvsentry.yaml";

/// Where ldirectord looks for a configuration by its name, in this order; then it takes the name
/// as a path.
pub const FOLDERS: [&str; 2] = ["/etc/ha.d", "/etc/ha.d/conf"];

/// Finds a configuration as ldirectord does: the first regular file counts.
pub fn find(name: impl AsRef<Path>) -> Option<PathBuf> {
    find_in(&FOLDERS.map(Path::new), name.as_ref())
}

/// Finds a configuration in other folders.
pub fn find_in(folders: &[&Path], name: impl AsRef<Path>) -> Option<PathBuf> {
    let name = name.as_ref();
    let inside = folders.iter().map(|folder| folder.join(name));
    inside.chain([name.to_owned()]).find(|path| path.is_file())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}
