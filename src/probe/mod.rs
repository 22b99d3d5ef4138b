//! Probes: one file a kind, one list of kinds.
//!
//! A [`Kind`] turns options into a [`Check`]; a [`Probe`] asks once and says what it saw. Interval,
//! deadline, counting, logs and alerts are its caller's. To add a kind, write its file and add it
//! to [`KINDS`].

pub mod aside;
pub mod combined;
pub mod connect;
pub mod datagram;
pub mod dial;
pub mod dialogue;
pub mod dns;
pub mod echo;
pub mod external;
pub mod external_perl;
pub mod ftp;
pub mod http;
pub mod http_proxy;
pub mod https;
pub mod imap;
pub mod imaps;
pub mod ldap;
mod lenient;
pub mod login;
pub mod mysql;
pub mod never;
pub mod nntp;
pub mod off;
pub mod on;
pub mod options;
pub mod oracle;
pub mod pattern;
pub mod pgsql;
pub mod ping;
pub mod pop;
pub mod pops;
mod process;
pub mod radius;
pub mod receive;
mod secret;
pub mod simpletcp;
pub mod sip;
pub mod smtp;
pub mod sql;
pub mod submission;
pub mod tls;
mod tunnel;
mod udp;
pub mod url;
pub mod web;
pub mod wire;

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::model::{Protocol, ServiceKey};
use crate::outcome::{Failure, Illness, Outcome, Phase, Reason, one_line};
use crate::span::Fault;
use aside::Aside;
use dial::Stopwatch;
use echo::Pinger;
use options::Options;
use tls::Trust;

/// What a server is asked: sends one question, reads one answer.
pub trait Probe: Send + Sync + Debug {
    /// Asks once. The future may take for ever: the caller drops it at the deadline, which must
    /// end all that was begun. `Ok` holds a short description of the good answer.
    fn ask<'a>(&'a self, call: &'a Call) -> Asking<'a>;

    /// Everything that makes this question different from another one, options and target
    /// included: equal identities are asked once.
    fn identity(&self) -> String;

    /// How often a timeout may pass within one asking (`checkcount` of a ping); at least 1.
    fn attempts(&self) -> u32 {
        1
    }

    /// The command line of a check command, for the log of one that had to be ended.
    fn command(&self) -> Option<String> {
        None
    }

    /// Whom it asks; none when it does not know, as a script's caller does not.
    fn peer(&self) -> Option<IpAddr> {
        None
    }
}

/// An exchange on its way. Boxed, so that a sleeping target holds nothing of it.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send + 'a>>;

/// What all probes share. Made once; a clone is the same one.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Sends echo requests.
    pub pinger: Arc<Pinger>,
    /// Says which certificates are trusted.
    pub trust: Arc<Trust>,
    /// Where names are looked up.
    pub lookups: Aside,
    /// Where long work is done.
    pub busy: Aside,
}

impl Tools {
    /// Tools that trust the system's certificate authorities. Opens nothing before the first use.
    pub fn new() -> Tools {
        Tools::trusting(Trust::system())
    }

    /// Tools with a trust of their own.
    pub fn trusting(trust: Trust) -> Tools {
        let (lookups, busy) = (Aside::lookups(), Aside::busy());
        Tools { pinger: Arc::new(Pinger::new()), trust: Arc::new(trust), lookups, busy }
    }
}

impl Default for Tools {
    fn default() -> Tools {
        Tools::new()
    }
}

/// One asking: where the exchange stands (so that a timeout can say so), and what probes share.
#[derive(Debug)]
pub struct Call {
    phase: AtomicU8,
    timeout: Duration,
    tools: Tools,
}

impl Call {
    const PHASES: [Phase; 7] =
        [Phase::Resolve, Phase::Connect, Phase::Tls, Phase::Send, Phase::Receive, Phase::Match, Phase::Run];

    fn new(timeout: Duration, tools: &Tools) -> Call {
        Call { phase: AtomicU8::new(Phase::Connect as u8), timeout, tools: tools.clone() }
    }

    /// The time one attempt may take; the whole asking may take [`Probe::attempts`] times this.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What all probes share.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Notes that the exchange has come to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// How far the exchange has come.
    pub fn phase(&self) -> Phase {
        let now = self.phase.load(Ordering::Relaxed);
        Call::PHASES.into_iter().find(|&phase| phase as u8 == now).unwrap_or(Phase::Connect)
    }
}

/// In so many steps a deadline is waited for, so that it shows when this process was not let run meanwhile.
const STEPS: u32 = 4;

