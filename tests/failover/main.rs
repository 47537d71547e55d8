//! What a failover of Redis costs: primary, replicas that lag, and Sentinel, all real; the primary is killed under load.
//!
//! `IDEMPROXY_FAILOVER_ROUNDS` is the number of rounds of each test, `IDEMPROXY_FAILOVER_SEED` a seed that was printed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../support/harness.rs"]
mod support;

mod dice;
mod round;
mod tally;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use round::{Confirmed, round};
use tally::Tally;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn confirmed_by_every_replica_nothing_runs_twice_and_no_stored_answer_is_lost() {
    let tally = rounds(3, Confirmed::ByAll).await;
    assert_eq!(tally.twice, 0, "{tally}");
    assert_eq!(tally.lost, 0, "{tally}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn confirmed_by_no_replica_what_was_answered_may_be_lost() {
    let tally = rounds(2, Confirmed::ByNone).await;
    assert!(
        tally.twice + tally.lost > 0,
        "the replicas lacked nothing, and the other test shows nothing: {tally}"
    );
}

/// Runs as many rounds as are asked for, `few` if none are, some at a time; prints what came of them.
async fn rounds(few: u64, confirmed: Confirmed) -> Tally {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let rounds = number("IDEMPROXY_FAILOVER_ROUNDS").unwrap_or(few);
    let seed = number("IDEMPROXY_FAILOVER_SEED").unwrap_or_else(dice::seed);
    println!("IDEMPROXY_FAILOVER_SEED={seed}");
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut running = JoinSet::new();
    for number in 0..rounds {
        let lanes = Arc::clone(&lanes);
        running.spawn(async move {
            let _lane = lanes.acquire_owned().await.unwrap();
            round(seed.wrapping_add(number), confirmed).await
        });
    }
    let mut tally = Tally::default();
    while let Some(one) = running.join_next().await {
        tally.add(&one.unwrap());
        if tally.rounds % 20 == 0 {
            println!("{confirmed:?}, so far: {tally}");
        }
    }
    println!("confirmed {confirmed:?}: {tally}");
    assert_eq!(tally.rounds, rounds);
    tally.shows_something();
    tally
}

/// Rounds at a time.
const LANES: usize = 3;
