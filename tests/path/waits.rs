//! Duplicates that wait for the first answer.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// Nothing ends a wait but what is waited for.
const WAIT: &str = "in_flight = \"wait\"\nwait_timeout = \"10m\"\nclient_timeout = \"10m\"\n";
const STREAMED: &str = "max_buffered_request = \"1KiB\"\n";

const WAITERS: &str = "idemproxy_waiters";
const WAITED: &str = r#"idemproxy_requests_total{route="default",outcome="waited"}"#;

async fn waiting(policy: &str) -> World {
    World::policy(STORE, &format!("{WAIT}{policy}")).await
}

/// A client whose request is with the upstream, which answers with this when the gate opens.
async fn hold(world: &World, request: &Request, reply: Reply) -> (Client, Gate) {
    let gate = Gate::new();
    let executed = world.upstream.executions();
    world.upstream.next(reply.after(&gate));
    let client = world.begin(request).await;
    world.upstream.executed(executed + 1).await;
    (client, gate)
}

/// So many clients that wait for the answer to this request.
async fn duplicates(world: &World, request: &Request, count: u16) -> Vec<Client> {
    let before = world.proxy.metric(WAITERS);
    let mut clients = Vec::new();
    for number in 1..=count {
        clients.push(world.begin(request).await);
        let waiting = before + f64::from(number);
        eventually(|| world.proxy.metric(WAITERS) == waiting).await;
    }
    clients
}

#[tokio::test]
async fn a_duplicate_waits_for_the_first_answer_and_gets_it() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201).body("made")).await;
    let mut second = duplicates(&world, &request, 1).await.remove(0);
    assert!(!second.has_bytes().await);
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    second.answer().await.replays(&first);
    assert_eq!(world.proxy.metric(WAITED), 1.0);
    world.proxy.reaches(WAITERS, 0.0).await;
    world.send(&request).await.replays(&first);
    assert_eq!(world.proxy.metric(WAITED), 1.0);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn sixty_four_duplicates_wait_and_all_get_the_one_answer() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201).body("made")).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(world.begin(&request).await);
    }
    world.proxy.reaches(WAITERS, 64.0).await;
    let looks = || {
        world
            .proxy
            .metric("idemproxy_store_duration_seconds_count{op=\"get\"}")
    };
    let before = looks();
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    for client in &mut clients {
        client.answer().await.replays(&first);
    }
    // One looks for all of them.
    assert!(looks() - before < 32.0, "{} looks", looks() - before);
    assert_eq!(world.proxy.metric(WAITED), 64.0);
    assert_eq!(world.upstream.asked(), 1);
    world.proxy.reaches(WAITERS, 0.0).await;
}

#[tokio::test]
async fn those_who_wait_hold_no_leave_to_run_or_to_claim_and_no_body() {
    let world = World::config(
        STORE,
        &format!(
            "[server]\nmax_in_flight = 2\nmax_buffered_total = \"7KiB\"\n[policy]\n{WAIT}"
        ),
    )
    .await;
    let request = post("/orders", "k", vec![b'x'; 3000]);
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut clients = duplicates(&world, &request, 8).await;
    world.proxy.reaches("idemproxy_in_flight", 1.0).await;
    // All that one more request needs is left.
    world
        .send(&post("/orders", "l", vec![b'x'; 3000]))
        .await
        .is_first(201, true, "completed");
    gate.cancel();
    let first = first.answer().await;
    for client in &mut clients {
        client.answer().await.replays(&first);
    }
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_held_in_memory_once_however_many_waited_for_it() {
    let world = World::config(
        STORE,
        &format!("[server]\nmax_buffered_total = \"7KiB\"\n[policy]\n{WAIT}"),
    )
    .await;
    let request = post("/orders", "k", "a");
    // Room for the first answer, and for those who waited together.
    let (mut first, gate) = hold(&world, &request, Reply::new(201).body([b'x'; 3000])).await;
    let mut clients = duplicates(&world, &request, 8).await;
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    for client in &mut clients {
        client.answer().await.replays(&first);
    }
    assert_eq!(world.proxy.metric(WAITED), 8.0);
}

#[tokio::test]
async fn another_body_is_refused_at_once_while_duplicates_wait() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut second = duplicates(&world, &request, 1).await.remove(0);
    world
        .post("k", "b")
        .await
        .is_problem(422, "key-reused")
        .in_state("in-flight");
    gate.cancel();
    let first = first.answer().await;
    second.answer().await.replays(&first);
}

