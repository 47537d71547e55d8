//! What a request does about what it finds in the store.

use super::STORE;
use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn a_key_that_is_not_known_is_claimed_and_forwarded() {
    let world = World::policy(STORE, "").await;
    let answer = world.post("k", "a").await;
    answer.is_first(201, true, "completed");
    assert_eq!(answer.text(), "made 1");
    assert_eq!(world.upstream.executions(), 1);
    let entry = world.upstream.last();
    assert_eq!(
        (entry.method.as_str(), entry.target.as_str()),
        ("POST", "/orders")
    );
    assert_eq!(entry.body, b"a");
    assert_eq!(entry.field("idempotency-key"), Some("k"));
    assert_eq!(entry.field("x-idempotency-attempt"), None);
}

#[tokio::test]
async fn a_completed_key_replays_and_does_not_execute() {
    let world = World::policy(STORE, "").await;
    let first = world.post("k", "a").await;
    for _ in 0..3 {
        world.post("k", "a").await.replays(&first);
    }
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_completed_key_refuses_another_request() {
    let world = World::policy(STORE, "").await;
    world.post("k", "a").await.is_first(201, true, "completed");
    let answer = world.post("k", "b").await;
    answer.is_problem(422, "key-reused").in_state("completed");
    let detail = answer.document()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("body") && !detail.contains("query"),
        "{detail}"
    );
    let answer = world.send(&post("/orders?x=1", "k", "a")).await;
    answer.is_problem(422, "key-reused").in_state("completed");
    let detail = answer.document()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("query") && !detail.contains("body"),
        "{detail}"
    );
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_released_key_is_claimed_again() {
    let world = World::policy(STORE, "").await;
    world.upstream.next(Reply::new(503));
    world.post("k", "a").await.is_first(503, false, "released");
    let second = world.post("k", "a").await;
    second.is_first(201, true, "completed");
    // Not a take-over: the first attempt is known not to have been carried out.
    assert_eq!(world.upstream.last().field("x-idempotency-attempt"), None);
    world.post("k", "a").await.replays(&second);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_released_key_may_be_used_for_another_request() {
    let world = World::policy(STORE, "").await;
    world.upstream.next(Reply::new(500));
    world.post("k", "a").await.is_first(500, false, "released");
    let second = world.post("k", "b").await;
    second.is_first(201, true, "completed");
    world
        .post("k", "a")
        .await
        .is_problem(422, "key-reused")
        .in_state("completed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_duplicate_of_a_running_request_is_refused_and_later_replayed() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    world
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    world
        .post("k", "b")
        .await
        .is_problem(422, "key-reused")
        .in_state("in-flight");
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_upstream_works() {
    let world = World::policy(STORE, "lease = \"200ms\"\nunknown_outcome = \"retry\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.stays_in_flight(&request, 700).await;
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_key_whose_outcome_is_unknown_is_refused() {
    let world = World::policy(STORE, "").await;
    world.upstream.next(Act::new([Step::Fin]));
    world
        .post("k", "a")
        .await
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
    for _ in 0..2 {
        world
            .post("k", "a")
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
    }
    world
        .post("k", "b")
        .await
        .is_problem(422, "key-reused")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_key_whose_outcome_is_unknown_is_taken_over_where_the_policy_says_so() {
    let world = World::policy(STORE, "unknown_outcome = \"retry\"\nlease = \"300ms\"").await;
    world.upstream.next(Act::new([Step::Reset]));
    world
        .post("k", "a")
        .await
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
    // Another request is not the one to repeat.
    world
        .post("k", "b")
        .await
        .is_problem(422, "key-reused")
        .in_state("unknown");
    let second = world.settled(&post("/orders", "k", "a")).await;
    second.is_first(201, true, "completed");
    assert_eq!(
        world.upstream.last().all("x-idempotency-attempt"),
        ["2"],
        "the upstream can tell that it may have seen this before"
    );
    world.post("k", "a").await.replays(&second);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_completed_record_ends_with_its_retention() {
    let world = World::policy(STORE, "retention = \"300ms\"").await;
    let request = post("/orders", "k", "a");
    let first = world.send(&request).await;
    first.is_first(201, true, "completed");
    patiently(async {
        while world
            .send(&request)
            .await
            .field("x-idempotency-replay")
            .is_some()
        {}
    })
    .await;
    assert_eq!(world.upstream.executions(), 2);
}

#[tokio::test]
async fn a_short_retention_does_not_end_what_is_unknown() {
    let world = World::policy(STORE, "retention = \"100ms\"\nlease = \"100ms\"").await;
    world.upstream.next(Act::new([Step::Fin]));
    world
        .post("k", "a")
        .await
        .is_problem(502, "upstream-failed");
    // Until another key of the same age has ended.
    let other = post("/orders", "other", "a");
    world.send(&other).await.is_first(201, true, "completed");
    patiently(async {
        while world
            .send(&other)
            .await
            .field("x-idempotency-replay")
            .is_some()
        {}
    })
    .await;
    world
        .post("k", "a")
        .await
        .is_problem(409, "outcome-unknown");
}

#[tokio::test]
async fn sixty_four_duplicates_at_once_execute_once() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(world.connect().await);
    }
    let bytes = request.bytes();
    let answers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                client.send(&bytes).await;
                client.answer().await
            })
        })
        .collect();
    world.upstream.executed(1).await;
    gate.cancel();
    let mut first = 0;
    for answer in answers {
        let answer = patiently(answer).await.unwrap();
        if answer.status == 201 {
            first += usize::from(answer.field("x-idempotency-replay").is_none());
            answer.in_state("completed");
        } else {
            answer.is_problem(409, "in-progress");
        }
    }
    assert_eq!((first, world.upstream.asked()), (1, 1));
}
