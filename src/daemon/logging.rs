//! Where log lines go: standard error for people and the journal, and the log file or the system's
//! log in ldirectord's formats. A queue stands between, so that a full disk or a slow pipe holds nobody up.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use super::lock;
use super::queue::{Guard, Queue, queue, say};
use super::syslog::{self, Syslog};
use crate::config::LogTarget;

/// Lines are written as long as these live; dropping them writes out what is left.
#[must_use = "log lines are lost once the guards are dropped"]
pub struct Guards {
    target: Option<Target>,
    _stderr: Guard,
}

impl Guards {
    /// Where lines go beside standard error, to send them elsewhere later; none when they go nowhere.
    pub fn target(&self) -> Option<Target> {
        self.target.clone()
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            drop(target.lock().guard.take());
        }
    }
}

/// Where lines go beside standard error. Clones are the same one.
#[derive(Clone)]
pub struct Target {
    instance: Arc<str>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    target: LogTarget,
    head: Head,
    queue: Queue,
    guard: Option<Guard>,
}

impl Current {
    fn new(target: &LogTarget, instance: &str) -> Current {
        let pid = std::process::id();
        let head = match target {
            LogTarget::File(_) => Head::File { instance: instance.into(), pid },
            LogTarget::Stdout => Head::Supervised,
            LogTarget::Syslog(facility) => Head::Syslog { priority: syslog::priority(facility), pid },
        };
        let (queue, guard) = writer(target);
        Current { target: target.clone(), head, queue, guard: Some(guard) }
    }
}

impl Target {
    fn new(target: &LogTarget, instance: &str) -> Target {
        let current = Arc::new(Mutex::new(Current::new(target, instance)));
        Target { instance: instance.into(), current }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        lock(&self.current)
    }

    /// Sends lines there from now on. Waits for nobody: what is left for the former target is
    /// written beside.
    pub fn set(&self, target: &LogTarget) {
        let mut current = self.lock();
        if current.target == *target {
            return;
        }
        let former = std::mem::replace(&mut *current, Current::new(target, &self.instance));
        drop(current);
        // Without a thread to be had it is written here and now.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || drop(former));
    }
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.lock().queue.clone()
    }
}

/// What standard error gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// All lines with time and level, for people and the journal.
    Lines,
    /// ldirectord's `-d`: each line alone after the same one marked as `DEBUG2`, and the results of
    /// checks as `DEBUG3`.
    Debug,
    /// None.
    Nothing,
}

/// Sends log lines to standard error and, when one is given, to `target`. `instance` is the name
/// that each line of the file carries. Call it once.
pub fn start(target: Option<&LogTarget>, instance: &str) -> Guards {
    start_as(usual(target), target, instance)
}

/// The same with another standard error.
pub fn start_as(stderr: Stderr, target: Option<&LogTarget>, instance: &str) -> Guards {
    let (subscriber, guards) = subscriber_as(stderr, target, instance);
    // Fails only when there is one already: then that one gets the lines.
    let _ = tracing::subscriber::set_global_default(subscriber);
    guards
}

/// What [`start`] makes the program's own.
pub fn subscriber(target: Option<&LogTarget>, instance: &str) -> (impl Subscriber + use<>, Guards) {
    subscriber_as(usual(target), target, instance)
}

/// What [`start_as`] makes the program's own.
pub fn subscriber_as(
    stderr: Stderr,
    target: Option<&LogTarget>,
    instance: &str,
) -> (impl Subscriber + use<>, Guards) {
    let clock = Clock::system();
    let (err, stderr_guard) = queue(io::stderr());
    let lines = (stderr == Stderr::Lines).then(|| {
        let layer = tracing_subscriber::fmt::layer().with_writer(err.clone()).with_ansi(false);
        layer.with_target(false).with_timer(clock.clone()).with_filter(wanted())
    });
    let debug = (stderr == Stderr::Debug).then(|| {
        let layer = tracing_subscriber::fmt::layer().event_format(Debug).with_writer(err);
        layer.with_filter(Targets::new().with_default(Level::INFO).with_target("lvsentry", Level::DEBUG))
    });
    let target = target.map(|target| Target::new(target, instance));
    let copy = target.clone().map(|target| {
        let format = Ldirectord { clock, target: target.clone() };
        let layer = tracing_subscriber::fmt::layer().event_format(format).with_writer(target);
        layer.with_filter(LevelFilter::INFO)
    });
    let guards = Guards { target, _stderr: stderr_guard };
    (tracing_subscriber::registry().with(lines).with(debug).with(copy), guards)
}

