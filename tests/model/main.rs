//! A model of several proxies that share a store, checked state by state; and long random runs against the memory store.
//!
//! # What is modelled
//!
//! One key. Two or three attempts at it ([`world::Actor`]), each with a task in some proxy and the janitor that takes its claim back. What they decide, claim and
//! settle, and what the store writes, is decided by the core itself: `decide`, `Attempt::claim`, `claim_over`, `settle`, `Expect::rule`, `may_renew`. The model
//! ([`protocol`]) is only the path round it: which command follows which reply.
//!
//! - Every command to the store may be lost with its reply, or arrive at any later time, when nobody waits for it any more.
//! - An attempt may be killed or fall asleep at any step but one: between its look at the clock and its first byte. No proxy can help that: one that sleeps right there
//!   sends its first byte after its claim was taken over. Only under `retry`; under `reject` nothing is ever taken over.
//! - The upstream may carry a request out at any time after its first byte, although nobody listens any more, at most once for each time it was sent. Its word is true: stored means
//!   done, released means not done and not to be done.
//! - An operator orders what the core permits without force, on the record as it was shown at any earlier time, and the order arrives at any later one.
//! - The store may be away for longer than a lease; in setups of their own it forgets, or a record reaches the end of its retention.
//!
//! # What is abstracted
//!
//! There are no clocks. *Late* says of an attempt that more than a third of the lease passed since its last acknowledged write was sent. A lease lapses only if its holder
//! is late or over: real leases lapse later than that, so the model allows more than can happen. Durations of retention and number of tries are not counted. Bodies are alike and whole:
//! the other rows of the tables are unit tests of the core. How often things go wrong is bounded by [`setup::Setup`].
//!
//! From the look that saw a lapse to the arrival of its take-over passes less than a lease. A later one would take the key for an attempt that is over, if its
//! janitor asked while the holder had just renewed: nothing would run twice by it, but a holder that sleeps then would lose its answer, and the key would be in doubt for its
//! next lapse (`CommandOutlivesLease`).
//!
//! # What holds
//!
//! Under `reject`: at most one effect a key. Under `retry`: who sends a first byte holds the claim in that very step, and of those who execute and
//! have not slept past their lease there is one at most. What a superseded holder sent before it fell asleep cannot be called back, so "one at a time" is said of claims, not of upstreams.
//! Under both: a claim is only taken from a holder that is dead, slept, or was cut off while the store was seen without a break; a completed record
//! stays; every replay is the same answer, of an effect that happened; a released record is true; an effect whose holder lives is recorded unless its claim was taken over;
//! no attempt that is over leaves its claim in flight; a client that asks one request after another is never told that it is in progress itself.
//! What an operator lets run again may run twice, and nothing else follows from it: what is said of claims, of completed records and of the living holds on.
//! Each is a property in [`properties`], and each fault in [`setup::Fault`] is a way to build it wrong that the checker must find.

#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]
#![allow(unreachable_pub, reason = "nothing of a test is public")]

mod cell;
mod checks;
mod exchange;
mod flaky;
mod interleavings;
mod properties;
mod protocol;
mod setup;
mod world;

use idemproxy::idempotency::UnknownOutcome::{Reject, Retry};
use properties as p;
use setup::{Fault, Setup};
use stateright::{Checker, HasDiscoveries, Model};

#[test]
fn under_reject_nothing_runs_twice() {
    let killed = Setup {
        losses: 1,
        crashes: 1,
        unknowns: 1,
        ..Setup::of(2, Reject)
    };
    holds(
        "reject, killed",
        killed,
        &[p::SEE_REPLAY, p::SEE_TAKEN_BACK, p::SEE_TWO_SENT],
    );
    let asleep = Setup {
        losses: 1,
        freezes: 1,
        ..Setup::of(2, Reject)
    };
    holds(
        "reject, asleep",
        asleep,
        &[p::SEE_REPLAY, p::SEE_TAKEN_BACK, p::SEE_UNKNOWN],
    );
}

