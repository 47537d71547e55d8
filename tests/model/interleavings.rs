//! Long random runs of the real memory store under several proxies, in a time of its own.
//!
//! A run is a number: what goes wrong and when follows from it alone, and a failure names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idemproxy::idempotency::{State, UnknownOutcome};
use idemproxy::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::exchange::{Counts, Exchange, Ledger, Stage, id};
use crate::flaky::Flaky;

const KEYS: usize = 4;
const PROXIES: u64 = 3;
/// Requests that each proxy gets.
const REQUESTS: u64 = 40;
const RUNS: u32 = 150;

#[test]
fn under_reject_no_run_has_an_effect_twice() {
    let seen = runs(UnknownOutcome::Reject, 0, |stage, key| {
        assert!(stage.keys[key].lock().unwrap().effects <= 1);
    });
    seen.require(&[
        "lost",
        "late",
        "killed",
        "slept",
        "gave up or lost",
        "taken back",
        "replayed",
    ]);
}

#[test]
fn under_retry_no_run_has_two_at_once() {
    let seen = runs(UnknownOutcome::Retry, 0, |_, _| {});
    seen.require(&[
        "lost",
        "late",
        "killed",
        "slept",
        "gave up or lost",
        "taken back",
        "taken over",
        "replayed",
    ]);
}

#[test]
fn a_store_that_forgets_costs_one_effect_each_time_at_most() {
    let seen = runs(UnknownOutcome::Reject, 3, |stage, key| {
        let forgotten = stage.store.forgotten.load(Ordering::Relaxed);
        assert!(stage.keys[key].lock().unwrap().effects <= 1 + forgotten);
    });
    seen.require(&["lost", "late", "killed", "forgotten", "replayed"]);
}

/// What was seen over all runs.
#[derive(Default)]
struct Sightings(Vec<(&'static str, u32)>);

impl Sightings {
    fn add(&mut self, stage: &Stage) {
        let Counts {
            killed,
            slept,
            gave_up,
            taken_back,
            taken_over,
            replayed,
            lost_claims,
        } = &stage.counts;
        let store = &stage.store;
        let sum = |of: &[&AtomicU32]| of.iter().map(|it| it.load(Ordering::Relaxed)).sum::<u32>();
        let now = [
            ("lost", sum(&[&store.lost])),
            ("late", sum(&[&store.late])),
            ("forgotten", sum(&[&store.forgotten])),
            ("killed", sum(&[killed])),
            ("slept", sum(&[slept])),
            ("gave up or lost", sum(&[gave_up, lost_claims])),
            ("taken back", sum(&[taken_back])),
            ("taken over", sum(&[taken_over])),
            ("replayed", sum(&[replayed])),
        ];
        if self.0.is_empty() {
            self.0 = now.to_vec();
        } else {
            self.0
                .iter_mut()
                .zip(now)
                .for_each(|(all, one)| all.1 += one.1);
        }
    }

    /// A run in which nothing went wrong proves nothing.
    fn require(&self, names: &[&str]) {
        println!("{:?}", self.0);
        for name in names {
            let seen = self
                .0
                .iter()
                .find(|(it, _)| it == name)
                .map(|(_, times)| *times);
            assert!(seen > Some(0), "never seen: {name}");
        }
    }
}

fn runs(policy: UnknownOutcome, forgets: u64, check: impl Fn(&Stage, usize)) -> Sightings {
    let seen = std::cell::RefCell::new(Sightings::default());
    let config = Config {
        cases: RUNS,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&(any::<u64>(), 1..15_u64), |(seed, badness)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let stage = runtime.block_on(play(policy, forgets, seed, badness));
            for key in 0..KEYS {
                runtime.block_on(check_end(&stage, key));
                check(&stage, key);
            }
            seen.borrow_mut().add(&stage);
            Ok(())
        })
        .unwrap();
    seen.into_inner()
}

/// Each proxy gets its requests over ten minutes or so.
async fn play(policy: UnknownOutcome, forgets: u64, seed: u64, badness: u64) -> Arc<Stage> {
    let stage = Arc::new(Stage {
        store: Arc::new(Flaky::new(seed, badness)),
        policy,
        keys: (0..KEYS).map(|_| Ledger::default().into()).collect(),
        counts: Counts::default(),
    });
    let chance = &stage.store.chance;
    let mut tasks = JoinSet::new();
    for who in 1..=PROXIES * REQUESTS {
        let wait = Duration::from_millis(chance.below(600_000));
        let exchange = Exchange {
            stage: stage.clone(),
            key: chance.below(KEYS as u64) as usize,
            who: who as u32,
        };
        tasks.spawn(async move {
            sleep(wait).await;
            exchange.run().await;
        });
    }
    for _ in 0..forgets {
        let (wait, store) = (
            Duration::from_millis(chance.below(600_000)),
            stage.store.clone(),
        );
        tasks.spawn(async move {
            sleep(wait).await;
            store.forget();
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    // The last of the late commands arrive.
    let over = Instant::now() + Duration::from_secs(60);
    tokio::time::sleep_until(over).await;
    stage
}

/// What holds when all is over, whatever went wrong.
async fn check_end(stage: &Stage, key: usize) {
    if stage.store.forgotten.load(Ordering::Relaxed) > 0 {
        return;
    }
    let Some(seen) = stage.store.memory().look(id(key)).await.unwrap() else {
        return;
    };
    let ledger = stage.keys[key].lock().unwrap();
    match seen.record.state {
        State::InFlight => assert!(ledger.killed.contains(&seen.record.token), "left behind"),
        State::Released => assert_eq!(ledger.effects, 0, "released, and was done"),
        State::Completed => assert!(ledger.effects > 0),
        State::Unknown => {}
    }
}
