//! The difference of two tables of 10,000 servers.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;

use lvsentry::model::Weight;
use lvsentry::table::{Op, Table, diff};

use crate::pair::Pairs;
use crate::plan::LARGE;

pub(crate) fn measure(pairs: &mut Pairs) {
    let (desired, empty) = (LARGE.table(), Table::default());
    // As the kernel is read: nothing shared.
    let (same, mut other) = (LARGE.table(), LARGE.table());
    // The last one: whoever compares has come to the end before he finds it.
    let entry = other.services.values_mut().last().unwrap();
    Arc::make_mut(entry).destinations.values_mut().last().unwrap().weight = Weight::ZERO;

    let mut add = |id, name, actual: &Table, floor, least: &dyn Fn(&Table) -> usize| {
        let ours: BTreeSet<_> = LARGE.keys().collect();
        let mut grown = actual.clone();
        let part = |part, actual: &Table| -> Vec<Op> { diff::of_all(part, actual, &desired, &ours) };
        assert!(part(diff::grow, actual).iter().all(|op| grown.apply(op)));
        let both = || [part(diff::grow, actual), part(diff::shrink, &grown)];
        pairs.add(id, name, |b| b.iter(both), floor, |b| b.iter(|| least(black_box(actual))));
    };
    let walk = |actual: &Table| differing(actual, black_box(&desired));
    let name = "diff of 10,000 servers, nothing changed";
    add("diff-same", name, &same, "both walked and compared", &walk);
    add("diff-one", "the same, one weight changed", &other, "both walked and compared", &walk);
    let copy = |_: &Table| copied(black_box(&desired));
    add("diff-new", "the same, all new", &empty, "each destination copied to a list", &copy);
}

/// How many destinations differ, of two tables with the same ones.
fn differing(a: &Table, b: &Table) -> usize {
    let both = a.services.iter().zip(&b.services);
    both.map(|((_, a), (_, b))| a.destinations.iter().zip(&b.destinations).filter(|(a, b)| a != b).count())
        .sum()
}

fn copied(table: &Table) -> usize {
    let all = table.services.iter().flat_map(|(key, entry)| entry.destinations.iter().map(move |d| (key, d)));
    let list: Vec<_> = all.map(|(key, (at, destination))| (*key, *at, destination.clone())).collect();
    black_box(list).len()
}