#[test]
fn under_retry_one_executes_at_a_time() {
    let killed = Setup {
        losses: 1,
        crashes: 1,
        unknowns: 1,
        ..Setup::of(2, Retry)
    };
    holds(
        "retry, killed",
        killed,
        &[p::SEE_REPLAY, p::SEE_TAKEN_BACK, p::SEE_TAKE_OVER],
    );
    let asleep = Setup {
        losses: 1,
        freezes: 1,
        ..Setup::of(2, Retry)
    };
    holds(
        "retry, asleep",
        asleep,
        &[p::SEE_TAKE_OVER, p::SEE_LOST, p::SEE_TWO_SENT],
    );
}

#[test]
fn three_at_once_are_no_worse_than_two() {
    let lost = Setup {
        losses: 1,
        ..Setup::of(3, Reject)
    };
    holds(
        "reject, three",
        lost,
        &[p::SEE_REPLAY, p::SEE_TAKEN_BACK, p::SEE_TWO_SENT],
    );
    let killed = Setup {
        crashes: 1,
        ..Setup::of(3, Retry)
    };
    holds("retry, three", killed, &[p::SEE_REPLAY, p::SEE_TAKE_OVER]);
}

#[test]
fn another_body_never_runs_over_one_that_is_in_doubt() {
    let setup = Setup {
        payloads: vec![1, 1, 2],
        crashes: 1,
        ..Setup::of(3, Retry)
    };
    holds(
        "two bodies",
        setup,
        &[p::SEE_TAKE_OVER, p::SEE_UNKNOWN, p::SEE_TWO_SENT],
    );
}

#[test]
fn a_store_that_was_away_takes_no_claim_from_the_living() {
    let setup = Setup {
        outages: 1,
        losses: 1,
        ..Setup::of(2, Retry)
    };
    holds("outage", setup, &[p::SEE_REPLAY, p::SEE_TAKEN_BACK]);
}

#[test]
fn a_client_alone_is_never_told_that_it_is_in_progress() {
    for policy in [Reject, Retry] {
        let setup = Setup {
            losses: 3,
            unknowns: 1,
            one_client: true,
            ..Setup::of(3, policy)
        };
        holds(
            "one client",
            setup,
            &[p::SEE_REPLAY, p::SEE_TAKEN_BACK, p::SEE_TWO_SENT],
        );
    }
}

#[test]
fn a_store_that_forgets_breaks_no_more_than_it_must() {
    let forgets = Setup {
        forgets: 1,
        losses: 1,
        ..Setup::of(2, Reject)
    };
    holds("forgets", forgets, &[p::SEE_REPLAY, p::SEE_TWO_SENT]);
    let expires = Setup {
        expiries: 1,
        losses: 1,
        unknowns: 1,
        ..Setup::of(2, Reject)
    };
    holds("expires", expires, &[p::SEE_REPLAY, p::SEE_TWO_SENT]);
}

#[test]
fn an_operator_takes_nothing_from_the_living_and_nothing_back_that_is_completed() {
    let killed = Setup {
        crashes: 1,
        unknowns: 1,
        orders: 2,
        ..Setup::of(2, Reject)
    };
    let sights = [p::SEE_REPLAY, p::SEE_LET_RUN, p::SEE_RESOLVED];
    holds("operator, killed", killed, &sights);
    for policy in [Reject, Retry] {
        let asleep = Setup {
            freezes: 1,
            orders: 1,
            ..Setup::of(2, policy)
        };
        let sights = [p::SEE_LOST, p::SEE_LET_RUN, p::SEE_RESOLVED];
        holds("operator, asleep", asleep, &sights);
    }
    let outage = Setup {
        outages: 1,
        losses: 1,
        orders: 1,
        ..Setup::of(2, Reject)
    };
    holds("operator, outage", outage, &[p::SEE_REPLAY]);
}

