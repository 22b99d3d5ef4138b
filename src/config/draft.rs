//! What a configuration says, whichever language it is written in: every value in force with the
//! place that says it, names looked up, inheritance done; ranges of servers not counted out and no
//! probe made yet. Pure.
//!
//! ```text
//! ldirectord.cf ── cf, resolve ──┐
//!                                ├─▶ Draft ── build ─▶ Config
//! YAML ─────────── yaml ─────────┘     └── convert, show
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::role::{OnDemote, Role};
use crate::config::workers::Workers;
use crate::config::{LogTarget, State, Webhook};
use crate::model::{ByHand, FailOpen, Fallback, Forward, Hold, OnFailure, Removal, ServiceKey, Weight};
use crate::probe::options::{Given, Options};
use crate::span::Span;

/// A value in force, and where it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// Where it is said; none for a default.
    pub span: Option<Span>,
}

impl<T> Said<T> {
    /// A value that is said at a place.
    pub fn at(value: T, span: Span) -> Said<T> {
        Said { value, span: Some(span) }
    }

    /// A value that nobody says.
    pub fn default(value: T) -> Said<T> {
        Said { value, span: None }
    }
}

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whether a check that can not be made is a mistake, and its servers are down, rather than an
    /// error: ldirectord accepts such a file.
    pub forgiving: bool,
    /// Read the file anew when it changed on disk.
    pub autoreload: Said<bool>,
    /// Where log lines go.
    pub log: Said<LogTarget>,
    /// What is run when the file has changed.
    pub callback: Option<Said<PathBuf>>,
    /// Further configurations that have a daemon of their own.
    pub execute: Vec<Said<String>>,
    /// The directory where a file of a server's name takes that server out.
    pub maintenance: Option<Said<PathBuf>>,
    /// What decides whether this director keeps the kernel's table.
    pub role: Said<Role>,
    /// What becomes of our services when it no longer does.
    pub on_demote: Said<OnDemote>,
    /// What a shell runs when that changes.
    pub hooks: RoleHooksDraft,
    /// On how many threads is asked.
    pub workers: Said<Workers>,
    /// Kernel parameters below `net.ipv4.vs` that are to have these values.
    pub sysctls: Vec<(&'static str, Said<String>)>,
    /// The services, in the order of the text.
    pub services: Vec<ServiceDraft>,
}

impl Default for Draft {
    /// What a text means that says nothing, in lvsentry's own language.
    fn default() -> Draft {
        Draft {
            forgiving: false,
            autoreload: Said::default(false),
            log: Said::default(LogTarget::default()),
            callback: None,
            execute: Vec::new(),
            maintenance: None,
            role: Said::default(Role::Active),
            on_demote: Said::default(OnDemote::Leave),
            hooks: RoleHooksDraft::default(),
            workers: Said::default(Workers::default()),
            sysctls: Vec::new(),
            services: Vec::new(),
        }
    }
}

/// What a shell runs when the role changes; an empty line runs nothing.
#[derive(Debug, Clone, Default)]
pub struct RoleHooksDraft {
    /// When this director became active.
    pub promote: Option<Said<String>>,
    /// When it became standby.
    pub demote: Option<Said<String>>,
}

/// What a shell runs when a service changes; an empty line runs nothing.
#[derive(Debug, Clone, Default)]
pub struct ServiceHooksDraft {
    /// When a server of it is up.
    pub up: Option<Said<String>>,
    /// When one is down.
    pub down: Option<Said<String>>,
    /// When its fallback serves, and when it does not.
    pub fallback: Option<Said<String>>,
}

/// A virtual service.
#[derive(Debug, Clone)]
pub struct ServiceDraft {
    /// Its address in the text.
    pub span: Span,
    /// Where people look for it.
    pub line: Span,
    /// What identifies it in the kernel.
    pub key: ServiceKey,
    /// What people call it.
    pub name: Option<Said<String>>,
    /// A remark for alerts.
    pub comment: Option<Said<String>>,
    /// The scheduler's name.
    pub scheduler: Said<String>,
    /// The scheduler's flags, as the kernel's bits.
    pub flags: Said<u32>,
    /// One-packet scheduling.
    pub one_packet: Said<bool>,
    /// Seconds for which a client comes back to the same server; none for no persistence.
    pub persistent: Option<Said<u32>>,
    /// Which clients are one client, as [`crate::model::Persistence::netmask`] has it.
    pub netmask: Said<u32>,
    /// Bad results in a row that take a server down; at least 1.
    pub fall: Said<u32>,
    /// Good results in a row that bring it up; at least 1.
    pub rise: Said<u32>,
    /// What becomes of a failed server.
    pub on_failure: Said<OnFailure>,
    /// What a weight set by hand means.
    pub by_hand: Said<ByHand>,
    /// Whether the service leaves the kernel when the daemon is stopped.
    pub clean_stop: Said<bool>,
    /// How servers leave that are taken out on purpose.
    pub removal: Said<Removal>,
    /// What keeps a server out that fails again and again.
    pub hold: Option<Said<Hold>>,
    /// How long a server that comes up takes to get its whole weight.
    pub slow_start: Option<Said<Duration>>,
    /// The servers of last resort.
    pub fallbacks: Vec<FallbackDraft>,
    /// Whether a server that is up with weight 0 keeps the fallback out.
    pub zero_serves: Said<bool>,
    /// Who serves when no fallback can.
    pub fail_open: Said<FailOpen>,
    /// What a shell runs when no server is up, and when one is again.
    pub fallback_command: Option<Said<String>>,
    /// What a shell runs when it changes.
    pub hooks: ServiceHooksDraft,
    /// The file that gets every result.
    pub monitor: Option<Said<PathBuf>>,
    /// Who is told of changes.
    pub alert: AlertDraft,
    /// How its servers are checked.
    pub check: CheckDraft,
    /// Its servers.
    pub servers: Vec<ServerDraft>,
    /// Whether `ipvsadm` or the kernel would refuse something that is said of it.
    pub refused: bool,
}

