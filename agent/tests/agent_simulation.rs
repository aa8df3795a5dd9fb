//! Session, heartbeat and care of a tunnel through a million events of a bad
//! world, with virtual time: no byte of a stream is lost or doubled while its
//! tunnel lives, tries are bounded, and the tunnel always comes back.
//!
//! `SIMULATION_SEED` runs one seed, which a failure names, and
//! `SIMULATION_EVENTS` other than a million events in all.

mod simulation;

use std::collections::BTreeMap;
use std::time::Duration;

use simulation::{Fault, World};

const SEEDS: u64 = 10;
const EVENTS: u64 = 1_000_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_tunnel_comes_back_from_everything() {
    let events = number("SIMULATION_EVENTS").unwrap_or(EVENTS);
    let seeds: Vec<u64> = match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (1..=SEEDS).collect(),
    };
    let mut returns: BTreeMap<Fault, Vec<Duration>> = BTreeMap::new();
    let mut completed = 0;
    for &seed in &seeds {
        let mut world = World::new(seed);
        while world.events < events / seeds.len() as u64 {
            world.step();
        }
        completed += world.completed;
        for (fault, times) in world.returns {
            returns.entry(fault).or_default().extend(times);
        }
    }
    println!("{completed} streams were carried to their end");
    for (fault, times) in &mut returns {
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{fault:?}: {} times, back after {median:.1?}, at worst {worst:.1?}", times.len());
        assert!(times.len() > 3 || events < EVENTS, "{fault:?} was hardly tried");
    }
    assert!(completed > 1000 || events < EVENTS, "{completed} streams say little");
}