#[tokio::test]
async fn one_waiter_too_many_is_refused_until_another_leaves() {
    let world = World::config(
        STORE,
        &format!("[server]\nmax_waiters = 2\n[policy]\n{WAIT}"),
    )
    .await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut clients = duplicates(&world, &request, 2).await;
    let refused = world.send(&request).await;
    refused
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    let limit = r#"idemproxy_limit_reached_total{limit="max_waiters"}"#;
    assert_eq!(world.proxy.metric(limit), 1.0);
    clients.remove(0).abort();
    world.proxy.reaches(WAITERS, 1.0).await;
    let abandoned = r#"idemproxy_requests_total{route="default",outcome="abandoned"}"#;
    world.proxy.reaches(abandoned, 1.0).await;
    clients.extend(duplicates(&world, &request, 1).await);
    gate.cancel();
    let first = first.answer().await;
    for client in &mut clients {
        client.answer().await.replays(&first);
    }
    assert_eq!(world.proxy.metric(limit), 1.0);
}

#[tokio::test]
async fn a_first_request_that_was_not_carried_out_sends_those_who_wait_to_try_again() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(503)).await;
    let mut clients = duplicates(&world, &request, 3).await;
    gate.cancel();
    first.answer().await.is_first(503, false, "released");
    for client in &mut clients {
        client
            .answer()
            .await
            .is_problem(409, "in-progress")
            .in_state("released");
    }
    assert_eq!(world.upstream.asked(), 1);
    world.send(&request).await.is_first(201, true, "completed");
}

#[tokio::test]
async fn those_who_wait_are_told_of_an_unknown_outcome() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let gate = Gate::new();
    world
        .upstream
        .next(Act::new([Step::Wait(gate.clone()), Step::Fin]));
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    let mut clients = duplicates(&world, &request, 2).await;
    gate.cancel();
    first
        .answer()
        .await
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
    for client in &mut clients {
        client
            .answer()
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
    }
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn who_waits_takes_nothing_over_and_the_next_try_does() {
    let world = waiting("unknown_outcome = \"retry\"").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(502)).await;
    let mut second = duplicates(&world, &request, 1).await.remove(0);
    gate.cancel();
    first.answer().await.is_first(502, false, "unknown");
    second
        .answer()
        .await
        .is_problem(409, "in-progress")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), 1);
    world.send(&request).await.is_first(201, true, "completed");
}

#[tokio::test]
async fn those_who_wait_are_told_that_the_answer_was_not_kept() {
    let world = waiting("max_stored_response = \"1KiB\"").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201).body([b'x'; 2000])).await;
    let mut second = duplicates(&world, &request, 1).await.remove(0);
    gate.cancel();
    first.answer().await.is_first(201, false, "in-flight");
    let second = second.answer().await;
    second
        .is_problem(409, "response-not-stored")
        .in_state("completed");
    assert_eq!(second.document()["status_code"], 201);
}

#[tokio::test]
async fn who_waits_under_other_credentials_is_not_shown_the_answer() {
    let world = waiting("").await;
    let under = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    let (mut first, gate) = hold(&world, &under("dTpw"), Reply::new(201)).await;
    let mut second = duplicates(&world, &under("dTpx"), 1).await.remove(0);
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    let second = second.answer().await;
    second
        .is_problem(409, "credentials-changed")
        .in_state("completed");
    assert_eq!(second.document()["status_code"], 201);
}

#[tokio::test]
async fn who_waits_under_other_credentials_is_shown_the_answer_if_the_upstream_vouches_for_them() {
    let world = waiting("replay_check = { path = \"/me\" }").await;
    let under = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    let (mut first, gate) = hold(&world, &under("dTpw"), Reply::new(201)).await;
    let mut second = duplicates(&world, &under("dTpx"), 1).await.remove(0);
    world.upstream.next(Reply::new(200));
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    second.answer().await.replays(&first);
    let asked = world.upstream.last();
    assert_eq!(
        (asked.target.as_str(), asked.field("authorization")),
        ("/me", Some("Basic dTpx"))
    );
    assert_eq!(world.proxy.metric(WAITED), 1.0);
}

