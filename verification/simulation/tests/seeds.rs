//! Seeds that must hold, and that must repeat themselves.

use std::sync::atomic::{AtomicU64, Ordering};

use simulation::Run;

/// How many seeds; more by the environment variable `SIMULATION_SEEDS`.
const SEEDS: u64 = 1_000;

#[test]
fn every_property_holds() {
    let seeds = std::env::var("SIMULATION_SEEDS").ok();
    let seeds = seeds.map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let violations = Run::of(seed).violations();
                    assert!(
                        violations.is_empty(),
                        "seed {seed}: {violations:?}\nreplay: cargo run -p simulation -- --seed {seed}"
                    );
                }
            });
        }
    });
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..60 {
        let first = Run::of(seed).history;
        let second = Run::of(seed).history;
        let differs = first
            .iter()
            .zip(&second)
            .position(|(a, b)| a.to_string() != b.to_string());
        if let Some(line) = differs {
            panic!(
                "seed {seed}, line {line}:\n{}\n{}",
                first[line], second[line]
            );
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}
