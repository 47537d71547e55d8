//! What the path does when its store refuses, loses replies, is late, or forgets.

use crate::faulty::{Fault, Faulty, Operation};
use crate::support::*;
use crate::world::Says;

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_not_forwarded_and_soon_usable_again() {
    let world = Faulty::policy("").await;
    world.store.once(Operation::Insert, Fault::ReplyLost);
    world
        .post("k", "a")
        .await
        .is_problem(503, "store-unavailable");
    assert_eq!(world.upstream.connections(), 0);
    world
        .settled(&post("/orders", "k", "a"))
        .await
        .is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_claim_whose_request_was_lost_is_soon_usable_again() {
    let world = Faulty::policy("").await;
    world.store.once(Operation::Insert, Fault::RequestLost);
    world
        .post("k", "a")
        .await
        .is_problem(503, "store-unavailable");
    world
        .settled(&post("/orders", "k", "b"))
        .await
        .is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_claim_that_arrives_late_locks_nobody_out() {
    let world = Faulty::policy("").await;
    let gate = Gate::new();
    world
        .store
        .once(Operation::Insert, Fault::Late(gate.clone()));
    world
        .post("k", "a")
        .await
        .is_problem(503, "store-unavailable");
    // The proxy has asked for it again, and given it up.
    patiently(world.tasks_settle()).await;
    gate.cancel();
    let first = world.settled(&post("/orders", "k", "a")).await;
    first.is_first(201, true, "completed");
    world.post("k", "a").await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_claim_over_a_released_record_whose_reply_was_lost_is_soon_usable_again() {
    for fault in [Fault::ReplyLost, Fault::RequestLost] {
        let world = Faulty::policy("").await;
        world.upstream.next(Reply::new(503));
        world.post("k", "a").await.is_first(503, false, "released");
        world.store.once(Operation::Replace, fault);
        world
            .post("k", "a")
            .await
            .is_problem(503, "store-unavailable");
        assert_eq!(world.upstream.asked(), 1);
        world
            .settled(&post("/orders", "k", "a"))
            .await
            .is_first(201, true, "completed");
        assert_eq!(world.upstream.asked(), 2);
    }
}

#[tokio::test]
async fn an_answer_whose_record_was_refused_is_given_and_replayed_later() {
    let world = Faulty::policy("").await;
    world.store.always(Operation::Replace, Fault::Refused);
    let first = world.post("k", "a").await;
    first.is_first(201, false, "in-flight");
    assert_eq!(first.text(), "made 1");
    for _ in 0..3 {
        world
            .post("k", "a")
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
    }
    world.store.up();
    let replay = world.settled(&post("/orders", "k", "a")).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!((replay.status, &replay.body), (201, &first.body));
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn while_twice_as_many_claims_as_exchanges_wait_to_be_settled_none_is_added() {
    let world = Faulty::policy("[server]\nmax_in_flight = 2").await;
    world.store.always(Operation::Replace, Fault::Refused);
    let keys = ["a", "b", "c", "d"];
    for key in keys {
        world.post(key, "a").await.is_first(201, false, "in-flight");
    }
    let refused = world.post("e", "a").await;
    refused.is_problem(503, "store-unavailable");
    let limit = r#"idemproxy_limit_reached_total{limit="max_in_flight"}"#;
    assert_eq!(world.metric(limit), 1.0);
    assert_eq!(world.store.count_of(Operation::Insert), 4);
    // What needs no claim goes on.
    assert_eq!(world.send(&get("/orders")).await.status, 201);
    world.store.up();
    world.tasks_settle().await;
    // With another body, since nothing was claimed.
    world.post("e", "b").await.is_first(201, true, "completed");
    for key in keys {
        let replay = world.post(key, "a").await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    }
}

#[tokio::test]
async fn what_is_over_is_not_taken_over_while_the_store_refuses_its_end() {
    let world = Faulty::policy("unknown_outcome = \"retry\"\nlease = \"200ms\"").await;
    world.store.always(Operation::Replace, Fault::Refused);
    world.post("k", "a").await.is_first(201, false, "in-flight");
    // Far beyond the lease, by heartbeats that come at most every third of it.
    let store = world.store.clone();
    eventually(move || store.count_of(Operation::Renew) >= 8).await;
    world
        .post("k", "a")
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    world.store.up();
    let replay = world.settled(&post("/orders", "k", "a")).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_is_over_is_not_taken_over_while_the_store_is_slow_to_take_its_end() {
    let world = Faulty::policy("unknown_outcome = \"retry\"\nlease = \"200ms\"").await;
    let gate = Gate::new();
    world
        .store
        .once(Operation::Replace, Fault::Held(gate.clone()));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    // Far beyond the lease, by heartbeats that come at most every third of it.
    let store = world.store.clone();
    eventually(move || store.count_of(Operation::Renew) >= 8).await;
    world.send(&request).await.is_problem(409, "in-progress");
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn an_answer_whose_settlement_was_not_acknowledged_is_replayed_later() {
    for fault in [Fault::ReplyLost, Fault::RequestLost] {
        let world = Faulty::policy("").await;
        world.store.once(Operation::Replace, fault);
        let first = world.post("k", "a").await;
        first.is_first(201, false, "in-flight");
        let replay = world.settled(&post("/orders", "k", "a")).await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
        assert_eq!(replay.body, first.body);
        assert_eq!(world.upstream.asked(), 1);
    }
}

#[tokio::test]
async fn a_refusal_whose_settlement_was_lost_is_released_later() {
    let world = Faulty::policy("").await;
    world.store.once(Operation::Replace, Fault::RequestLost);
    world.upstream.next(Reply::new(500).body("broken"));
    let first = world.post("k", "a").await;
    first.is_first(500, false, "in-flight");
    assert_eq!(first.text(), "broken");
    world
        .settled(&post("/orders", "k", "a"))
        .await
        .is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_not_with_the_client_before_it_is_in_the_store() {
    let world = Faulty::policy("").await;
    let gate = Gate::new();
    world
        .store
        .once(Operation::Replace, Fault::Held(gate.clone()));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    let store = world.store.clone();
    eventually(move || store.count_of(Operation::Replace) == 1).await;
    world.send(&request).await.is_problem(409, "in-progress");
    assert!(!client.has_bytes().await);
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
}

#[tokio::test]
async fn nothing_is_forwarded_before_the_claim_is_in_the_store() {
    let world = Faulty::policy("").await;
    let gate = Gate::new();
    world
        .store
        .once(Operation::Insert, Fault::Held(gate.clone()));
    let mut client = world.begin(&post("/orders", "k", "a")).await;
    let store = world.store.clone();
    eventually(move || store.count_of(Operation::Insert) == 1).await;
    // Time enough to be forwarded.
    for asked in 1..=5 {
        assert_eq!(world.send(&get("/orders")).await.status, 201);
        assert_eq!(world.upstream.asked(), asked);
    }
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn other_requests_flow_while_the_store_is_down() {
    for fault in [Fault::Refused, Fault::RequestLost] {
        let world = Faulty::policy("").await;
        let first = world.post("before", "a").await;
        world.store.down(fault);
        world
            .post("k", "a")
            .await
            .is_problem(503, "store-unavailable");
        world
            .post("before", "a")
            .await
            .is_problem(503, "store-unavailable");
        assert_eq!(world.upstream.asked(), 1);
        assert_eq!(world.send(&get("/orders")).await.status, 201);
        assert_eq!(world.send(&post("/orders", "", "a")).await.status, 201);
        world.store.up();
        world
            .settled(&post("/orders", "k", "a"))
            .await
            .is_first(201, true, "completed");
        world
            .settled(&post("/orders", "before", "a"))
            .await
            .replays(&first);
        assert_eq!(world.upstream.asked(), 4);
        let errors = r#"idemproxy_requests_total{route="default",outcome="store_error"}"#;
        assert!(world.metric(errors) >= 2.0);
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_passed_by_where_the_policy_says_so() {
    let world = Faulty::policy("store_error = \"forward\"").await;
    world.store.down(Fault::Refused);
    let answer = world.post("k", "a").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "made 1"));
    assert_eq!(answer.all("x-idempotency-stored"), ["false"], "{answer:?}");
    for name in ["state", "replay", "expires", "error"] {
        assert_eq!(answer.field(&format!("x-idempotency-{name}")), None);
    }
    assert_eq!(world.upstream.last().field("idempotency-key"), Some("k"));
    let outcome =
        r#"idemproxy_requests_total{route="default",outcome="forwarded_without_guarantee"}"#;
    assert_eq!(world.metric(outcome), 1.0);
    world.store.up();
    world.post("k", "a").await.is_first(201, true, "completed");
}

#[tokio::test]
async fn what_was_passed_by_a_claim_that_may_stand_is_unknown_afterwards() {
    let world = Faulty::policy("store_error = \"forward\"").await;
    world.store.once(Operation::Insert, Fault::ReplyLost);
    let answer = world.post("k", "a").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "made 1"));
    world
        .settled(&post("/orders", "k", "a"))
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_never_taken_for_absent() {
    for policy in ["", "store_error = \"forward\""] {
        let world = Faulty::policy(policy).await;
        let first = world.post("k", "a").await;
        world.store.down(Fault::Unreadable);
        for _ in 0..2 {
            world
                .post("k", "a")
                .await
                .is_problem(503, "record-unreadable");
        }
        assert_eq!(world.upstream.asked(), 1);
        world.store.up();
        world.post("k", "a").await.replays(&first);
    }
}

#[tokio::test]
async fn a_record_that_the_store_lost_is_put_back() {
    let world = Faulty::policy("").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.store.forget();
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    assert_eq!(world.metric("idemproxy_records_restored_total"), 1.0);
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_lost_take_over_is_not_repeated_before_the_store_was_watched_again() {
    let policy = "lease = \"100ms\"\nunknown_outcome = \"retry\"";
    let world = Faulty::policy(policy).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    world.store.always(Operation::Renew, Fault::RequestLost);
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    // Another proxy finds the lease lapsed; its take-over is lost, and the store goes away.
    let other = world.another(policy).await;
    world.store.once(Operation::Replace, Fault::RequestLost);
    world.store.unwatched_from(Operation::Replace);
    patiently(async {
        loop {
            let answer = other.send(&request).await;
            if answer.status == 503 {
                return;
            }
            answer.is_problem(409, "in-progress");
        }
    })
    .await;
    // Several of its pauses.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_holder_that_lost_its_lease_does_not_overwrite_the_next_one() {
    let policy = "lease = \"100ms\"\nunknown_outcome = \"retry\"";
    let world = Faulty::policy(policy).await;
    let (first_gate, second_gate) = (Gate::new(), Gate::new());
    world
        .upstream
        .next(Reply::new(201).body("first").after(&first_gate))
        .next(Reply::new(201).body("second").after(&second_gate));
    let request = post("/orders", "k", "a");
    world.store.always(Operation::Renew, Fault::RequestLost);
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    // Another proxy, which finds the lease lapsed.
    let other = world.another(policy).await;
    let mut second = patiently(async {
        loop {
            let mut client = other.begin(&request).await;
            tokio::select! {
                () = world.upstream.executed(2) => return client,
                answer = client.answer() => { answer.is_problem(409, "in-progress"); }
            }
        }
    })
    .await;
    assert_eq!(world.upstream.last().all("x-idempotency-attempt"), ["2"]);
    world.store.up();
    // The first holder wakes up while the second still works.
    first_gate.cancel();
    let late = first.answer().await;
    late.is_first(201, false, "in-flight");
    assert_eq!(late.text(), "first");
    assert_eq!(world.metric("idemproxy_claims_lost_total"), 1.0);
    world.send(&request).await.is_problem(409, "in-progress");
    second_gate.cancel();
    let winner = second.answer().await;
    winner.is_first(201, true, "completed");
    world.send(&request).await.replays(&winner);
    assert_eq!(
        (winner.text().as_str(), world.upstream.asked()),
        ("second", 2)
    );
}

#[tokio::test]
async fn a_lapsed_lease_is_an_unknown_outcome_at_once() {
    let world = Faulty::policy("lease = \"100ms\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    world.store.always(Operation::Renew, Fault::RequestLost);
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world
        .settled(&request)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    // Nobody took it over, so its holder may still say how it ended.
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_claim_without_a_heartbeat_outlives_a_short_retention() {
    let world =
        Faulty::policy("lease = \"100ms\"\nretention = \"200ms\"\nfailed_retention = \"200ms\"")
            .await;
    world.upstream.next(Act::new([Step::Never]));
    world.store.always(Operation::Renew, Fault::RequestLost);
    let request = post("/orders", "k", "a");
    let _client = world.begin(&request).await;
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
    let asked = world.upstream.asked();
    world
        .send(&request)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), asked);
}

#[tokio::test]
async fn a_heartbeat_that_fails_is_tried_again() {
    let world = Faulty::policy("lease = \"300ms\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    world.store.once(Operation::Renew, Fault::Refused);
    let mut client = world.begin(&post("/orders", "k", "a")).await;
    let store = world.store.clone();
    eventually(move || store.count_of(Operation::Renew) >= 3).await;
    world.post("k", "a").await.is_problem(409, "in-progress");
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_proxy_that_drains_claims_nothing_and_passes_the_rest() {
    let world = Faulty::policy("").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let mut client = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.executed(1).await;
    world.stop.draining.cancel();
    world.post("l", "a").await.is_problem(503, "draining");
    assert_eq!(world.send(&get("/orders")).await.status, 201);
    assert_eq!(world.store.count_of(Operation::Insert), 1);
    gate.cancel();
    client.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn the_drain_deadline_does_not_call_known_what_the_store_did_not_take() {
    let world = Faulty::policy("").await;
    world.upstream.next(Act::new([Step::Never]));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.store.always(Operation::Replace, Fault::Refused);
    world.stop.deadline.cancel();
    client
        .answer()
        .await
        .is_problem(504, "outcome-unknown")
        .in_state("in-flight");
    world.store.up();
    patiently(world.tasks_settle()).await;
    world
        .settled(&request)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
}

#[tokio::test]
async fn every_answer_that_came_while_the_store_was_down_is_kept_when_it_is_back() {
    let world = Faulty::policy("").await;
    world.store.always(Operation::Replace, Fault::Refused);
    for key in 0..20 {
        world
            .post(&key.to_string(), "a")
            .await
            .is_first(201, false, "in-flight");
    }
    assert_eq!(world.metric("idemproxy_in_flight"), 0.0);
    world.store.up();
    patiently(world.tasks_settle()).await;
    for key in 0..20 {
        let replay = world.post(&key.to_string(), "a").await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
    }
    assert_eq!(world.upstream.asked(), 20);
}

/// Pass one counts the operations; then each of them fails in each way, and whatever happens, nothing runs twice.
#[tokio::test]
async fn whichever_operation_fails_nothing_runs_twice_and_the_key_ends_somewhere() {
    let world = Faulty::policy("lease = \"500ms\"").await;
    let request = post("/orders", "k", "a");
    scenario(&world, &request).await;
    let operations = world.store.count();
    assert!(operations >= 5, "{operations}");
    let mut injected = 0;
    for n in 1..=operations {
        for fault in [Fault::Refused, Fault::ReplyLost, Fault::RequestLost] {
            let world = Faulty::policy("lease = \"500ms\"").await;
            world.store.nth(n, fault.clone());
            scenario(&world, &request).await;
            injected += usize::from(world.store.count() >= n);
            let last = world.settled(&request).await;
            assert_eq!(
                (last.status, last.all("x-idempotency-replay")),
                (201, vec!["true".to_owned()]),
                "operation {n}: {fault:?}: {last:?}"
            );
            // One that was refused, and the one that was carried out.
            assert_eq!(world.upstream.executions(), 2, "operation {n}: {fault:?}");
        }
    }
    assert_eq!(injected, operations * 3);
}

/// A refusal that releases, the same key again, and its replays.
async fn scenario(world: &Faulty, request: &Request) {
    world.upstream.next(Reply::new(503).body("not now"));
    let mut refused = false;
    patiently(async {
        loop {
            let answer = world.send(request).await;
            match (answer.status, answer.field("x-idempotency-error")) {
                (201, None) => break,
                (503, None) => {
                    assert!(!refused, "it was refused once");
                    refused = true;
                }
                (503, Some(_)) | (409, Some(_)) => {
                    assert!(answer.field("retry-after").is_some(), "{answer:?}");
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                _ => panic!("{answer:?}"),
            }
        }
    })
    .await;
    for _ in 0..2 {
        world.send(request).await;
    }
}

#[tokio::test]
async fn a_client_that_has_waited_long_enough_for_the_store_is_told_no_state() {
    let world = Faulty::policy("client_timeout = \"200ms\"").await;
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    let gate = Gate::new();
    world
        .store
        .once(Operation::Insert, Fault::Held(gate.clone()));
    let late = world.post("k", "a").await;
    late.is_problem(504, "still-processing");
    assert!(late.all("x-idempotency-state").is_empty(), "{late:?}");
    gate.cancel();
    world
        .settled(&post("/orders", "k", "a"))
        .await
        .replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}
