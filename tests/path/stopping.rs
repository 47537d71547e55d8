//! The program as a process: it drains, and what it leaves behind.

use super::STORE;
use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn a_drain_settles_what_runs_and_takes_nothing_new() {
    let mut world = ProcessWorld::config(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let mut idle = world.proxy.connect().await;
    idle.send(&get("/orders").bytes()).await;
    // The gate's answer is scripted first, so this one takes it.
    world.upstream.executed(1).await;
    world.upstream.next(Reply::new(201).body("y").after(&gate));
    let request = post("/orders", "k", "a");
    let mut busy = world.proxy.connect().await;
    busy.send(&request.bytes()).await;
    world.upstream.executed(2).await;
    let mut silent = world.proxy.connect().await;

    assert_eq!(world.proxy.page("/readyz").await.status, 200);
    world.proxy.terminate().await;
    patiently(async { while world.proxy.page("/readyz").await.status != 503 {} }).await;
    assert_eq!(world.proxy.page("/livez").await.status, 200);
    assert!(silent.is_closed().await);
    patiently(async {
        while tokio::net::TcpStream::connect(world.proxy.address())
            .await
            .is_ok()
        {}
    })
    .await;

    gate.cancel();
    assert_eq!(idle.answer().await.text(), "x");
    let first = busy.answer().await;
    first.is_first(201, true, "completed");
    assert_eq!(first.text(), "y");
    drop((idle, busy));
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_drain_waits_for_an_exchange_whose_client_has_left() {
    let mut world = ProcessWorld::config(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.proxy.connect().await;
    client.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    client.abort();
    world.proxy.terminate().await;
    patiently(async { while world.proxy.page("/readyz").await.status != 503 {} }).await;
    gate.cancel();
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
    if STORE.is_durable() {
        world.again().await;
        let replay = world.proxy.send(&request).await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
        assert_eq!((replay.text().as_str(), world.upstream.asked()), ("x", 1));
    }
}

#[tokio::test]
async fn the_drain_deadline_frees_no_key_for_which_the_upstream_is_asked_what_to_reply() {
    let rules = r#"
        [server]
        drain_timeout = "300ms"
        [[policy.response]]
        status = "409"
        outcome = "store"
        reply_from = "/orders?client_id={key}"
    "#;
    let mut world = ProcessWorld::config(STORE, rules).await;
    world.upstream.next(Reply::new(409));
    world.upstream.next(Act::new([Step::Never]));
    let mut client = world.proxy.connect().await;
    client.send(&post("/orders", "k", "a").bytes()).await;
    world.upstream.executed(2).await;
    world.proxy.terminate().await;
    client
        .answer()
        .await
        .is_problem(504, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
}

#[tokio::test]
async fn the_drain_deadline_leaves_an_unknown_outcome_and_says_so() {
    let mut world = ProcessWorld::config(STORE, "[server]\ndrain_timeout = \"300ms\"\n").await;
    world.upstream.next(Act::new([Step::Never]));
    let request = post("/orders", "k", "a");
    let mut client = world.proxy.connect().await;
    client.send(&request.bytes()).await;
    world.upstream.executed(1).await;
    world.proxy.terminate().await;
    client
        .answer()
        .await
        .is_problem(504, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
    if STORE.is_durable() {
        world.again().await;
        world
            .proxy
            .send(&request)
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
        assert_eq!(world.upstream.asked(), 1);
    }
}

#[tokio::test]
async fn the_drain_deadline_aborts_what_streams_and_leaves_it_unknown() {
    let mut world = ProcessWorld::config(STORE, "[server]\ndrain_timeout = \"300ms\"\n").await;
    world.upstream.next(
        Reply::new(200)
            .field("Content-Type", "text/event-stream")
            .chunked()
            .then(chunk("data: 1\n\n"))
            .then(Step::Never),
    );
    let request = post("/orders", "k", "a");
    let mut client = world.proxy.connect().await;
    client.send(&request.bytes()).await;
    client.peek_until(b"data: 1").await;
    world.proxy.terminate().await;
    assert_eq!(client.answer().await.ending, Ending::Cut);
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
    if STORE.is_durable() {
        world.again().await;
        world
            .proxy
            .send(&request)
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
    }
}

#[tokio::test]
async fn the_drain_deadline_finds_an_upload_under_way() {
    let mut world = ProcessWorld::config(
        STORE,
        "[server]\ndrain_timeout = \"300ms\"\n[policy]\nmax_buffered_request = \"1KiB\"\n",
    )
    .await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let mut client = world.proxy.connect().await;
    client.send(&request.head(5000)).await;
    client.send(&request.body[..2000]).await;
    world.upstream.asked_for(1).await;
    world.proxy.terminate().await;
    client
        .answer()
        .await
        .is_problem(504, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
    assert_eq!(world.upstream.executions(), 0);
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting() {
    let mut world = ProcessWorld::config(STORE, "[server]\ndrain_timeout = \"10m\"\n").await;
    world.upstream.next(Act::new([Step::Never]));
    let mut client = world.proxy.connect().await;
    client.send(&post("/orders", "k", "a").bytes()).await;
    world.upstream.executed(1).await;
    world.proxy.terminate().await;
    patiently(async { while world.proxy.page("/readyz").await.status != 503 {} }).await;
    world.proxy.terminate().await;
    client
        .answer()
        .await
        .is_problem(504, "outcome-unknown");
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
}

#[tokio::test]
async fn a_drain_that_is_announced_first_still_accepts() {
    let mut world = ProcessWorld::config(
        STORE,
        "[server]\ndrain_delay = \"10m\"\ndrain_timeout = \"10m\"\n",
    )
    .await;
    world.proxy.terminate().await;
    patiently(async { while world.proxy.page("/readyz").await.status != 503 {} }).await;
    world
        .proxy
        .send(&post("/orders", "k", "a"))
        .await
        .is_first(201, true, "completed");
    world.proxy.terminate().await;
    assert_eq!(world.proxy.ended().await, Some(0), "{}", world.proxy.log());
}

#[tokio::test]
async fn the_log_tells_requests_and_no_secrets() {
    let mut world = ProcessWorld::config(STORE, "").await;
    let request = post("/orders?query-secret=1", "key-secret", "body-secret")
        .field("Authorization", "Bearer token-secret")
        .field("Cookie", "session=cookie-secret");
    world.upstream.next(Reply::new(201).body("answer-secret"));
    let id = world.proxy.send(&request).await.field("x-idempotency-id");
    world.proxy.send(&request).await;
    world.upstream.next(Act::new([Step::Fin]));
    let lost = post("/orders", "key-secret-2", "body-secret");
    world.proxy.send(&lost).await;
    world.proxy.send(&lost).await;
    world.proxy.terminate().await;
    assert_eq!(world.proxy.ended().await, Some(0));
    let log = world.proxy.whole_log().await;
    assert!(!log.contains("secret"), "{log}");
    let told = log
        .lines()
        .filter(|line| line.contains(id.as_deref().unwrap()))
        .count();
    assert!(told >= 2, "{log}");
    for outcome in ["executed", "replayed", "outcome_unknown"] {
        assert!(log.contains(&format!("\"outcome\":\"{outcome}\"")), "{log}");
    }
}
