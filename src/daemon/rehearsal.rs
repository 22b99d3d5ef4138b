//! A kernel that only says what would be done to it (`run --dry-run`).

use std::collections::BTreeSet;
use std::io::{Write, stdout};

use crate::ipvs::error::{OpError, ReadError};
use crate::ipvs::{Kernel, Memory, Scope};
use crate::model::ServiceKey;
use crate::table::flow::Flows;
use crate::table::{Op, Table};

/// Keeps a copy of the table, changes the copy, and prints each change.
pub struct Rehearsal {
    copy: Memory,
}

impl Rehearsal {
    /// Begins with `table`: what the real kernel holds.
    pub fn new(table: Table) -> Rehearsal {
        Rehearsal { copy: Memory::new(table) }
    }
}

impl Kernel for Rehearsal {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        self.copy.read(scope)
    }

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        self.copy.flows(keys)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut out = stdout().lock();
        for op in ops {
            // Nobody reads any more: the log on standard error still says it.
            let _ = writeln!(out, "would {op}");
        }
        self.copy.apply(ops)
    }
}
