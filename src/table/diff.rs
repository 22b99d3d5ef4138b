//! What to do to make one table equal to another, in an order that never takes the last live
//! destination from a service that shall have one. Pure.
//!
//! The work comes in two parts. [`grow`] makes services and adds or edits what is to carry
//! traffic. When it is done for all, and only on what then truly stands, [`shrink`] quiesces and
//! removes. So a failed addition can never be followed by the removal of what it was to replace.

use std::collections::BTreeSet;

use super::{Destination, Entry, Op, Table};
use crate::model::ServiceKey;

/// A part of the work, for one service: adds to the list what makes the first entry (none: it does not
/// stand) more like the second (none: it is to go).
pub type Part = fn(&ServiceKey, Option<&Entry>, Option<&Entry>, &mut Vec<Op>);

/// Both parts, in their order.
pub const PARTS: [Part; 2] = [grow, shrink];

/// What makes a service more like what is wanted without taking anything away: itself or its settings,
/// then new destinations, then edits of destinations that carry traffic afterwards.
pub fn grow(key: &ServiceKey, have: Option<&Entry>, want: Option<&Entry>, ops: &mut Vec<Op>) {
    let Some(want) = want else { return };
    match have {
        None => ops.push(Op::NewService(*key, want.settings.clone())),
        Some(have) if have.settings != want.settings => {
            ops.push(Op::SetService(*key, want.settings.clone()));
        }
        Some(_) => {}
    }
    add(key, have, want, |d| d.weight.is_live(), ops);
    add(key, have, want, |d| !d.weight.is_live(), ops);
    edit(key, have, want, |d| d.weight.is_live(), ops);
}

/// What is left to do after [`grow`] was carried out as far as the kernel let it: edits to weight
/// 0, removed destinations, the removed service. `have` is what stands after that. A service that
/// shall be live, and of whose live destinations none has come to stand, keeps all it has.
pub fn shrink(key: &ServiceKey, have: Option<&Entry>, want: Option<&Entry>, ops: &mut Vec<Op>) {
    let Some(stands) = have else { return };
    let Some(want) = want else { return ops.push(Op::DelService(*key)) };
    if want.is_live() && !serves(stands, want) {
        return;
    }
    edit(key, have, want, |d| !d.weight.is_live(), ops);
    let gone = stands.destinations.keys().filter(|at| !want.destinations.contains_key(at));
    ops.extend(gone.map(|at| Op::DelDestination(*key, *at)));
}

/// A part of the work for all of `ours`, in the order in which it is to be done.
pub fn of_all(part: Part, actual: &Table, desired: &Table, ours: &BTreeSet<ServiceKey>) -> Vec<Op> {
    let mut ops = Vec::new();
    order(desired, ours).for_each(|key| part(key, actual.entry(key), desired.entry(key), &mut ops));
    ops
}

/// Services in the order in which they are looked at: what is to go comes last.
pub fn order<'a>(desired: &Table, ours: &'a BTreeSet<ServiceKey>) -> impl Iterator<Item = &'a ServiceKey> {
    let stays = |key: &&ServiceKey| desired.services.contains_key(key);
    ours.iter().filter(stays).chain(ours.iter().filter(move |key| !stays(key)))
}

/// How many operations it takes to make one entry into the other.
pub fn distance(have: Option<&Entry>, want: &Entry) -> usize {
    let Some(have) = have else { return 1 + want.destinations.len() };
    let wrong = want.destinations.iter().filter(|(at, d)| have.destinations.get(at) != Some(d));
    let gone = have.destinations.keys().filter(|at| !want.destinations.contains_key(at));
    usize::from(have.settings != want.settings) + wrong.count() + gone.count()
}

/// Whether some destination carries traffic now and shall do so.
fn serves(have: &Entry, want: &Entry) -> bool {
    let mut live = want.destinations.iter().filter(|(_, d)| d.weight.is_live());
    live.any(|(at, _)| have.destinations.get(at).is_some_and(|d| d.weight.is_live()))
}

/// New destinations, those that `which` picks.
fn add(
    key: &ServiceKey,
    have: Option<&Entry>,
    want: &Entry,
    which: fn(&Destination) -> bool,
    ops: &mut Vec<Op>,
) {
    let missing = |at| have.is_none_or(|have| !have.destinations.contains_key(at));
    let fresh = want.destinations.iter().filter(|(at, d)| which(d) && missing(*at));
    ops.extend(fresh.map(|(at, d)| Op::NewDestination(*key, *at, d.clone())));
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
