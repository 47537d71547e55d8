//! An exchange ends under the policy that it began with.

use std::time::{Duration, SystemTime};

use crate::support::*;
use crate::world::*;

/// All that an exchange meets after it was sent.
const BEFORE: &str = r#"
    [policy]
    retention = "1h"
    [[policy.response]]
    status = "500"
    outcome = "store"
"#;

const AFTER: &str = r#"
    [headers]
    stored = "X-Idempotent-Kept"
    [policy]
    retention = "9h"
"#;

/// How long an answer says that it is kept, in hours.
fn hours(answer: &Answer) -> u64 {
    let expires = answer.field("x-idempotency-expires").expect("it is kept");
    let expires = httpdate::parse_http_date(&expires).unwrap();
    let left = expires.duration_since(SystemTime::now()).unwrap();
    (left + Duration::from_secs(600)).as_secs() / 3_600
}

#[tokio::test]
async fn rules_retention_and_names_of_headers_are_those_that_a_request_began_with() {
    let world = World::of(BEFORE).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(500).after(&gate));
    let mut first = world.begin(&post("/orders", "old", "a")).await;
    world.upstream.asked_for(1).await;
    world.reload(AFTER).await;
    world.upstream.next(Reply::new(500));
    let new = world.post("new", "a").await;
    assert_eq!(new.field("x-idempotent-kept").as_deref(), Some("false"));
    gate.cancel();
    let old = first.answer().await;
    assert_eq!(old.field("x-idempotency-stored").as_deref(), Some("true"));
    assert_eq!(hours(&old), 1);
    // What it left is told as whoever asks now is told.
    let again = world.post("old", "a").await;
    assert_eq!(again.status, 500);
    assert_eq!(again.field("x-idempotency-replay").as_deref(), Some("true"));
    assert_eq!(hours(&again), 1);
    assert_eq!(hours(&world.post("next", "a").await), 9);
}

#[tokio::test]
async fn it_is_retried_where_and_as_it_began() {
    let retrying = "[policy.retry]\non = [\"503\"]\nbase = \"1ms\"\n";
    let world = World::of(retrying).await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(503).after(&gate))
        .next(Reply::new(201).body("old"));
    let mut first = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.asked_for(1).await;
    let other = Upstream::start().await;
    other.next(Reply::new(503));
    world.reload_text(&configuration(&other, "")).await;
    assert_eq!(world.post("l", "a").await.status, 503);
    gate.cancel();
    let old = first.answer().await;
    assert_eq!((old.status, old.text().as_str()), (201, "old"));
    assert_eq!((world.upstream.asked(), other.asked()), (2, 1));
}

#[tokio::test]
async fn who_waits_goes_on_waiting() {
    let world = World::of("[policy]\nin_flight = \"wait\"\n").await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(201).body("one").after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.upstream.asked_for(1).await;
    let mut waiting = world.begin(&request).await;
    world.proxy.reaches("idemproxy_waiters", 1.0).await;
    world.reload("[server]\nmax_waiters = 0\n").await;
    let refused = world.proxy.send(&request).await;
    assert_eq!(
        refused.field("x-idempotency-error").as_deref(),
        Some("in-progress")
    );
    gate.cancel();
    assert_eq!(first.answer().await.text(), "one");
    let waited = waiting.answer().await;
    assert_eq!(waited.text(), "one");
    assert_eq!(
        waited.field("x-idempotency-replay").as_deref(),
        Some("true")
    );
    world.proxy.reaches("idemproxy_waiters", 0.0).await;
}

#[tokio::test]
async fn an_upload_and_a_stream_go_on() {
    let world =
        World::of("[policy]\nmax_buffered_request = \"10B\"\nmax_stored_response = \"10B\"\n")
            .await;
    let gate = Gate::new();
    let parts = Reply::new(201)
        .chunked()
        .then(chunk("first part, "))
        .then(Step::Wait(gate.clone()));
    world
        .upstream
        .next(parts.then(chunk("second part")).then(chunk("")));
    let request = post("/orders", "k", "a body that is streamed");
    let mut client = world.proxy.connect().await;
    let bytes = request.bytes();
    let (start, end) = bytes.split_at(bytes.len() - 5);
    client.send(start).await;
    world.upstream.asked_for(1).await;
    let other = Upstream::start().await;
    world
        .reload_text(&configuration(
            &other,
            "[policy]\nmax_request_body = \"1B\"\n",
        ))
        .await;
    client.send(end).await;
    let head = client.head().await;
    client.peek_until(b"first part").await;
    world
        .reload_text(&configuration(
            &other,
            "[policy]\nmax_request_body = \"2B\"\n",
        ))
        .await;
    gate.cancel();
    let answer = client.rest_of(head).await;
    assert_eq!(
        (answer.text().as_str(), answer.ending),
        ("first part, second part", Ending::Whole)
    );
    assert_eq!(world.upstream.executions(), 1);
    assert_eq!(world.upstream.last().body, b"a body that is streamed");
}

#[tokio::test]
async fn the_end_that_the_store_does_not_take_is_told_to_it_as_it_was_meant() {
    let redis = RedisServer::start();
    let upstream = Upstream::start().await;
    let of = |retention: &str| {
        configuration(
            &upstream,
            &format!("timeout = \"200ms\"\n[policy]\nretention = \"{retention}\"\n"),
        )
        .replace("memory:", &redis.url())
    };
    let file = File::new(&of("1h"));
    let proxy = Proxy::of_file(file.path()).await;
    let gate = Gate::new();
    upstream.next(Reply::new(201).body("one").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = proxy.connect().await;
    client.send(&request.bytes()).await;
    upstream.asked_for(1).await;
    redis.freeze();
    gate.cancel();
    let answer = client.answer().await;
    assert_eq!(
        answer.field("x-idempotency-stored").as_deref(),
        Some("false")
    );
    file.write(&of("9h"));
    assert_eq!(reload(&proxy, "").await.status, 200);
    redis.thaw();
    let mut again = proxy.send(&request).await;
    patiently(async {
        while again.status != 201 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            again = proxy.send(&request).await;
        }
    })
    .await;
    assert_eq!(again.field("x-idempotency-replay").as_deref(), Some("true"));
    assert_eq!(hours(&again), 1);
    assert_eq!(upstream.executions(), 1);
}
