//! What an error of the kernel means for what was asked of it. Pure.

use std::fmt;
use std::io;

use super::consts::errno::{EACCES, EAFNOSUPPORT, EEXIST, EINVAL, ENOENT, EPERM, ERANGE, ESRCH};
use crate::model::Forward;
use crate::table::Op;

/// What to do where the kernel has no IPVS.
const CURE_NO_IPVS: &str = "run `modprobe ip_vs` and look at what it says; the module comes with the \
    distribution's kernel package (some cloud kernels leave it out), and a container cannot load it: \
    load it on the host";

/// What to do where the right is missing.
const CURE_NO_RIGHT: &str = "run as root, or give the capability (systemd: \
    `AmbientCapabilities=CAP_NET_ADMIN`); a rootless container cannot manage IPVS";

/// Why the kernel's IPVS could not be reached at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// This kernel has no IPVS, and loading the module did not bring it.
    NoIpvs,
    /// No `CAP_NET_ADMIN` in the initial user namespace.
    NoRight,
    /// The netlink socket failed; the error's number.
    Socket(i32),
    /// IPVS is there and its answer was none.
    Answer(ReadError),
}

impl OpenError {
    /// The meaning of an error met while opening.
    pub(super) fn from_read(error: ReadError) -> OpenError {
        match error {
            ReadError::NoIpvs => OpenError::NoIpvs,
            ReadError::NoRight => OpenError::NoRight,
            error => OpenError::Answer(error),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NoIpvs => ReadError::NoIpvs.fmt(f),
            OpenError::NoRight => ReadError::NoRight.fmt(f),
            OpenError::Socket(number) => {
                write!(f, "cannot open a generic netlink socket: {}; a sandbox (systemd: ", words(*number))?;
                f.write_str("`RestrictAddressFamilies=`) must allow AF_NETLINK")
            }
            OpenError::Answer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why the table could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// IPVS is not there, or its module was removed and could not be loaded again.
    NoIpvs,
    /// No `CAP_NET_ADMIN` in the initial user namespace.
    NoRight,
    /// The kernel did not answer in time.
    Timeout,
    /// Part of the answer was lost.
    Lost,
    /// The answer is not of the protocol; what is wrong with it.
    Malformed(&'static str),
    /// Another error; its number.
    Other(i32),
}

impl ReadError {
    /// The meaning of an error number given for a question.
    pub(super) fn of(number: i32) -> ReadError {
        match number {
            ENOENT => ReadError::NoIpvs,
            EPERM | EACCES => ReadError::NoRight,
            _ => ReadError::Other(number),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::NoIpvs => write!(f, "no IPVS in this kernel: {CURE_NO_IPVS}"),
            ReadError::NoRight => {
                write!(f, "no right to use IPVS: it needs CAP_NET_ADMIN in the initial user namespace; ")?;
                f.write_str(CURE_NO_RIGHT)
            }
            ReadError::Timeout => {
                f.write_str("cannot read the IPVS table: the kernel did not answer in time")
            }
            ReadError::Lost => {
                f.write_str("cannot read the IPVS table: part of the kernel's answer was lost")
            }
            ReadError::Malformed(what) => write!(f, "cannot read the IPVS table: strange answer: {what}"),
            ReadError::Other(number) => write!(f, "cannot read the IPVS table: {}", words(*number)),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why an operation was not carried out, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpError {
    /// What is to be made is there already.
    Exists,
    /// The destination is not there.
    Missing,
    /// The service is not there.
    NoService,
    /// The kernel does not know this scheduler, or this persistence engine.
    NoScheduler {
        /// The name that was asked for.
        name: String,
        /// The persistence engine that was asked for, which may be the unknown one instead.
        engine: Option<String>,
    },
    /// No `CAP_NET_ADMIN` in the initial user namespace.
    NoRight,
    /// IPVS is gone: its module was removed and could not be loaded again.
    NoIpvs,
    /// The kernel takes no such entry; the error's number, 0 when we did not even send it.
    Invalid(i32),
    /// The answer was lost or late: it may have been carried out.
    Unknown,
    /// Another error; its number.
    Other(i32),
}

impl OpError {
    /// The meaning of an error number given for `op`.
    pub(super) fn of(number: i32, op: &Op) -> OpError {
        match (number, op) {
            (EEXIST, _) => OpError::Exists,
            (ESRCH, _) => OpError::NoService,
            (ENOENT, Op::NewService(_, s) | Op::SetService(_, s)) => {
                OpError::NoScheduler { name: s.scheduler.clone(), engine: s.engine.clone() }
            }
            (ENOENT, Op::SetDestination(..) | Op::DelDestination(..)) => OpError::Missing,
            // Nothing else is looked up by these two: it is the family that is not found.
            (ENOENT, Op::DelService(_) | Op::NewDestination(..)) => OpError::NoIpvs,
            (EPERM | EACCES, _) => OpError::NoRight,
            (EINVAL | ERANGE | EAFNOSUPPORT, _) => OpError::Invalid(number),
            _ => OpError::Other(number),
        }
    }

    /// Whether our view of the table was old: read it again at once, and compare.
    pub fn is_stale(&self) -> bool {
        matches!(self, OpError::Exists | OpError::Missing | OpError::NoService | OpError::Unknown)
    }

    /// What failed, why, and what to do; for a log line.
    pub fn explain(&self, op: &Op) -> String {
        format!("cannot {op}: {}", self.reason(op))
    }

    fn reason(&self, op: &Op) -> String {
        match self {
            OpError::Exists => "it is there already: somebody else changed the table".into(),
            OpError::Missing => "it is not in the table: somebody else removed it".into(),
            OpError::NoService => format!("the service {} is not in the table", op.service()),
            OpError::NoScheduler { name, engine } => no_scheduler(name, engine.as_deref()),
            OpError::NoRight => format!("no CAP_NET_ADMIN in the initial user namespace; {CURE_NO_RIGHT}"),
            OpError::NoIpvs => format!("IPVS is gone from this kernel; {CURE_NO_IPVS}"),
            OpError::Invalid(number) => invalid(*number, op),
            OpError::Unknown => "the kernel's answer was lost, so it may have been done; \
                the table is read again"
                .into(),
            OpError::Other(number) => words(*number),
        }
    }
}

/// The name and number of an error, as the C library words it.
fn words(number: i32) -> String {
    io::Error::from_raw_os_error(number).to_string()
}

fn no_scheduler(name: &str, engine: Option<&str>) -> String {
    let scheduler = format!("the kernel knows no scheduler {name:?}");
    match engine {
        None => format!("{scheduler}; try `modprobe ip_vs_{name}` and look for a misspelt name"),
        Some(engine) => format!(
            "{scheduler} or no persistence engine {engine:?}; \
             try `modprobe ip_vs_{name}` and `modprobe ip_vs_pe_{engine}`"
        ),
    }
}

/// Why an entry is no good: the kernel gives only a number, so say what is known of it.
fn invalid(number: i32, op: &Op) -> String {
    let why = match (number, op) {
        (0, _) => "a scheduler's or engine's name has 1 to 15 bytes, none of them NUL".into(),
        (EAFNOSUPPORT, _) => "IPv6 is switched off on this host (`ipv6.disable=1`?)".into(),
        (ERANGE, _) => "a weight is 0 or more, and a lower threshold not above the upper one".into(),
        (_, Op::NewDestination(key, at, d) | Op::SetDestination(key, at, d)) => {
            if crate::model::Family::of(at.ip()) != key.family() && d.forward != Forward::Ipip {
                "a server of the other address family can only be reached by tunnel, \
                 and not while a sync daemon runs"
                    .into()
            } else if at.is_ipv4() {
                format!(
                    "{} is not an address of one host, or this network namespace has no IPv4 address at all \
                     (bring `lo` up: `ip link set lo up`)",
                    at.ip()
                )
            } else {
                format!("{} is not an address of one host that is reachable from here", at.ip())
            }
        }
        (_, Op::NewService(key, _) | Op::SetService(key, _)) if key.family() == crate::model::Family::V6 => {
            "an IPv6 persistence mask is a prefix length from 1 to 128".into()
        }
        _ => "the kernel takes no such entry".into(),
    };
    if number == 0 { why } else { format!("{}: {why}", words(number)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::model::{Protocol, ServiceKey, Settings, Weight};
    use crate::table::Destination;

    fn service() -> ServiceKey {
        ServiceKey::Address(Protocol::Tcp, "192.0.2.10:80".parse().unwrap())
    }

    fn settings(scheduler: &str) -> Settings {
        let scheduler = scheduler.into();
        Settings { scheduler, flags: 0, one_packet: false, persistence: None, engine: None }
    }

    fn add(at: &str, forward: Forward) -> Op {
        Op::NewDestination(service(), at.parse().unwrap(), Destination::new(forward, Weight::ONE))
    }

    #[test]
    fn the_same_number_means_different_things_for_different_operations() {
        let at = "10.0.0.1:80".parse().unwrap();
        let gone = OpError::of(ENOENT, &Op::DelDestination(service(), at));
        assert_eq!(gone, OpError::Missing);
        let unknown = OpError::of(ENOENT, &Op::NewService(service(), settings("wlx")));
        assert_eq!(unknown, OpError::NoScheduler { name: "wlx".into(), engine: None });
        assert_eq!(OpError::of(ENOENT, &add("10.0.0.1:80", Forward::Gate)), OpError::NoIpvs);
        assert_eq!(OpError::of(ESRCH, &add("10.0.0.1:80", Forward::Gate)), OpError::NoService);
    }

    #[test]
    fn only_errors_that_a_fresh_look_would_clear_up_are_stale() {
        for error in [OpError::Exists, OpError::Missing, OpError::NoService, OpError::Unknown] {
            assert!(error.is_stale(), "{error:?}");
        }
        let scheduler = OpError::NoScheduler { name: "x".into(), engine: None };
        for error in
            [scheduler, OpError::NoRight, OpError::NoIpvs, OpError::Invalid(EINVAL), OpError::Other(12)]
        {
            assert!(!error.is_stale(), "{error:?}");
        }
    }

    #[test]
    fn an_explanation_names_the_operation_the_cause_and_the_cure() {
        let op = Op::NewService(service(), settings("wlx"));
        assert_eq!(
            OpError::of(ENOENT, &op).explain(&op),
            "cannot add service 192.0.2.10:80 (wlx): the kernel knows no scheduler \"wlx\"; \
             try `modprobe ip_vs_wlx` and look for a misspelt name"
        );
        let op = add("10.0.0.1:80", Forward::Masq);
        assert_eq!(
            OpError::of(EINVAL, &op).explain(&op),
            "cannot add server 10.0.0.1:80 (masq, weight 1) to 192.0.2.10:80: Invalid argument (os error 22): \
             10.0.0.1 is not an address of one host, or this network namespace has no IPv4 address at all \
             (bring `lo` up: `ip link set lo up`)"
        );
        let op = add("[2001:db8::1]:80", Forward::Gate);
        assert!(OpError::of(EINVAL, &op).explain(&op).contains("only be reached by tunnel"));
    }
}
