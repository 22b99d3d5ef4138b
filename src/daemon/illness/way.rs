//! What is asked of the kernel about the way to a server.

use std::net::IpAddr;

/// How packets leave this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They do not: there is no route, or one that forbids it.
    None,
    /// Through an interface, by its number, and a gateway where the target is not on that link.
    Out {
        /// The interface's number.
        interface: u32,
        /// The gateway's address.
        gateway: Option<IpAddr>,
    },
}

/// A gateway on a link of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// The number of the interface.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
}

/// What the kernel thinks of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not answer (FAILED).
    Silent,
    /// It is being asked (INCOMPLETE, PROBE).
    Asking,
    /// It answered once, and is taken to be there (REACHABLE, STALE, DELAY).
    Believed,
    /// Nothing can be said: never met, set by hand or by another program, or it needs no address (NOARP).
    Unknown,
}

/// Somebody who looks. May block for a moment; where an answer can not be had, it is the one that
/// speaks for this host.
pub trait Look: Send {
    /// How packets to `to` leave; none when that can not be said.
    fn way(&mut self, to: IpAddr) -> Option<Way>;

    /// Whether an interface is up and has a carrier.
    fn has_carrier(&mut self, interface: u32) -> bool;

    /// What is thought of a gateway.
    fn state(&mut self, gateway: Gateway) -> State;

    /// Asks a gateway whether it is there, as the kernel does by itself after a while. Traffic goes on
    /// meanwhile.
    fn solicit(&mut self, gateway: Gateway);
}