/// Which lines people want: those that RUST_LOG asks for (`debug`, `info,hyper=trace`).
fn wanted() -> Targets {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(Level::INFO))
}

/// Under a supervisor lines go to standard output and nowhere else.
fn usual(target: Option<&LogTarget>) -> Stderr {
    if target == Some(&LogTarget::Stdout) { Stderr::Nothing } else { Stderr::Lines }
}

fn writer(target: &LogTarget) -> (Queue, Guard) {
    match target {
        LogTarget::File(path) => queue(Reopened::new(path)),
        LogTarget::Stdout => queue(io::stdout()),
        LogTarget::Syslog(_) => queue(Syslog::new(Path::new(syslog::SOCKET))),
    }
}

/// The clock in local time. The time zone is looked up once.
#[derive(Clone)]
pub(super) struct Clock(TimeZone);

impl Clock {
    /// The system's time zone.
    pub(super) fn system() -> Clock {
        Clock(TimeZone::system())
    }

    /// Now, as ldirectord writes it: `Sat Nov 21 07:43:03 2026`.
    pub(super) fn ctime(&self) -> String {
        self.now().strftime("%a %b %e %H:%M:%S %Y").to_string()
    }

    fn now(&self) -> Zoned {
        Timestamp::now().to_zoned(self.0.clone())
    }
}

impl FormatTime for Clock {
    /// To the millisecond, with the offset.
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", self.now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

/// ldirectord's lines: `[Sat Nov 21 07:43:03 2026|t.cf|751] message`, under a supervisor
/// `[Sat Nov 21 07:46:40 2026] message`, to the system's log
/// `<134>Nov 21 08:16:04 ldirectord[761]: message`.
struct Ldirectord {
    clock: Clock,
    target: Target,
}

/// What stands before the message, beside the time.
#[derive(Clone)]
enum Head {
    File { instance: Arc<str>, pid: u32 },
    Supervised,
    Syslog { priority: u8, pid: u32 },
}

impl<S, N> FormatEvent<S, N> for Ldirectord
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = self.clock.ctime();
        let message = message(event);
        let head = self.target.lock().head.clone();
        match head {
            Head::File { instance, pid } => writeln!(w, "[{time}|{instance}|{pid}] {message}"),
            Head::Supervised => writeln!(w, "[{time}] {message}"),
            Head::Syslog { priority, pid } => {
                let time = self.clock.now().strftime("%b %e %H:%M:%S").to_string();
                // A line is a datagram.
                let message = message.replace('\n', " ");
                writeln!(w, "<{priority}>{time} ldirectord[{pid}]: {message}")
            }
        }
    }
}

/// The lines of `-d`.
struct Debug;

impl<S, N> FormatEvent<S, N> for Debug
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut w: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let message = message(event);
        if *event.metadata().level() >= Level::DEBUG {
            return writeln!(w, "DEBUG3: {message}");
        }
        writeln!(w, "DEBUG2: {message}\n{message}")
    }
}

fn message(event: &Event<'_>) -> String {
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

/// Picks the message out of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// What to do about a log file that takes no lines.
const CURE: &str =
    "make room or name another file with `logfile` (YAML: `log`); lines are lost there until then";

/// A file that is opened anew when it was moved or removed, so that rotating it needs no signal.
struct Reopened {
    path: PathBuf,
    file: Option<File>,
    /// Whether the last try to open it failed: told once.
    failed: bool,
}

impl Reopened {
    fn new(path: &Path) -> Reopened {
        Reopened { path: path.to_owned(), file: None, failed: false }
    }

    /// The file that has the path now.
    fn current(&mut self) -> io::Result<&mut File> {
        let named = std::fs::metadata(&self.path).map(|m| (m.dev(), m.ino())).ok();
        let held = self.file.as_ref().and_then(|f| f.metadata().ok()).map(|m| (m.dev(), m.ino()));
        if named.is_none() || named != held {
            self.file = None;
        }
        match &mut self.file {
            Some(file) => Ok(file),
            slot => Ok(slot.insert(OpenOptions::new().append(true).create(true).open(&self.path)?)),
        }
    }
}

impl Write for Reopened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.current().and_then(|file| file.write_all(bytes));
        match (&result, self.failed) {
            (Err(why), false) => {
                self.failed = true;
                say(format_args!("cannot write the log file {}: {why}; {CURE}", self.path.display()));
            }
            (Ok(()), _) => self.failed = false,
            _ => {}
        }
        // A line that cannot be written is lost; it stands on standard error all the same.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.flush())
    }
}
