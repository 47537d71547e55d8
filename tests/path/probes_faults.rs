//! Probes while the store fails, the record changes, the client leaves and the proxy stops.

use crate::faulty::{Fault, Faulty, Operation};
use crate::support::*;
use crate::world::Says;

const PROBE: &str = r#"
    unknown_outcome = "probe"
    probe = { path = "/orders/{key}", after = "1h" }
"#;

/// A world with a key whose outcome is unknown.
async fn in_doubt(more: &str) -> (Faulty, Request) {
    let world = Faulty::policy(&format!("{PROBE}{more}")).await;
    let request = post("/orders", "k", "a");
    world.upstream.next(Act::new([Step::Fin]));
    world
        .send(&request)
        .await
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
    (world, request)
}

#[tokio::test]
async fn what_was_found_and_not_written_is_not_told() {
    let (world, request) = in_doubt("").await;
    world.upstream.next(Reply::new(200).body("row"));
    let before = world.store.count_of(Operation::Replace);
    world.store.once(Operation::Replace, Fault::Refused);
    world
        .send(&request)
        .await
        .is_problem(503, "store-unavailable");
    assert_eq!(world.store.count_of(Operation::Replace), before + 1);
    world.upstream.next(Reply::new(200).body("row"));
    let found = world.send(&request).await;
    assert_eq!((found.status, found.text()), (200, "row".to_owned()));
    world.send(&request).await.replays(&found);
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn a_record_that_changes_while_the_upstream_is_asked_is_looked_at_again() {
    let (world, request) = in_doubt("").await;
    let other = world.another(PROBE).await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(200).body("late").after(&gate));
    let mut late = world.begin(&request).await;
    world.upstream.asked_for(2).await;
    world.upstream.next(Reply::new(200).body("row"));
    let found = other.send(&request).await;
    assert_eq!((found.status, found.text()), (200, "row".to_owned()));
    gate.cancel();
    late.answer().await.replays(&found);
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn the_drain_deadline_ends_a_question_and_leaves_the_outcome_unknown() {
    let (world, request) = in_doubt("").await;
    world.upstream.next(Act::new([Step::Never]));
    let mut client = world.begin(&request).await;
    world.upstream.asked_for(2).await;
    world.stop.draining.cancel();
    world.stop.deadline.cancel();
    client
        .answer()
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
}

#[tokio::test]
async fn what_is_found_after_client_timeout_is_there_at_the_retry() {
    let (world, request) = in_doubt("client_timeout = \"200ms\"\n").await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(200).body("row").after(&gate));
    let answer = world.send(&request).await;
    answer.is_problem(504, "still-processing");
    assert!(answer.all("x-idempotency-state").is_empty(), "{answer:?}");
    gate.cancel();
    let replay = world.settled(&request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!(replay.text(), "row");
    assert_eq!(world.upstream.asked(), 2);
}
