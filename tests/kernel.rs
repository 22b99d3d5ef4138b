//! Tests against a real kernel's IPVS, each in network namespaces of its own. They need root and
//! fail where there is no IPVS: `tests/run` runs them in the lab, or on this kernel where it can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos; // everything goes wrong: kill -9, broken files, limits, crowds, and nothing is lost
mod director; // the daemon: adoption, drift, reload, quiescence, what ipvsadm sees
mod illness; // evidence on our own side delays removals, and nothing else does
mod ldirectord; // called by ldirectord's name: its daemon, Debian's own files around it
mod netlink; // the table: what is written reads back, every error has its meaning
mod oracle; // the same tables as ldirectord, for every configuration that it has judged
mod setups;
mod standby; // a pair of directors, and an address that moves from one to the other // the classic set-ups with real traffic: NAT, direct routing, tunnel, mixed
