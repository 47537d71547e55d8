//! The program dies at each step of the path of a request, is started again on the same store, and every request that was under way
//! is sent again.
//!
//! `cargo test --features faults --test crash` kills it a few times at each place; `IDEMPROXY_CRASH_ROUNDS=100` says how often, and
//! `IDEMPROXY_CRASH_SEED` repeats a run.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

mod place;
mod round;
mod verdict;

#[path = "../support/harness.rs"]
mod support;

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::iter;

use crate::place::PLACES;
use crate::round::{Backing, Round, Shape};
use crate::support::RedisServer;
use crate::verdict::Tally;

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_program_dies_nothing_runs_twice_and_what_was_told_stays_true_embedded() {
    run(Backing::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_program_dies_nothing_runs_twice_and_what_was_told_stays_true_redis() {
    run(Backing::Redis(RedisServer::start())).await;
}

async fn run(backing: Backing) {
    let rounds = number("IDEMPROXY_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed =
        number("IDEMPROXY_CRASH_SEED").unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64);
    println!("{}: IDEMPROXY_CRASH_SEED={seed}", backing.name());
    let mut random = Random(seed);
    let mut plan = Vec::new();
    for number in 0..rounds {
        for place in PLACES {
            plan.push((place, Shape::of(number, &mut random)));
        }
    }
    let played = iter(plan).map(|(place, shape)| Round::play(&backing, place, shape));
    let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
    let mut playing = played.buffer_unordered(AT_ONCE);
    while let Some((place, tally)) = playing.next().await {
        *tallies.entry(place as usize).or_default() += tally;
    }
    println!("{:<24}{}", "place", Tally::HEADING);
    for place in PLACES {
        let tally = tallies[&(place as usize)];
        println!("{:<24}{tally}", place.name());
        assert_eq!(tally.died, rounds, "{}", place.name());
    }
    println!(
        "{}: violations 0, the first of which would have ended the run",
        backing.name()
    );
}

/// Splitmix64.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().unwrap())
}

/// Times that it dies at each place on each store.
const ROUNDS: u64 = 6;
/// Rounds at a time; most of one is waiting for a disk or a lease.
const AT_ONCE: usize = 4;
