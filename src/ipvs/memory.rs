//! A kernel that keeps its table in memory, for `--no-kernel`, `--dry-run` and tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{OpError, ReadError};
use super::{Kernel, Scope, wire};
use crate::table::{Op, Table};

/// A table in memory, which refuses what the kernel would refuse. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    table: Arc<Mutex<Table>>,
}

impl Memory {
    /// A kernel with that table.
    pub fn new(table: Table) -> Memory {
        Memory { table: Arc::new(Mutex::new(table)) }
    }

    /// The table as it is now.
    pub fn table(&self) -> Table {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for Memory {
    fn read(&mut self, scope: &Scope) -> Result<Table, ReadError> {
        let mut table = self.table();
        if let Scope::Only(keys) = scope {
            table.services.retain(|key, _| keys.contains(key));
        }
        Ok(table)
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let mut table = self.lock();
        ops.iter().map(|op| carry_out(&mut table, op)).collect()
    }
}

fn carry_out(table: &mut Table, op: &Op) -> Result<(), OpError> {
    if !wire::is_sendable(op) {
        return Err(OpError::Invalid(0));
    }
    let has_service = table.services.contains_key(op.service());
    if table.apply(op) {
        return Ok(());
    }
    Err(match op {
        Op::NewService(..) => OpError::Exists,
        _ if !has_service => OpError::NoService,
        Op::NewDestination(..) => OpError::Exists,
        _ => OpError::Missing,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::model::{Family, Forward, ServiceKey, Settings, Weight};
    use crate::table::Destination;

    #[test]
    fn memory_refuses_what_the_kernel_would_refuse() {
        let (key, other) = (ServiceKey::Mark(Family::V4, 7), ServiceKey::Mark(Family::V6, 7));
        let settings =
            Settings { scheduler: "rr".into(), flags: 0, one_packet: false, persistence: None, engine: None };
        let at = "10.0.0.1:80".parse().unwrap();
        let server = Destination::new(Forward::Gate, Weight::ONE);
        let mut memory = Memory::default();
        let answers = memory.apply(&[
            Op::NewService(key, settings.clone()),
            Op::NewService(key, settings.clone()),
            Op::SetService(other, settings.clone()),
            Op::NewDestination(key, at, server.clone()),
            Op::NewDestination(key, at, server.clone()),
            Op::NewDestination(other, at, server.clone()),
            Op::DelDestination(key, at),
            Op::DelDestination(key, at),
            Op::DelService(other),
            Op::NewService(other, settings.clone()),
            Op::SetService(other, Settings { scheduler: "a name much too long".into(), ..settings }),
        ]);
        let expected = [
            Ok(()),
            Err(OpError::Exists),
            Err(OpError::NoService),
            Ok(()),
            Err(OpError::Exists),
            Err(OpError::NoService),
            Ok(()),
            Err(OpError::Missing),
            Err(OpError::NoService),
            Ok(()),
            Err(OpError::Invalid(0)),
        ];
        assert_eq!(answers, expected);
        let table = memory.read(&Scope::Only([other].into())).unwrap();
        assert_eq!(table.services.keys().collect::<Vec<_>>(), [&other]);
    }
}
