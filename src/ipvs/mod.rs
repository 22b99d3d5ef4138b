//! The kernel's side of IPVS: knows tables, nothing of probes or configurations.
//!
//! ```text
//! Kernel ─┬─ Netlink (windows, dumps) ── wire (bytes ↔ table) ── socket ── the real kernel
//!         └─ Memory (a table that refuses as the kernel would)
//! ```

mod consts;
pub mod error;
mod memory;
mod netlink;
mod socket;
pub mod wire;

use std::collections::BTreeSet;

pub use memory::Memory;
pub use netlink::Netlink;

use crate::model::ServiceKey;
use crate::table::flow::Flows;
use crate::table::{Op, Table};
use error::{OpError, ReadError};

/// Which services to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole table.
    All,
    /// These; one that is not there is missing from the answer.
    Only(BTreeSet<ServiceKey>),
}

/// A kernel with an IPVS table: the real one, one in memory, or a test's.
pub trait Kernel: Send {
    /// Reads the table. Blocks.
    ///
    /// The kernel gives no snapshot. While somebody else changes the table, an entry may be
    /// missing from what is read: that is reason to look again, never proof.
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError>;

    /// Reads the connections of all destinations of these services; a service that is not there has none.
    /// Blocks.
    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError>;

    /// Carries the operations out in order, each whether or not an earlier one failed, and says
    /// how each went (as many answers as operations, in their order). Blocks.
    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>>;
}