#[test]
fn an_order_has_to_find_the_state_that_was_shown() {
    let setup = Setup {
        freezes: 1,
        orders: 1,
        ..Setup::of(1, Reject)
    };
    finds(Fault::OrderComparesTokenOnly, setup, p::COMPLETED);
}

#[test]
fn the_expiry_of_a_record_is_no_lease() {
    let setup = Setup {
        crashes: 1,
        ..Setup::of(2, Reject)
    };
    finds(Fault::ExpiryIsTheLease, setup, p::ONCE);
}

#[test]
fn a_take_over_has_to_ask_for_the_lapse_in_its_own_step() {
    let fault = Fault::LapseFromAnEarlierLook;
    finds(fault, sleepy(), p::TAKE_OVER);
    finds(fault, sleepy(), p::ONE_AT_A_TIME);
}

#[test]
fn every_write_has_to_compare_what_it_replaces() {
    finds(Fault::SettleComparesNothing, sleepy(), p::COMPLETED);
    finds(Fault::RenewComparesNothing, sleepy(), p::FIRST_BYTE);
    finds(Fault::AnyReleased, lossy(), p::LEFT_BEHIND);
}

#[test]
fn the_clock_has_to_be_looked_at_before_the_first_byte_and_after_each_renewal() {
    finds(Fault::NoClock, sleepy(), p::FIRST_BYTE);
    finds(Fault::ClockBeforeRenewalOnly, sleepy(), p::FIRST_BYTE);
}

#[test]
fn a_claim_whose_reply_was_lost_has_to_be_taken_back() {
    finds(Fault::NoJanitor, lossy(), p::LEFT_BEHIND);
}

#[test]
fn what_nobody_knows_must_not_be_sent_again() {
    let setup = Setup {
        unknowns: 1,
        ..Setup::of(1, Reject)
    };
    finds(Fault::RetryUnanswered, setup, p::ONCE);
}

#[test]
fn who_took_over_must_not_say_that_it_was_never_carried_out() {
    let setup = Setup {
        crashes: 1,
        ..Setup::of(2, Retry)
    };
    finds(Fault::ReleaseUnknownOutcome, setup, p::RELEASED);
}

#[test]
fn downtime_of_the_store_is_no_lapse() {
    let setup = Setup {
        outages: 1,
        ..Setup::of(2, Retry)
    };
    finds(Fault::OutageIsLapse, setup, p::TAKE_OVER);
}

#[test]
fn a_take_over_that_is_later_than_a_lease_leaves_the_key_in_doubt() {
    let setup = Setup {
        losses: 1,
        ..sleepy()
    };
    finds(Fault::CommandOutlivesLease, setup, p::LEFT_BEHIND);
}

fn sleepy() -> Setup {
    Setup {
        freezes: 1,
        ..Setup::of(2, Retry)
    }
}

fn lossy() -> Setup {
    Setup {
        losses: 1,
        ..Setup::of(2, Reject)
    }
}

/// Every property holds in every state, and none of `sights` is missing.
fn holds(name: &str, setup: Setup, sights: &[&'static str]) {
    let checker = setup.checker().spawn_bfs().join();
    println!(
        "{name}: {} states, {} transitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    for property in p::all() {
        let found = checker.discovery(property.name);
        if property.expectation.discovery_is_failure() {
            if let Some(path) = found {
                let last = path.last_state().clone();
                let steps = path.into_actions();
                panic!("{name}: not so: {}\n{steps:?}\n{last:?}", property.name);
            }
        } else if sights.contains(&property.name) {
            assert!(found.is_some(), "{name}: never seen: {}", property.name);
        }
    }
}

/// The checker finds `fault` out by `property`.
fn finds(fault: Fault, setup: Setup, property: &'static str) {
    let setup = Setup {
        fault: Some(fault),
        ..setup
    };
    let checker = setup
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{fault:?} was not found out in {states} states");
    };
    println!("{fault:?}: {states} states until {:?}", path.into_actions());
}
