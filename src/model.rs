//! The nouns that every part shares: addresses, services, servers, policies, the plan. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use crate::span::Place;

/// Transport protocol of a service that is bound to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
    /// SCTP, IP protocol 132: only ever seen in services of others.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What identifies a virtual service in the kernel. Displays as ldirectord writes it in its log:
/// `192.0.2.10:80`, `[2001:db8::10]:80`, or the bare number of a firewall mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// Bound to an address and a port.
    Address(Protocol, SocketAddr),
    /// Bound to a firewall mark; marks of the two families are two services.
    Mark(Family, u32),
}

impl ServiceKey {
    /// The family of the service's clients.
    pub fn family(&self) -> Family {
        match self {
            ServiceKey::Address(_, at) => Family::of(at.ip()),
            ServiceKey::Mark(family, _) => *family,
        }
    }

    /// The service's port, in host order; none for a mark.
    pub fn port(&self) -> Option<u16> {
        match self {
            ServiceKey::Address(_, at) => Some(at.port()),
            ServiceKey::Mark(..) => None,
        }
    }

    /// The name with its protocol, as ldirectord uses it: `tcp:192.0.2.10:80`, `fwm:7`, `fwm6:7`.
    pub fn id(&self) -> String {
        match self {
            ServiceKey::Address(protocol, at) => format!("{protocol}:{at}"),
            ServiceKey::Mark(Family::V4, mark) => format!("fwm:{mark}"),
            ServiceKey::Mark(Family::V6, mark) => format!("fwm6:{mark}"),
        }
    }
}

impl FromStr for ServiceKey {
    type Err = ();

    /// Reads what [`ServiceKey::id`] writes.
    fn from_str(text: &str) -> Result<ServiceKey, ()> {
        let (kind, rest) = text.split_once(':').ok_or(())?;
        let address = |protocol| rest.parse().map(|at| ServiceKey::Address(protocol, at)).map_err(drop);
        let mark = |family| rest.parse().map(|mark| ServiceKey::Mark(family, mark)).map_err(drop);
        match kind {
            "tcp" => address(Protocol::Tcp),
            "udp" => address(Protocol::Udp),
            "sctp" => address(Protocol::Sctp),
            "fwm" => mark(Family::V4),
            "fwm6" => mark(Family::V6),
            _ => Err(()),
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Address(_, at) => at.fmt(f),
            ServiceKey::Mark(_, mark) => mark.fmt(f),
        }
    }
}

/// How packets reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forward {
    /// Network address translation.
    Masq,
    /// Direct routing: the packet is sent on unchanged, on the same network.
    Gate,
    /// IP in IP tunnel.
    Ipip,
    /// A way that no configuration of ours asks for (local, bypass, gue, gre), seen in the kernel:
    /// the kernel's numbers for method and tunnel type.
    Other(u32, u8),
}

impl Forward {
    /// Whether packets keep the service's port, so that a port of the server's own has no meaning.
    pub fn keeps_port(self) -> bool {
        !matches!(self, Forward::Masq)
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forward::Masq => f.write_str("masq"),
            Forward::Gate => f.write_str("gate"),
            Forward::Ipip => f.write_str("ipip"),
            Forward::Other(method, tunnel) => write!(f, "method {method} tunnel {tunnel}"),
        }
    }
}

/// A server's share of new connections; 0 takes none and keeps those it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// No new connections.
    pub const ZERO: Weight = Weight(0);
    /// The usual weight.
    pub const ONE: Weight = Weight(1);
    /// The kernel's limit (it reads the number as signed).
    pub const MAX: u32 = i32::MAX as u32;

    /// A weight, or none above the kernel's limit.
    pub fn new(weight: u32) -> Option<Weight> {
        (weight <= Weight::MAX).then_some(Weight(weight))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Whether new connections are given to it.
    pub fn is_live(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Persistence of a service: a client comes back to the same server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Persistence {
    /// How long after its last connection a client is remembered, in seconds; 1 to 2,678,400.
    pub seconds: u32,
    /// Clients that share this many leading bits of their address are one client: for IPv4 the
    /// netmask with its first octet in the highest bits (255.255.255.0 is `0xffff_ff00`), for
    /// IPv6 the prefix length.
    pub netmask: u32,
}

/// What the kernel holds of a service beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The scheduler's name; at most 15 bytes.
    pub scheduler: String,
    /// Scheduler flags 1 to 3 as the kernel's bits 0x8, 0x10, 0x20.
    pub flags: u32,
    /// One-packet scheduling (UDP).
    pub one_packet: bool,
    /// Persistence, when wanted.
    pub persistence: Option<Persistence>,
    /// The persistence engine's name; no configuration of ours sets one yet.
    pub engine: Option<String>,
}

/// Identity of a probe: equal kind, target, options, source, timeout and interval give equal
/// keys, so that equal probes are asked once. It is a digest of all that (the first half of its SHA-256): as
/// good as the text, which may hold secrets, and an eighth of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey([u8; 16]);

impl ProbeKey {
    /// The key of a probe of which this says all that makes it another one.
    pub fn of(identity: &str) -> ProbeKey {
        let (digest, mut key) = (digest(&SHA256, identity.as_bytes()), [0; 16]);
        key.copy_from_slice(&digest.as_ref()[..16]);
        ProbeKey(key)
    }
}

/// Who says whether a server is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// A probe does.
    Probe(ProbeKey),
    /// Up at once, unchecked.
    On,
    /// Never in the table (quiesced, where failed servers are), and counts as down.
    Off,
}

