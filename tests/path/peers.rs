//! What others do wrong: each was seen in the wild, and each is a rule here.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// Seen: early returns after the key is locked leave the lock in place.
#[tokio::test]
async fn no_way_out_of_an_exchange_leaves_its_key_locked() {
    let world = World::policy(
        STORE,
        "upstream_timeout = \"200ms\"\nretry = { attempts = 1 }\nmax_stored_response = \"10B\"",
    )
    .await;
    let large = Reply::new(201).body("more than ten bytes");
    let ways = [
        Reply::new(201).into(),
        Reply::new(409).into(),
        Reply::new(500).into(),
        Reply::new(502).into(),
        Reply::new(201).cut_after(0).then(Step::Fin),
        large.clone().into(),
        large.cut_after(12).then(Step::Reset),
        Act::new([Step::Fin]),
        Act::new([Step::Reset]),
        Act::new([Step::Never]),
        Act::new([Step::Send(b"nonsense\r\n\r\n".to_vec()), Step::Fin]),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let request = post("/orders", &number.to_string(), "a");
        world.upstream.next(way);
        world.send(&request).await;
        let retry = world.settled(&request).await;
        let error = retry.field("x-idempotency-error");
        assert!(
            matches!(
                error.as_deref(),
                None | Some("outcome-unknown" | "response-not-stored")
            ),
            "{number}: {retry:?}"
        );
    }
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
}

/// Seen: lock lifetime, upstream timeout and retention are one number, and a retry after it runs again.
#[tokio::test]
async fn an_upstream_slower_than_lease_and_retention_is_asked_once() {
    let world = World::policy(STORE, "lease = \"200ms\"\nretention = \"300ms\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    // Until a record that was completed after the claim has come and gone.
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
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
}

/// Seen: no fingerprint and no path in the key, so another request gets the wrong answer.
#[tokio::test]
async fn another_request_never_gets_the_answer_of_this_one() {
    let world = World::policy(STORE, "").await;
    let first = world.send(&post("/orders", "k", "a")).await;
    for other in [
        post("/refunds", "k", "a"),
        post("/orders", "k", "b"),
        post("/orders?x=1", "k", "a"),
        post("/orders", "k", "a").field("Authorization", "Bearer other"),
    ] {
        let answer = world.send(&other).await;
        assert_eq!(answer.field("x-idempotency-replay"), None, "{answer:?}");
        assert_ne!(answer.body, first.body);
    }
}

/// Seen: waiters hold pooled connections, and ten duplicates stop all traffic; a peer answered none of 64.
#[tokio::test]
async fn a_crowd_of_duplicates_is_answered_while_the_first_one_runs() {
    let world = World::config(STORE, "[upstream_connections]\nmax_connections = 1").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(world.begin(&request).await);
    }
    for duplicate in &mut crowd {
        duplicate
            .answer()
            .await
            .is_problem(409, "in-progress");
    }
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.connections(), 1);
}

/// Seen: a waiter that gives up deletes the winner's claim.
#[tokio::test]
async fn duplicates_that_leave_do_not_touch_the_claim_of_the_first() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    for _ in 0..10 {
        world.begin(&request).await.abort();
        world
            .send(&request)
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
    }
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

/// Seen: the upstream call runs inside of the client's request, and a client that leaves cancels it half way; or deletes the
/// claim of work that was done.
#[tokio::test]
async fn a_client_that_leaves_at_any_moment_changes_nothing() {
    let world = World::policy(STORE, "max_stored_response = \"100B\"").await;
    let gate = Gate::new();
    let large = Reply::new(201).body(vec![b'x'; 200_000]);
    let bytes = large.bytes();
    let (head, rest) = bytes.split_at(bytes.len() - 150_000);
    let halves = Act::new([
        Step::Send(head.to_vec()),
        Step::Wait(gate.clone()),
        Step::Send(rest.to_vec()),
    ]);
    for (key, act, outcome) in [
        ("before", Reply::new(201).after(&gate), None),
        ("within", halves, Some("response-not-stored")),
    ] {
        let asked = world.upstream.asked();
        world.upstream.next(act);
        let request = post("/orders", key, "a");
        let client = world.begin(&request).await;
        world.upstream.executed(asked + 1).await;
        client.abort();
        world.proxy.reaches("idemproxy_connections", 0.0).await;
        gate.cancel();
        let retry = world.settled(&request).await;
        assert_eq!(retry.field("x-idempotency-error").as_deref(), outcome);
        retry.in_state("completed");
        assert_eq!(world.upstream.asked(), asked + 1);
    }
}

/// Seen: an open proxy by default, through X-Forwarded-Host.
#[tokio::test]
async fn no_header_and_no_target_sends_a_request_elsewhere() {
    let elsewhere = Upstream::start().await;
    let world = World::policy(STORE, "").await;
    let host = elsewhere.address().to_string();
    for (key, request) in [
        post("/orders", "a", "").field("X-Forwarded-Host", &host),
        post("/orders", "b", "").field("Forwarded", format!("host={host}")),
        post(&format!("{}/orders", elsewhere.url()), "c", ""),
    ]
    .iter()
    .enumerate()
    {
        world
            .send(request)
            .await
            .is_first(201, true, "completed");
        assert_eq!(world.upstream.asked(), key + 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// Seen: an oversized answer releases the key, so that the retry runs again.
#[tokio::test]
async fn an_oversized_answer_does_not_let_the_key_run_again() {
    let world = World::policy(STORE, "max_stored_response = \"0B\"").await;
    let first = world.post("k", "a").await;
    first.is_first(201, false, "in-flight");
    assert_eq!(first.text(), "made 1");
    for _ in 0..3 {
        world
            .post("k", "a")
            .await
            .is_problem(409, "response-not-stored")
            .in_state("completed");
    }
    assert_eq!(world.upstream.asked(), 1);
}

/// Seen: a quoted UUID refused by a check for 36 characters.
#[tokio::test]
async fn a_quoted_uuid_is_a_key_like_any_other() {
    let world = World::policy(STORE, "key_max_length = 36").await;
    let uuid = "9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f";
    let first = world.post(&format!("\"{uuid}\""), "a").await;
    first.is_first(201, true, "completed");
    world.post(uuid, "a").await.replays(&first);
}
