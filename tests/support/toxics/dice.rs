//! Random choices that a seed repeats.

use std::env;
use std::hash::{BuildHasher, RandomState};

/// A sequence of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// One for each pair of numbers, of a seed.
    pub(super) fn of(seed: u64, one: u64, two: u64) -> Self {
        let mut dice = Self(seed);
        for number in [one, two] {
            dice.0 = dice.next() ^ number;
        }
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Of `0.0..1.0`.
    pub(super) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of `0..=most`.
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        self.next() % most.saturating_add(1)
    }
}

/// The seed in `TOXICS_SEED`, or a new one; printed.
pub(super) fn seed() -> u64 {
    let seed = env::var("TOXICS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("TOXICS_SEED={seed}");
    seed
}
