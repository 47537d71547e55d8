//! Duplicates that wait on a store which fails, forgets, or is shared.

use crate::faulty::{Fault, Faulty, Operation};
use crate::support::*;
use crate::world::Says;

const WAIT: &str = "in_flight = \"wait\"\nclient_timeout = \"10m\"\n";
/// Nothing ends a wait but what is waited for.
const LONG: &str = "wait_timeout = \"10m\"\n";

const WAITERS: &str = "idemproxy_waiters";

/// A client whose request is with the upstream, which answers when the gate opens, and one that waits for the same at `other`.
async fn two(world: &Faulty, other: &Faulty) -> (Client, Client, Gate) {
    let gate = Gate::new();
    let request = post("/orders", "k", "a");
    world
        .upstream
        .next(Reply::new(201).body("made").after(&gate));
    let first = world.begin(&request).await;
    world.upstream.executed(1).await;
    let second = other.begin(&request).await;
    eventually(|| other.metric(WAITERS) == 1.0).await;
    (first, second, gate)
}

/// Waits until whoever waits has looked so many times more.
async fn looks(world: &Faulty, more: usize) {
    let before = world.store.count_of(Operation::Look);
    eventually(|| world.store.count_of(Operation::Look) >= before + more).await;
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_ends_no_wait() {
    for fault in [Fault::Refused, Fault::RequestLost] {
        let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
        let (mut first, mut second, gate) = two(&world, &world).await;
        world.store.always(Operation::Look, fault);
        looks(&world, 2).await;
        gate.cancel();
        let first = first.answer().await;
        first.is_first(201, true, "completed");
        looks(&world, 2).await;
        assert_eq!(world.metric(WAITERS), 1.0);
        world.store.up();
        second.answer().await.replays(&first);
    }
}

#[tokio::test]
async fn a_store_that_fails_until_the_wait_is_over_is_told() {
    let world = Faulty::policy(&format!("{WAIT}wait_timeout = \"3s\"\n")).await;
    let (mut first, mut second, gate) = two(&world, &world).await;
    world.store.always(Operation::Look, Fault::Refused);
    second.answer().await.is_problem(503, "store-unavailable");
    assert!(world.store.count_of(Operation::Look) > 0);
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_record_that_becomes_unreadable_ends_the_wait() {
    let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
    let (_first, mut second, _gate) = two(&world, &world).await;
    world.store.always(Operation::Look, Fault::Unreadable);
    second.answer().await.is_problem(503, "record-unreadable");
}

#[tokio::test]
async fn a_record_that_is_gone_ends_the_wait_and_nothing_is_said_of_its_state() {
    let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
    let (mut first, mut second, gate) = two(&world, &world).await;
    world.store.forget();
    let second = second.answer().await;
    second.is_problem(409, "in-progress");
    assert_eq!(second.field("x-idempotency-state"), None, "{second:?}");
    assert_eq!(world.upstream.asked(), 1);
    gate.cancel();
    // The store gets it back.
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    world.post("k", "a").await.replays(&first);
}

#[tokio::test]
async fn a_lease_that_lapses_ends_the_wait_though_the_first_request_still_runs() {
    for (policy, error) in [
        ("", "outcome-unknown"),
        ("unknown_outcome = \"retry\"\n", "in-progress"),
    ] {
        let world = Faulty::policy(&format!("{WAIT}{LONG}{policy}lease = \"2s\"\n")).await;
        let (mut first, mut second, gate) = two(&world, &world).await;
        world.store.always(Operation::Renew, Fault::RequestLost);
        let second = second.answer().await;
        second.is_problem(409, error).in_state("unknown");
        assert!(world.store.count_of(Operation::Renew) > 0);
        assert_eq!(world.upstream.asked(), 1);
        gate.cancel();
        first.answer().await.is_first(201, true, "completed");
    }
}

#[tokio::test]
async fn an_end_that_is_told_later_wakes_those_who_wait_then() {
    let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
    let (mut first, mut second, gate) = two(&world, &world).await;
    world.store.always(Operation::Replace, Fault::Refused);
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, false, "in-flight");
    looks(&world, 2).await;
    assert_eq!(world.metric(WAITERS), 1.0);
    world.store.up();
    let second = second.answer().await;
    assert_eq!(second.all("x-idempotency-replay"), ["true"], "{second:?}");
    assert_eq!(
        (second.text().as_str(), world.upstream.asked()),
        ("made", 1)
    );
}

#[tokio::test]
async fn those_who_wait_see_what_another_instance_settles() {
    let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
    let other = world.another(&format!("{WAIT}{LONG}")).await;
    let (mut first, mut second, gate) = two(&world, &other).await;
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    second.answer().await.replays(&first);
    patiently(other.tasks_settle()).await;
}

#[tokio::test]
async fn nobody_looks_for_those_who_waited_and_have_left() {
    let world = Faulty::policy(&format!("{WAIT}{LONG}")).await;
    let (mut first, second, gate) = two(&world, &world).await;
    assert_eq!(world.tasks.len(), 2);
    second.abort();
    // What is left is the first request.
    eventually(|| world.metric(WAITERS) == 0.0 && world.tasks.len() == 1).await;
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}
