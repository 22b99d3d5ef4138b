//! The daemon's core in a world of its own: director and reconciler on simulated time, a simulated kernel and
//! network, random failures, slow answers, reloads, orders, hand edits, kernel errors and crashes. After every
//! operation and every step what is promised must hold.
//!
//! A history follows from its seed. `LVSENTRY_SEED=N cargo test simulation` plays one again and tells what
//! happens in it; `LVSENTRY_SIMULATE=N` plays so many.

mod mutants;
mod plans;
mod random;
mod truth;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use mutants::{MUTANTS, Mutant};
use world::World;

/// Histories of a usual run.
const USUAL: u64 = 10_000;

/// Steps of one history, before it is let come to rest.
const STEPS: usize = 40;

/// Plays a history; an error says what was broken.
fn play(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    run(&mut World::new(seed, mutant, false))
}

/// Plays it again, and an error says what was broken, and after what.
fn tell(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed, None, true);
    run(&mut world).map_err(|why| format!("{}\nseed {seed}: {why}", world.told()))
}

fn run(world: &mut World) -> Result<(), String> {
    (0..STEPS).try_for_each(|_| world.step())?;
    world.rest()
}

/// The least of so many seeds that `is` picks, looked for by every processor.
fn first_of(all: u64, is: impl Fn(u64) -> bool + Sync) -> Option<u64> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let best = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (is, best) = (&is, &best);
            scope.spawn(move || {
                let mut seeds = (thread..all).step_by(threads as usize);
                let found = seeds.find(|seed| *seed >= best.load(Ordering::Relaxed) || is(*seed));
                best.fetch_min(found.unwrap_or(u64::MAX), Ordering::Relaxed);
            });
        }
    });
    Some(best.into_inner()).filter(|seed| *seed < u64::MAX)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_promise_holds_in_every_history() {
    if let Some(seed) = number("LVSENTRY_SEED") {
        return tell(seed).unwrap_or_else(|why| panic!("{why}"));
    }
    let all = number("LVSENTRY_SIMULATE").unwrap_or(USUAL);
    let failed = first_of(all, |seed| play(seed, None).is_err());
    if let Some(seed) = failed {
        panic!("{}\nplay it again with LVSENTRY_SEED={seed}", tell(seed).unwrap_err());
    }
}

/// The test of the test: a daemon with one rule broken must be found out.
#[test]
fn every_broken_rule_is_found_out() {
    for mutant in MUTANTS {
        let found = first_of(USUAL, |seed| play(seed, Some(mutant)).is_err());
        assert!(found.is_some(), "nothing shows that {mutant:?} is wrong");
    }
}