#[tokio::test]
async fn a_wait_ends_with_wait_timeout_or_with_client_timeout() {
    let policies = [
        "wait_timeout = \"200ms\"\nclient_timeout = \"10m\"",
        "wait_timeout = \"10m\"\nclient_timeout = \"1s\"",
    ];
    for policy in policies {
        let world = World::policy(STORE, &format!("in_flight = \"wait\"\n{policy}")).await;
        let request = post("/orders", "k", "a");
        let (_first, gate) = hold(&world, &request, Reply::new(201)).await;
        world
            .send(&request)
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
        world.proxy.reaches(WAITERS, 0.0).await;
        gate.cancel();
        let executed = r#"idemproxy_requests_total{route="default",outcome="executed"}"#;
        world.proxy.reaches(executed, 1.0).await;
        let answer = world.send(&request).await;
        assert_eq!(answer.all("x-idempotency-replay"), ["true"], "{answer:?}");
        assert_eq!(world.upstream.asked(), 1);
    }
}

#[tokio::test]
async fn a_drain_answers_those_who_wait_at_once() {
    let world = waiting("").await;
    let request = post("/orders", "k", "a");
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut clients = duplicates(&world, &request, 3).await;
    world.proxy.stop();
    for client in &mut clients {
        client
            .answer()
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
    }
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    world.proxy.stopped().await;
}

#[tokio::test]
async fn duplicates_of_an_upload_wait_and_are_compared_when_it_is_known() {
    let world = waiting(STREAMED).await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let mut first = world.connect().await;
    first.send(&request.head(5000)).await;
    first.send(&request.body[..2000]).await;
    world.upstream.asked_for(1).await;
    let others = [vec![b'y'; 5000], b"small".to_vec(), vec![b'x'; 5001]];
    let mut same = duplicates(&world, &request, 2).await;
    let mut different = Vec::new();
    for other in others {
        different.extend(duplicates(&world, &post("/orders", "k", other), 1).await);
    }
    first.send(&request.body[2000..]).await;
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    for client in &mut same {
        client.answer().await.replays(&first);
    }
    for client in &mut different {
        client
            .answer()
            .await
            .is_problem(422, "key-reused")
            .in_state("completed");
    }
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_duplicate_that_is_still_being_uploaded_waits_only_once_it_has_gone_by() {
    let world = waiting(STREAMED).await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut second = world.connect().await;
    second.send(&request.head(5000)).await;
    second.send(&request.body[..2000]).await;
    world.proxy.reaches(CLAIMS, 2.0).await;
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    assert!(!second.has_bytes().await);
    second.send(&request.body[2000..]).await;
    second.answer().await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_duplicate_whose_upload_breaks_off_waits_no_more() {
    let world = waiting(STREAMED).await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut second = world.connect().await;
    second.send(&request.head(5000)).await;
    second.send(&request.body[..2000]).await;
    world.proxy.reaches(CLAIMS, 2.0).await;
    second.abort();
    world.proxy.reaches("idemproxy_in_flight", 1.0).await;
    assert_eq!(world.proxy.metric(WAITERS), 0.0);
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_duplicate_that_is_still_being_uploaded_takes_no_place_from_one_that_waits() {
    let world = World::config(
        STORE,
        &format!("[server]\nmax_waiters = 1\n[policy]\n{WAIT}{STREAMED}"),
    )
    .await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut slow = world.connect().await;
    slow.send(&request.head(5000)).await;
    slow.send(&request.body[..2000]).await;
    world.proxy.reaches(CLAIMS, 2.0).await;
    let mut second = duplicates(&world, &request, 1).await.remove(0);
    slow.send(&request.body[2000..]).await;
    slow.answer()
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    let first = first.answer().await;
    first.is_first(201, true, "completed");
    second.answer().await.replays(&first);
}

#[tokio::test]
async fn a_duplicate_whose_upload_takes_longer_than_a_wait_is_refused() {
    let policy = format!("in_flight = \"wait\"\nwait_timeout = \"200ms\"\n{STREAMED}");
    let world = World::policy(STORE, &policy).await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let (mut first, gate) = hold(&world, &request, Reply::new(201)).await;
    let mut second = world.connect().await;
    second.send(&request.head(5000)).await;
    second.send(&request.body[..2000]).await;
    second
        .answer()
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}