/// One server of one service, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address in the kernel's table (for `gate` and `ipip` with the service's port, except in
    /// the service of a mark, which has none).
    pub entry: SocketAddr,
    /// Its address as configured; what logs and people call it.
    pub address: SocketAddr,
    /// How packets reach it.
    pub forward: Forward,
    /// Its weight when it is up.
    pub weight: Weight,
    /// Above this many connections it gets no more; 0 = no limit.
    pub upper: u32,
    /// Below this many it gets some again; at most `upper`, 0 = three quarters of it.
    pub lower: u32,
    /// Who says whether it is up.
    pub watch: Watch,
    /// Where the configuration names it.
    pub origin: Place,
}

/// What becomes of a failed server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It leaves the table.
    Remove,
    /// It stands in the table with weight 0, whenever it failed.
    Quiesce,
}

/// What a weight means that somebody set with `ipvsadm` on one of our servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// It holds until that server's next transition.
    Hold,
    /// It is drift, and repaired.
    Repair,
}

/// How a server leaves that is taken out on purpose: by a maintenance file, or by a new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// A maintenance file does what a failure does; who left the configuration goes at once.
    AsFailed,
    /// It gets no new connections, and leaves when it has none left, or after this time.
    Drain(Duration),
}

/// What keeps a server out that fails again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// So many falls …
    pub falls: u32,
    /// … within this time …
    pub within: Duration,
    /// … keep it out for this time.
    pub time: Duration,
}

/// Who serves when no server is up and no fallback can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOpen {
    /// Nobody.
    No,
    /// The server that was up last.
    KeepLast,
    /// Every server that was ever up.
    KeepAll,
}

/// A server of last resort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Its address in the kernel's table.
    pub entry: SocketAddr,
    /// Its address as configured.
    pub address: SocketAddr,
    /// How packets reach it.
    pub forward: Forward,
    /// Who says whether it is up; most often nobody does, and it is taken for up.
    pub watch: Watch,
}

/// How a service reacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Bad results in a row that take a server down; at least 1.
    pub fall: u32,
    /// Good results in a row that bring it up; at least 1.
    pub rise: u32,
    /// What becomes of a failed server.
    pub on_failure: OnFailure,
    /// What a weight set by hand means.
    pub by_hand: ByHand,
    /// How servers leave that are taken out on purpose.
    pub removal: Removal,
    /// What keeps a server out that fails again and again.
    pub hold: Option<Hold>,
    /// How long a server that comes up beside others takes to get its whole weight.
    pub slow_start: Option<Duration>,
    /// The servers of last resort: the first that is up serves when no server is.
    pub fallbacks: Vec<Fallback>,
    /// Whether a server that is up with weight 0 keeps the fallback out.
    pub zero_serves: bool,
    /// Who serves when no fallback can.
    pub fail_open: FailOpen,
    /// Whether the service leaves the kernel when the daemon is stopped.
    pub clean_stop: bool,
}

impl Default for Policy {
    /// As ldirectord does when nothing is said.
    fn default() -> Policy {
        Policy {
            fall: 1,
            rise: 1,
            on_failure: OnFailure::Remove,
            by_hand: ByHand::Hold,
            removal: Removal::AsFailed,
            hold: None,
            slow_start: None,
            fallbacks: Vec::new(),
            zero_serves: true,
            fail_open: FailOpen::No,
            clean_stop: true,
        }
    }
}

/// One virtual service, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What identifies it in the kernel.
    pub key: ServiceKey,
    /// What the kernel shall hold of it.
    pub settings: Settings,
    /// Its servers, in the order of the file.
    pub servers: Vec<Server>,
    /// How it reacts.
    pub policy: Policy,
    /// Where the configuration names it.
    pub origin: Place,
}

/// All services that a configuration asks for, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The services by key.
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
}

impl Plan {
    /// How many servers all services have together.
    pub fn servers(&self) -> usize {
        self.services.values().map(|service| service.servers.len()).sum()
    }
}

/// A moment, as the time since the daemon's start. The core never reads a clock: time comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment `later` after this one.
    pub fn after(self, later: Duration) -> Moment {
        Moment(self.0 + later)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_id_is_read_as_it_is_written() {
        let v6 = "[2001:db8::10]:80".parse().unwrap();
        for key in [
            ServiceKey::Address(Protocol::Tcp, ([192, 0, 2, 10], 80).into()),
            ServiceKey::Address(Protocol::Udp, v6),
            ServiceKey::Mark(Family::V4, 7),
            ServiceKey::Mark(Family::V6, u32::MAX),
        ] {
            assert_eq!(key.id().parse(), Ok(key));
        }
        for wrong in ["", "tcp", "tcp:", "tcp:192.0.2.10", "fwm:-1", "fwm:4294967296", "icmp:192.0.2.1:1"] {
            assert_eq!(wrong.parse::<ServiceKey>(), Err(()), "{wrong}");
        }
    }
}
