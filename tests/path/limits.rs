//! What all exchanges together may use, and that traffic beside a busy key flows on.

use super::STORE;
use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn one_exchange_too_many_is_refused_before_any_claim() {
    let world = World::config(STORE, "[server]\nmax_in_flight = 2").await;
    let gate = Gate::new();
    let mut clients = Vec::new();
    for key in ["a", "b"] {
        world.upstream.next(Reply::new(201).after(&gate));
        clients.push(world.begin(&post("/orders", key, "a")).await);
    }
    world.upstream.executed(2).await;
    let refused = world.post("c", "a").await;
    refused.is_problem(503, "overloaded");
    world
        .send(&get("/orders"))
        .await
        .is_problem(503, "overloaded");
    let limit = r#"idemproxy_limit_reached_total{limit="max_in_flight"}"#;
    assert_eq!(world.proxy.metric(limit), 2.0);
    let outcome = r#"idemproxy_requests_total{route="default",outcome="overloaded"}"#;
    assert_eq!(world.proxy.metric(outcome), 2.0);
    assert_eq!(world.upstream.asked(), 2);
    gate.cancel();
    for client in &mut clients {
        client.answer().await.is_first(201, true, "completed");
    }
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    // With another body, since nothing was claimed.
    world.post("c", "b").await.is_first(201, true, "completed");
}

#[tokio::test]
async fn an_exchange_without_its_client_counts_as_one() {
    let world = World::config(STORE, "[server]\nmax_in_flight = 1").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "a", "a");
    let client = world.begin(&request).await;
    world.upstream.executed(1).await;
    client.abort();
    world.proxy.reaches("idemproxy_connections", 0.0).await;
    world.post("b", "a").await.is_problem(503, "overloaded");
    gate.cancel();
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    let replay = world.send(&request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
}

#[tokio::test]
async fn bodies_that_do_not_fit_in_memory_are_refused_before_any_claim() {
    let world = World::config(STORE, "[server]\nmax_buffered_total = \"2KiB\"").await;
    world
        .send(&post("/orders", "k", vec![b'x'; 2049]))
        .await
        .is_problem(503, "overloaded");
    let limit = r#"idemproxy_limit_reached_total{limit="max_buffered_total"}"#;
    assert_eq!(world.proxy.metric(limit), 1.0);
    assert_eq!(world.upstream.connections(), 0);
    // What was held is given back.
    for key in ["k", "l", "m"] {
        world
            .send(&post("/orders", key, vec![b'x'; 2000]))
            .await
            .is_first(201, true, "completed");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_in_memory_is_passed_on_and_not_kept() {
    let world = World::config(STORE, "[server]\nmax_buffered_total = \"2KiB\"").await;
    world.upstream.next(Reply::new(201).body(vec![b'x'; 4000]));
    let first = world.post("k", "a").await;
    first.is_first(201, false, "in-flight");
    assert_eq!(first.body.len(), 4000);
    world
        .post("k", "a")
        .await
        .is_problem(409, "response-not-stored")
        .in_state("completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn duplicates_of_a_busy_key_do_not_stop_other_traffic() {
    let world = World::config(STORE, "[upstream_connections]\nmax_connections = 2").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.upstream.executed(1).await;
    for number in 0..50 {
        world.send(&request).await.is_problem(409, "in-progress");
        world
            .post(&number.to_string(), "a")
            .await
            .is_first(201, true, "completed");
    }
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.executions(), 51);
}

#[tokio::test]
async fn a_request_body_over_its_limit_counts_wherever_that_shows() {
    let world = World::config(STORE, "[policy]\nmax_request_body = \"1KiB\"").await;
    let limit = r#"idemproxy_limit_reached_total{limit="max_request_body"}"#;
    assert_eq!(world.proxy.metric(limit), 0.0);
    let mut refused = 0.0;
    for key in ["k", ""] {
        let large = post("/orders", key, vec![b'x'; 1025]);
        world.send(&large).await.is_problem(413, "body-too-large");
        // One that tells no length is found out on the way.
        let mut client = world.connect().await;
        client.send(&large.chunked_head()).await;
        client.send(b"401\r\n").await;
        client.send(&large.body).await;
        client.answer().await.is_problem(413, "body-too-large");
        refused += 2.0;
        assert_eq!(world.proxy.metric(limit), refused, "{key:?}");
    }
}

#[tokio::test]
async fn a_request_that_finds_no_connection_counts_by_that_limit() {
    let sections = "[upstream_connections]\nmax_connections = 1\nconnect_timeout = \"20ms\"";
    let world = World::config(STORE, sections).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let mut first = world.begin(&post("/orders", "a", "a")).await;
    world.upstream.executed(1).await;
    let refused = world.send(&get("/orders")).await;
    refused.is_problem(502, "upstream-unreachable");
    let limit = r#"idemproxy_limit_reached_total{limit="upstream_max_connections"}"#;
    assert_eq!(world.proxy.metric(limit), 1.0);
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}
