//! What a change means for the clients of the proxy.

use serde_json::json;

use super::STORE;
use crate::support::{Gate, Reply, eventually, patiently, post};
use crate::world::{Says, World};

/// A policy under which nothing is decided by time.
const PATIENT: &str = "client_timeout = \"10m\"\n";

#[tokio::test]
async fn what_is_released_runs_again_at_the_next_duplicate() {
    let world = World::start(STORE, PATIENT).await;
    let request = post("/orders", "k", "a");
    world.upstream.next(Reply::new(502));
    let first = world.send(&request).await;
    let id = first.field("x-idempotency-id").unwrap();
    let entry = world.operator().only().await;
    assert_eq!(entry["id"], *id);
    assert_eq!(entry["state"], "unknown");
    assert_eq!(entry["status"], 502);
    assert_eq!(world.send(&request).await.status, 409);
    let answer = world.operator().release(&id, json!({})).await;
    assert_eq!(answer.is_done()["state"], "released");
    world.upstream.next(Reply::new(201).body("made"));
    let again = world.send(&request).await;
    assert_eq!((again.status, &*again.text()), (201, "made"));
    assert_eq!(world.upstream.executions(), 2);
    let entry = world.operator().only().await;
    assert_eq!(entry["state"], "completed");
    assert_eq!(entry["attempts"], 2);
    assert_eq!(entry["in_doubt"], false);
    assert_eq!(entry["response_bytes"], 4);
}

