//! Many keys, through three proxies, while everything goes wrong; and what must hold of it afterwards.
//!
//! Clients ([`workload`]) retry each key until it is answered for good. A [`nemesis`] breaks all three links, kills and freezes proxies, and
//! stops, starves and empties their store, by a seeded plan; the [`upstream`] misbehaves by one of its own, and keeps a
//! [`ledger`] of what it really did. Then everything is healed, each key is asked once more, and [`checks`] compare what clients were told with
//! what happened. Only the seed is repeated by a seed: what meets what depends on the machine.
//!
//! # What is checked, and of what
//!
//! Everything, of every key, but for two things that are no faults of the program:
//!
//! - A Redis that is flushed of its data has lost its keys. Of each key that was there at that moment, what was told before is checked and what comes after
//!   is not; the figures say how many keys that were. Nothing else exempts a key from anything: not a full, a read-only or a killed Redis.
//! - On the route with `unknown_outcome = "retry"`, more than one effect is allowed, and an attempt that was superseded may tell its own client its own
//!   answer, as not stored.
//!
//! # Long form
//!
//! `IDEMPROXY_HISTORY_KEYS=100000` runs longer, at the same rate; `IDEMPROXY_HISTORY_SEED` repeats a plan; `IDEMPROXY_BIN` names another
//! program, such as a release build. `TOXIPROXY_URL` puts a real Toxiproxy on the links. A run that finds something keeps its logs, and says where.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/toxics/mod.rs"]
mod toxics;

mod bad_histories;
mod checks;
mod churn;
mod client;
mod evidence;
mod explained;
mod faults;
mod figures;
mod history;
mod ledger;
mod linear;
mod nemesis;
mod options;
mod proxies;
mod run;
mod scenarios;
mod upstream;
mod watchman;
mod workload;
mod world;

use options::Options;
use world::Backing;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis() {
    let options = Options::from_environment();
    run::under_faults(Backing::Redis, &options, options.keys * 2 / 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_embedded() {
    let options = Options::from_environment();
    run::under_faults(Backing::Embedded, &options, options.keys / 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_nothing_is_unknown() {
    let options = Options::from_environment();
    for backing in [Backing::Redis, Backing::Embedded] {
        run::in_peace(backing, &options, 200).await;
    }
}
