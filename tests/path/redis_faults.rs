//! A real Redis that dies, freezes, or is behind a faulty network, and proxies that sleep.

use std::time::Duration;

use crate::support::*;
use crate::world::*;

/// An outage is noticed soon, and recovered from.
const IMPATIENT: &str = "[store]\ntimeout = \"500ms\"\n[policy]\nlease = \"2s\"\n";

async fn redis(sections: &str) -> World {
    World::config(Backing::Redis, sections).await
}

/// A proxy whose way to Redis is a link.
async fn linked() -> (World, Link, Proxy) {
    let world = redis(IMPATIENT).await;
    let link = Link::to(world.kept.redis.as_ref().unwrap().port()).await;
    let config = configuration(&world.upstream, &link.redis_url(), IMPATIENT);
    let proxy = Proxy::start(&config).await;
    (world, link, proxy)
}

/// Sends a request until its answer is not that it should be sent again.
async fn persist(proxy: &Proxy, request: &Request) -> Answer {
    patiently(async {
        loop {
            let answer = proxy.send(request).await;
            if answer.field("retry-after").is_none() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn other_requests_flow_while_redis_is_dead_and_keys_again_when_it_is_back() {
    let mut world = redis(IMPATIENT).await;
    world.post("k", "a").await.is_first(201, true, "completed");
    world.kept.redis.as_mut().unwrap().stop();
    world
        .post("l", "a")
        .await
        .is_problem(503, "store-unavailable");
    assert_eq!(world.upstream.asked(), 1);
    assert_eq!(world.send(&get("/orders")).await.status, 201);
    assert_eq!(world.send(&post("/orders", "", "a")).await.status, 201);
    world.proxy.reaches("idemproxy_store_up", 0.0).await;
    assert_eq!(world.proxy.page("/readyz").await.status, 200);
    world.kept.redis.as_mut().unwrap().restart();
    let first = persist(&world.proxy, &post("/orders", "l", "a")).await;
    first.is_first(201, true, "completed");
    world.post("l", "a").await.replays(&first);
    assert_eq!(world.upstream.asked(), 4);
}

#[tokio::test]
async fn an_answer_that_came_while_redis_was_dead_is_replayed_when_it_is_back() {
    let mut world = redis(IMPATIENT).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.kept.redis.as_mut().unwrap().stop();
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, false, "in-flight");
    assert_eq!(first.text(), "x");
    // It comes back without a record, and gets it from the one who knows.
    world.kept.redis.as_mut().unwrap().restart();
    world
        .proxy
        .reaches("idemproxy_records_restored_total", 1.0)
        .await;
    let replay = persist(&world.proxy, &request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!((replay.text().as_str(), world.upstream.asked()), ("x", 1));
}

#[tokio::test]
async fn an_answer_that_came_while_redis_was_frozen_is_replayed_when_it_thaws() {
    let world = redis(IMPATIENT).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.kept.redis.as_ref().unwrap().freeze();
    gate.cancel();
    let first = client.answer().await;
    world.kept.redis.as_ref().unwrap().thaw();
    first.is_first(201, false, "in-flight");
    let replay = persist(&world.proxy, &request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!((replay.text().as_str(), world.upstream.asked()), ("x", 1));
}

#[tokio::test]
async fn a_claim_whose_reply_the_network_lost_is_not_forwarded_and_usable_again() {
    let (world, link, proxy) = linked().await;
    proxy
        .send(&post("/orders", "before", "a"))
        .await
        .is_first(201, true, "completed");
    link.swallow_replies();
    let request = post("/orders", "k", "a");
    proxy
        .send(&request)
        .await
        .is_problem(503, "store-unavailable");
    assert_eq!(world.upstream.asked(), 1);
    link.pass();
    let first = persist(&proxy, &request).await;
    first.is_first(201, true, "completed");
    proxy.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_settlement_whose_reply_the_network_lost_is_replayed() {
    let (world, link, proxy) = linked().await;
    // From here on Redis knows the script, and a settlement is one request.
    proxy
        .send(&post("/orders", "before", "a"))
        .await
        .is_first(201, true, "completed");
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = proxy.connect().await;
    client.send(&request.bytes()).await;
    world.upstream.executed(2).await;
    link.swallow_replies();
    gate.cancel();
    client.answer().await.is_first(201, false, "in-flight");
    // It arrived, as another proxy can see.
    let replay = world.settled(&request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    link.pass();
    let replay = persist(&proxy, &request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn two_proxies_share_their_keys() {
    let world = redis("").await;
    let url = &world.kept.url;
    let other = Proxy::start(&configuration(&world.upstream, url, "")).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    other
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    let first = client.answer().await;
    other.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_holder_that_slept_before_the_first_byte_gives_up() {
    let sections = "[policy]\nlease = \"1s\"\nunknown_outcome = \"retry\"\n\
                    retry = { attempts = 100, base = \"300ms\", max = \"300ms\" }\n";
    let redis = RedisServer::start();
    let mut upstream = Upstream::absent();
    let config = configuration(&upstream, &redis.url(), sections);
    let holder = Process::start(PROGRAM, &config).await;
    let other = Process::start(PROGRAM, &config).await;
    let request = post("/orders", "k", "a");
    let mut first = holder.connect().await;
    first.send(&request.bytes()).await;
    // It has its claim, and nobody to send it to.
    let claimed = format!("{CLAIMS} 1\n");
    patiently(async { while !holder.page("/metrics").await.text().contains(&claimed) {} }).await;
    holder.freeze().await;
    // Redis sleeps too: nobody may count that time against the holder.
    redis.freeze();
    redis.thaw();
    upstream.listen();
    let second = patiently(async {
        loop {
            let answer = other.send(&request).await;
            if answer.status == 201 {
                return answer;
            }
            assert!(answer.field("retry-after").is_some(), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    second.is_first(201, true, "completed");
    assert_eq!(upstream.last().all("x-idempotency-attempt"), ["2"]);
    holder.thaw().await;
    first.answer().await.is_problem(409, "in-progress");
    assert_eq!(
        upstream.asked(),
        1,
        "the holder woke up and sent its request"
    );
    other.send(&request).await.replays(&second);
    holder.send(&request).await.replays(&second);
}