/// Asks once, within one deadline for all of it: `timeout` for each attempt that the probe makes.
pub async fn ask(probe: &dyn Probe, timeout: Duration, tools: &Tools) -> Outcome {
    ask_since(Stopwatch::start(), probe, timeout, tools).await
}

/// The same, for who wants to know when it began: at the start of `watch`, which is now.
pub async fn ask_since(watch: Stopwatch, probe: &dyn Probe, timeout: Duration, tools: &Tools) -> Outcome {
    let call = Call::new(timeout, tools);
    let limit = timeout.saturating_mul(probe.attempts());
    let (answer, took, behind) = within(watch, limit, probe.ask(&call)).await;
    // What is kept of a good answer is bounded as a failure's detail is.
    let answer = answer.map(|result| result.map(|seen| one_line(&seen)));
    let result = answer.unwrap_or_else(|| Err(late(call.phase(), limit)));
    let mut outcome = Outcome::new(result, took);
    // A server may have waited for us in vain, and closed.
    let spoiled = |failure: &Failure| matches!(failure.reason, Reason::Timeout | Reason::Closed);
    if behind > timeout / 2 && (*outcome.result).as_ref().is_err_and(spoiled) {
        outcome.illness = Some(Illness::Late);
    }
    outcome
}

/// The end of an exchange, if it comes within `limit` of the start of `watch`, and when it or the limit came; and how late
/// our timers were meanwhile, all in all: what takes the processor away for a moment, again and again, counts
/// as much as what does it once. The clock is read once where all is well: on some hosts that is a system call.
async fn within<T>(
    watch: Stopwatch,
    limit: Duration,
    exchange: impl Future<Output = T>,
) -> (Option<T>, Duration, Duration) {
    let mut exchange = pin!(exchange);
    let (mut took, mut behind) = (Duration::ZERO, Duration::ZERO);
    for step in 1..=STEPS {
        let due = limit.saturating_mul(step) / STEPS;
        let answer = tokio::time::timeout_at(watch.at(due), &mut exchange).await.ok();
        took = watch.read();
        behind += took.saturating_sub(due);
        if answer.is_some() {
            return (answer, took, behind);
        }
    }
    (None, took, behind)
}

/// The failure of an asking that its deadline ended.
fn late(phase: Phase, limit: Duration) -> Failure {
    let missing = match phase {
        Phase::Resolve => "no address",
        Phase::Connect => "no connection",
        Phase::Tls => "no end of the TLS handshake",
        Phase::Send | Phase::Receive | Phase::Match => "no complete answer",
        Phase::Run => "no end of the command",
    };
    Failure::new(phase, Reason::Timeout, format!("{missing} within {} s", limit.as_secs_f64()))
}

/// Whom to ask, and on whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The service the server belongs to.
    pub service: ServiceKey,
    /// The server as configured; port 0 where the configuration gives none.
    pub server: SocketAddr,
    /// The address and port to ask (`checkport` and standard ports applied).
    pub check: SocketAddr,
}

impl Target {
    /// Whether the service is bound to a UDP port; one bound to a firewall mark counts as TCP.
    pub fn is_udp(&self) -> bool {
        matches!(self.service, ServiceKey::Address(Protocol::Udp, _))
    }
}

/// What a kind makes of its options.
#[derive(Debug, Clone)]
pub enum Check {
    /// Ask this, again and again.
    Ask(Arc<dyn Probe>),
    /// Up without asking.
    On,
    /// Down without asking.
    Off,
}

/// A kind of check.
#[derive(Debug)]
pub struct Kind {
    /// Its name, in configurations and messages.
    pub name: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Its standard port, when it is a service to talk to (`service=`); 0 if it has none.
    pub port: Option<u16>,
    /// The options it takes, by their names in [`Options`].
    pub options: &'static [&'static str],
    /// Makes the check for a target; takes what it uses from the options.
    pub make: fn(&Target, &mut Options) -> Result<Check, Fault>,
}

/// Every kind, once.
pub static KINDS: &[&Kind] = &[
    &connect::KIND,
    &ping::KIND,
    &http::KIND,
    &https::KIND,
    &http_proxy::KIND,
    &dns::KIND,
    &ftp::KIND,
    &imap::KIND,
    &imaps::KIND,
    &ldap::KIND,
    &ldap::ldaps::KIND,
    &mysql::KIND,
    &nntp::KIND,
    &oracle::KIND,
    &pgsql::KIND,
    &pop::KIND,
    &pops::KIND,
    &radius::KIND,
    &simpletcp::KIND,
    &sip::KIND,
    &smtp::KIND,
    &submission::KIND,
    &external::KIND,
    &external_perl::KIND,
    &on::KIND,
    &off::KIND,
];

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
