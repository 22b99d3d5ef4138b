//! A kernel that keeps its table in memory, for `--no-kernel`, `--dry-run` and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{OpError, ReadError};
use super::{Kernel, Scope, wire};
use crate::model::ServiceKey;
use crate::table::flow::{Flow, Flows};
use crate::table::{Destination, Entry, Op, Table};

/// A table in memory, which refuses what the kernel would refuse. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    table: Arc<Mutex<Table>>,
    /// Connections that are open, as a test says: nobody comes in to a table in memory.
    open: Arc<Mutex<BTreeMap<(ServiceKey, SocketAddr), u32>>>,
}

impl Memory {
    /// A kernel with that table.
    pub fn new(table: Table) -> Memory {
        Memory { table: Arc::new(Mutex::new(table)), ..Memory::default() }
    }

    /// A destination has so many established connections from now on.
    pub fn connect(&self, key: ServiceKey, at: SocketAddr, count: u32) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert((key, at), count);
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

    fn flows(&mut self, keys: &BTreeSet<ServiceKey>) -> Result<Flows, ReadError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.lock();
        let of = |key: &ServiceKey, entry: &Entry| {
            let flow = |at: &SocketAddr, d: &Destination| {
                let active = open.get(&(*key, *at)).copied().unwrap_or(0);
                (*at, Flow { weight: d.weight, active, inactive: 0 })
            };
            (*key, entry.destinations.iter().map(|(at, d)| flow(at, d)).collect())
        };
        let asked = table.services.iter().filter(|(key, _)| keys.contains(key));
        Ok(asked.map(|(key, entry)| of(key, entry)).collect())
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
    use crate::model::{Family, Forward, Settings, Weight};

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