/// A server of last resort.
#[derive(Debug, Clone)]
pub struct FallbackDraft {
    /// Where it is.
    pub fallback: Said<Fallback>,
    /// How it is checked; none: it is taken for up.
    pub check: Option<CheckDraft>,
}

/// Who is told of changes of a service.
#[derive(Debug, Clone)]
pub struct AlertDraft {
    /// Who gets mail, comma separated.
    pub mail: Option<Said<String>>,
    /// The sender of mail.
    pub from: Option<Said<String>>,
    /// The host that takes mail.
    pub smtp: Option<Said<String>>,
    /// In which states of the daemon alerts are sent.
    pub when: Said<BTreeSet<State>>,
    /// Seconds after which a server that is still down is told of again; 0 for never.
    pub again: Said<u32>,
    /// Whom to post to.
    pub webhooks: Vec<Said<Webhook>>,
}

/// How servers are checked.
#[derive(Debug, Clone)]
pub struct CheckDraft {
    /// A name in [`crate::probe::KINDS`].
    pub kind: Said<&'static str>,
    /// So many checks that only connect follow each good check of the kind (`checktype=N`).
    pub connects: Option<Said<u32>>,
    /// What chose it, for messages: `service=http`.
    pub cause: String,
    /// What it is told.
    pub options: Options,
    /// The port to ask where nobody gives one; 0 for none.
    pub standard_port: u16,
    /// The port to ask, whatever the server's own is.
    pub port: Option<Said<u16>>,
    /// From start to start.
    pub interval: Said<Duration>,
    /// For one attempt.
    pub timeout: Said<Duration>,
    /// For one attempt of those that only connect.
    pub connect_timeout: Said<Duration>,
}

/// A server, or a range of servers that have all but the address in common.
#[derive(Debug, Clone)]
pub struct ServerDraft {
    /// What names it, all of it.
    pub span: Span,
    /// Where people look for it.
    pub line: Span,
    /// Its host as it is written, when that is a name; none for a range.
    pub name: Option<String>,
    /// The address of the first; port 0 for none.
    pub address: SocketAddr,
    /// How many addresses, from that one on; at least 1.
    pub count: usize,
    /// How packets reach it.
    pub forward: Said<Forward>,
    /// Its weight.
    pub weight: Said<Weight>,
    /// Above this many connections it gets no more; 0 = no limit.
    pub upper: u32,
    /// Below this many it gets some again.
    pub lower: u32,
    /// A request and what is expected, other than the service's.
    pub pair: Option<Pair>,
}

/// What one server is asked for, and what its answer must hold, in place of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What to ask for.
    pub request: Given,
    /// What the answer must match; may be empty.
    pub receive: Given,
}

impl ServiceHooksDraft {
    /// These, and where they are silent, the others.
    pub fn or(self, other: &ServiceHooksDraft) -> ServiceHooksDraft {
        ServiceHooksDraft {
            up: self.up.or_else(|| other.up.clone()),
            down: self.down.or_else(|| other.down.clone()),
            fallback: self.fallback.or_else(|| other.fallback.clone()),
        }
    }
}

impl ServiceDraft {
    /// Whether the service stays out: it is checked for faults alone.
    pub fn is_out(&self) -> bool {
        self.refused || self.is_unservable()
    }

    /// Whether it is a service of every port without persistence: `ipvsadm` refuses it, and the kernel, which
    /// takes it, gives its connections to nobody (`ip_vs_schedule`).
    pub fn is_unservable(&self) -> bool {
        self.key.port() == Some(0) && self.persistent.is_none()
    }
}

impl ServerDraft {
    /// The addresses, one after the other.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        (0..self.count).map(|i| {
            let ip = match self.address.ip() {
                IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().saturating_add(i as u32)).into(),
                v6 => v6,
            };
            SocketAddr::new(ip, self.address.port())
        })
    }
}