#[tokio::test]
async fn what_is_deleted_or_not_executed_runs_again() {
    let world = World::start(STORE, PATIENT).await;
    for delete in [true, false] {
        let key = format!("k-{delete}");
        let request = post("/orders", &key, "a");
        world.upstream.next(Reply::new(504));
        let id = world.send(&request).await.field("x-idempotency-id").unwrap();
        let before = world.upstream.executions();
        let operator = world.operator();
        match delete {
            true => operator.delete(&id, json!({})).await,
            false => operator.resolve(&id, json!({"executed": false})).await,
        }
        .is_done();
        assert_eq!(world.send(&request).await.status, 201);
        assert_eq!(world.upstream.executions(), before + 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_given_is_replayed() {
    let world = World::start(STORE, PATIENT).await;
    let request = post("/orders", "k", "a");
    world.upstream.next(Reply::new(502));
    let id = world.send(&request).await.field("x-idempotency-id").unwrap();
    let response = json!({
        "status": 201,
        "headers": {"Content-Type": "application/json", "link": ["<a>", "<b>"]},
        "body_base64": "eyJvcmRlciI6N30=",
    });
    let order = json!({"executed": true, "response": response});
    world.operator().resolve(&id, order).await.is_done();
    for _ in 0..2 {
        let replay = world.send(&request).await;
        assert_eq!((replay.status, &*replay.text()), (201, "{\"order\":7}"));
        assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
        assert_eq!(replay.all("x-idempotency-state"), ["completed"]);
        assert_eq!(replay.all("content-type"), ["application/json"]);
        assert_eq!(replay.all("link"), ["<a>", "<b>"]);
        assert!(replay.field("x-idempotency-expires").is_some());
    }
    let other = world.send(&post("/orders", "k", "b")).await;
    assert_eq!(other.status, 422);
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn without_an_answer_duplicates_are_told_that_none_is_stored() {
    let world = World::start(STORE, PATIENT).await;
    let request = post("/orders", "k", "a");
    world.upstream.next(Reply::new(502));
    let id = world.send(&request).await.field("x-idempotency-id").unwrap();
    let order = json!({"executed": true});
    world.operator().resolve(&id, order).await.is_done();
    let told = world.send(&request).await;
    assert_eq!(told.status, 409);
    assert_eq!(told.all("x-idempotency-error"), ["response-not-stored"]);
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn a_claim_that_was_forced_away_does_not_come_back() {
    let world = World::start(STORE, PATIENT).await;
    let request = post("/orders", "k", "a");
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("late").after(&gate));
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    let entry = world.operator().only().await;
    assert_eq!(entry["state"], "in-flight");
    let id = entry["id"].as_str().unwrap();
    let refused = world.operator().release(id, json!({})).await;
    refused.is_refused(409, "LEASE_LIVE");
    world.operator().release(id, json!({"force": true})).await.is_done();
    // The operator was wrong, and has it run a second time.
    world.upstream.next(Reply::new(201).body("second"));
    let second = world.send(&request).await;
    assert_eq!(second.text(), "second");
    assert_eq!(second.all("x-idempotency-stored"), ["true"]);
    gate.cancel();
    let late = first.answer().await;
    assert_eq!(late.text(), "late");
    assert_eq!(late.all("x-idempotency-stored"), ["false"]);
    // As the record is now. That an operator let it come to this can no longer be told from it.
    assert_eq!(late.all("x-idempotency-state"), ["completed"]);
    assert_eq!(world.proxy.metric("idemproxy_claims_lost_total"), 1.0);
    assert_eq!(world.send(&request).await.text(), "second");
    assert_eq!(world.upstream.executions(), 2);
}

#[tokio::test]
async fn a_claim_that_was_forced_away_leaves_the_word_of_the_operator() {
    let world = World::start(STORE, PATIENT).await;
    let request = post("/orders", "k", "a");
    let gate = Gate::new();
    world.upstream.next(Reply::new(500).after(&gate));
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    let id = world.operator().only().await["id"].as_str().unwrap().to_owned();
    let order = json!({"executed": true, "force": true, "response": {"status": 200, "body": "it is there"}});
    world.operator().resolve(&id, order).await.is_done();
    gate.cancel();
    let late = first.answer().await;
    assert_eq!(late.status, 500);
    assert_eq!(late.all("x-idempotency-stored"), ["false"]);
    assert_eq!(world.send(&request).await.text(), "it is there");
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn a_holder_tells_how_an_operator_settled_its_claim_and_counts_none_as_lost() {
    let world = World::start(STORE, PATIENT).await;
    let operator = world.operator();
    let executed = json!({"executed": true, "force": true, "response": {"status": 200, "body": "x"}});
    let not_executed = json!({"executed": false, "force": true});
    for (number, status, state, outcome) in [
        (0, 201, "completed", "executed"),
        (1, 201, "released", "executed"),
        (2, 201, "released", "executed"),
        (3, 201, "released", "executed"),
        (4, 500, "completed", "released"),
        (5, 502, "completed", "outcome_unknown"),
    ] {
        let counted = format!("idemproxy_requests_total{{route=\"default\",outcome=\"{outcome}\"}}");
        let before = world.proxy.metric(&counted);
        let request = post("/orders", &format!("k-{number}"), "a");
        let gate = Gate::new();
        world.upstream.next(Reply::new(status).body("late").after(&gate));
        let mut first = world.begin(&request).await;
        world.upstream.executed(number + 1).await;
        let page = operator.told("/v1/keys?state=in-flight").await;
        let id = page["keys"][0]["id"].as_str().unwrap().to_owned();
        match number {
            0 | 4 | 5 => operator.resolve(&id, executed.clone()).await,
            1 => operator.resolve(&id, not_executed.clone()).await,
            2 => operator.release(&id, json!({"force": true})).await,
            _ => operator.delete(&id, json!({"force": true})).await,
        }
        .is_done();
        gate.cancel();
        let late = first.answer().await;
        assert_eq!((late.status, &*late.text()), (status, "late"), "{number}");
        assert_eq!(late.all("x-idempotency-stored"), ["false"], "{number}");
        assert_eq!(late.all("x-idempotency-state"), [state], "{number}");
        let overruled = world.proxy.metric("idemproxy_claims_overruled_total");
        assert_eq!(overruled, f64::from(u32::try_from(number + 1).unwrap()));
        eventually(|| world.proxy.metric(&counted) == before + 1.0).await;
    }
    assert_eq!(world.proxy.metric("idemproxy_claims_lost_total"), 0.0);
    assert_eq!(world.proxy.metric("idemproxy_records_unknown_total"), 0.0);
}

#[tokio::test]
async fn duplicates_that_wait_hear_of_a_change() {
    let waits = "in_flight = \"wait\"\nwait_timeout = \"10m\"\nclient_timeout = \"10m\"\n";
    let world = World::start(STORE, waits).await;
    let request = post("/orders", "k", "a");
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("late").after(&gate));
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    let mut waiting = world.begin(&request).await;
    world.proxy.reaches("idemproxy_waiters", 1.0).await;
    let id = world.operator().only().await["id"].as_str().unwrap().to_owned();
    let order = json!({"executed": true, "force": true, "response": {"status": 200, "body": "it is there"}});
    world.operator().resolve(&id, order).await.is_done();
    let waited = patiently(waiting.answer()).await;
    assert_eq!((waited.status, &*waited.text()), (200, "it is there"));
    assert_eq!(waited.all("x-idempotency-replay"), ["true"]);
    gate.cancel();
    first.answer().await;
    assert_eq!(world.send(&request).await.text(), "it is there");
}
