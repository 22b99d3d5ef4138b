//! What to do to make one table equal to another, in an order that never takes the last live
//! destination from a service that shall have one. Pure.
//!
//! The work comes in two parts. [`grow`] makes services and adds or edits what is to carry
//! traffic. When it is done, and only on what then truly stands, [`shrink`] quiesces and removes.
//! So a failed addition can never be followed by the removal of what it was to replace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Destination, Entry, Op, Table};
use crate::model::ServiceKey;

/// What makes `actual` more like `desired` without taking anything away: new and changed services,
/// then new destinations, then edits of destinations that carry traffic afterwards. Looks only at
/// `ours`.
pub fn grow(actual: &Table, desired: &Table, ours: &BTreeSet<ServiceKey>) -> Vec<Op> {
    let mut ops = Vec::new();
    for (key, want) in wanted(desired, ours) {
        let have = actual.services.get(key).map(Arc::as_ref);
        match have {
            None => ops.push(Op::NewService(*key, want.settings.clone())),
            Some(have) if have.settings != want.settings => {
                ops.push(Op::SetService(*key, want.settings.clone()));
            }
            Some(_) => {}
        }
        add(key, have, want, &mut ops);
        edit(key, have, want, |d| d.weight.is_live(), &mut ops);
    }
    ops
}

/// What is left to do after [`grow`] was carried out as far as the kernel let it: edits to weight
/// 0, removed destinations, removed services. `actual` is what stands after that. A service that
/// shall be live, and of whose live destinations none has come to stand, keeps all it has.
pub fn shrink(actual: &Table, desired: &Table, ours: &BTreeSet<ServiceKey>) -> Vec<Op> {
    let mut ops = Vec::new();
    for (key, want) in wanted(desired, ours) {
        let Some(have) = actual.services.get(key) else { continue };
        if want.is_live() && !serves(have, want) {
            continue;
        }
        edit(key, Some(have), want, |d| !d.weight.is_live(), &mut ops);
        for at in have.destinations.keys().filter(|at| !want.destinations.contains_key(at)) {
            ops.push(Op::DelDestination(*key, *at));
        }
    }
    let gone = ours.iter().filter(|key| !desired.services.contains_key(key));
    ops.extend(gone.filter(|key| actual.services.contains_key(key)).map(|key| Op::DelService(*key)));
    ops
}

fn wanted<'a>(
    desired: &'a Table,
    ours: &'a BTreeSet<ServiceKey>,
) -> impl Iterator<Item = (&'a ServiceKey, &'a Entry)> {
    let all = desired.services.iter().map(|(key, entry)| (key, entry.as_ref()));
    all.filter(|(key, _)| ours.contains(key))
}

/// Whether some destination carries traffic now and shall do so.
fn serves(have: &Entry, want: &Entry) -> bool {
    let mut live = want.destinations.iter().filter(|(_, d)| d.weight.is_live());
    live.any(|(at, _)| have.destinations.get(at).is_some_and(|d| d.weight.is_live()))
}

/// New destinations, those that carry traffic first.
fn add(key: &ServiceKey, have: Option<&Entry>, want: &Entry, ops: &mut Vec<Op>) {
    let missing = |at| have.is_none_or(|have| !have.destinations.contains_key(at));
    let fresh = || want.destinations.iter().filter(|(at, _)| missing(*at));
    let (live, idle): (Vec<_>, Vec<_>) = fresh().partition(|(_, d)| d.weight.is_live());
    ops.extend(live.into_iter().chain(idle).map(|(at, d)| Op::NewDestination(*key, *at, d.clone())));
}

/// Edits of the destinations that stand and differ, of those that `which` picks.
fn edit(
    key: &ServiceKey,
    have: Option<&Entry>,
    want: &Entry,
    which: fn(&Destination) -> bool,
    ops: &mut Vec<Op>,
) {
    let Some(have) = have else { return };
    for (at, d) in want.destinations.iter().filter(|(_, d)| which(d)) {
        if have.destinations.get(at).is_some_and(|known| known != d) {
            ops.push(Op::SetDestination(*key, *at, d.clone()));
        }
    }
}
