//! `mode = "observe"` with a store that fails, and where there is no room to look.

use crate::faulty::{Fault, Faulty, Operation};
use crate::support::*;
use crate::world::*;

const OBSERVE: &str = "[policy]\nmode = \"observe\"\n";
const EXECUTED: &str = r#"idemproxy_requests_total{route="default",outcome="observed_executed"}"#;
const SKIPPED: &str = r#"idemproxy_requests_total{route="default",outcome="observed_skipped"}"#;
const STORE_ERROR: &str =
    r#"idemproxy_requests_total{route="default",outcome="observed_store_error"}"#;

#[track_caller]
fn passed(answer: &Answer) {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.field("x-idempotency-error"), None, "{answer:?}");
}

#[tokio::test]
async fn a_store_that_is_away_is_counted_and_nothing_else() {
    let mut world = World::config(Backing::Redis, OBSERVE).await;
    passed(&world.post("k", "a").await);
    world.proxy.reaches(EXECUTED, 1.0).await;
    world.kept.redis.as_mut().unwrap().stop();
    for key in ["k", "l"] {
        passed(&world.post(key, "a").await);
    }
    world.proxy.reaches(STORE_ERROR, 2.0).await;
    world.proxy.reaches("idemproxy_store_up", 0.0).await;
    world.kept.redis.as_mut().unwrap().restart();
    world.proxy.reaches("idemproxy_store_up", 1.0).await;
    passed(&world.post("m", "a").await);
    world.proxy.reaches(EXECUTED, 2.0).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_nothing_up() {
    let sections = format!("[store]\ntimeout = \"60s\"\n{OBSERVE}");
    let world = World::config(Backing::Redis, &sections).await;
    passed(&world.post("before", "a").await);
    world.proxy.reaches(EXECUTED, 1.0).await;
    let redis = world.kept.redis.as_ref().unwrap();
    redis.freeze();
    // Answered and gone, while the store has said nothing.
    for key in ["k", "l"] {
        passed(&world.post(key, "a").await);
    }
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    assert_eq!(world.proxy.metric(CLAIMS), 1.0);
    redis.thaw();
    world.proxy.reaches(EXECUTED, 3.0).await;
}

#[tokio::test]
async fn only_so_many_are_observed_at_once_and_the_rest_is_counted() {
    let sections = format!("[store]\ntimeout = \"60s\"\n[server]\nmax_in_flight = 1\n{OBSERVE}");
    let world = World::config(Backing::Redis, &sections).await;
    passed(&world.post("before", "a").await);
    world.proxy.reaches(EXECUTED, 1.0).await;
    world.kept.redis.as_ref().unwrap().freeze();
    for key in ["k", "l", "m"] {
        passed(&world.post(key, "a").await);
        world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    }
    world.proxy.reaches(SKIPPED, 1.0).await;
    // Nor does the end wait for them beyond its deadline.
    let World { proxy, kept, .. } = world;
    proxy.stop();
    proxy.hurry();
    proxy.stopped().await;
    kept.redis.as_ref().unwrap().thaw();
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_does_not_stay_in_flight() {
    let sections = format!("[store]\ntimeout = \"500ms\"\n{OBSERVE}");
    let world = World::config(Backing::Redis, &sections).await;
    let link = Link::to(world.kept.redis.as_ref().unwrap().port()).await;
    let config = configuration(&world.upstream, &link.redis_url(), &sections);
    let proxy = Proxy::start(&config).await;
    passed(&proxy.send(&post("/orders", "before", "a")).await);
    proxy.reaches(EXECUTED, 1.0).await;
    link.swallow_replies();
    passed(&proxy.send(&post("/orders", "k", "a")).await);
    proxy.reaches(STORE_ERROR, 1.0).await;
    link.pass();
    // As under enforcement, which would have refused it, the key is free.
    patiently(async {
        while proxy.metric(EXECUTED) < 2.0 {
            passed(&proxy.send(&post("/orders", "k", "a")).await);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_copied_of_an_answer_is_not_held_while_the_store_is_away() {
    let world = Faulty::policy(
        "mode = \"observe\"\n[[policy.response]]\nstatus = \"201\"\njson = { \"/id\" = \"1\" }\n\
         outcome = \"store\"\n[[route]]\npath = \"/kept\"\nmode = \"enforce\"\n\
         [server]\nmax_buffered_total = \"4KiB\"\n",
    )
    .await;
    let large = format!(r#"{{"id":"1","fill":"{}"}}"#, "x".repeat(3000));
    world.upstream.next(Reply::new(201).body(large));
    world.store.once(Operation::Insert, Fault::RequestLost);
    world.store.always(Operation::Replace, Fault::Refused);
    passed(&world.post("k", "a").await);
    eventually(|| world.metric(STORE_ERROR) == 1.0).await;
    // The observation tells the store of its end, which does not listen.
    eventually(|| world.store.count_of(Operation::Replace) > 0).await;
    let kept = world.send(&post("/kept", "k", vec![b'x'; 3000])).await;
    kept.is_first(201, false, "in-flight");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_body_that_there_is_no_memory_to_copy_passes() {
    let world = World::config(
        Backing::Memory,
        "[server]\nmax_buffered_total = \"1KiB\"\n[policy]\nmode = \"observe\"\nkey = [\"json:/id\"]\n",
    )
    .await;
    let large = format!(r#"{{"id":"k","fill":"{}"}}"#, "x".repeat(5000));
    passed(&world.send(&post("/orders", "", &large)).await);
    world.proxy.reaches(SKIPPED, 1.0).await;
    assert_eq!(world.upstream.last().body, large.as_bytes());
    // Where nothing has to be read nothing is held.
    let (off, keyed) = (OBSERVE, "[server]\nmax_buffered_total = \"1KiB\"\n");
    let config = configuration(&world.upstream, "memory:", &format!("{keyed}{off}"));
    let proxy = Proxy::start(&config).await;
    passed(&proxy.send(&post("/orders", "k", &large)).await);
    proxy.reaches(EXECUTED, 1.0).await;
}

#[tokio::test]
async fn each_request_has_one_line_in_the_log_without_its_key() {
    let world = ProcessWorld::config(Backing::Embedded, OBSERVE).await;
    let request = post("/orders", "sesame", "a").field("Authorization", "Bearer sesame");
    for outcome in ["observed_executed", "observed_replayed"] {
        passed(&world.proxy.send(&request).await);
        eventually(|| world.proxy.log().contains(outcome)).await;
    }
    passed(&world.proxy.send(&post("/orders", "", "a")).await);
    eventually(|| world.proxy.log().contains("bypassed")).await;
    let log = world.proxy.log();
    assert!(!log.contains("sesame"), "{log}");
    assert!(
        log.contains("mode is observe: nothing is guaranteed"),
        "{log}"
    );
    let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let requests: Vec<serde_json::Value> = events
        .filter(|event: &serde_json::Value| event["message"] == "request")
        .collect();
    assert_eq!(requests.len(), 3, "{log}");
    for event in &requests {
        assert_eq!(
            (&event["route"], &event["status"]),
            (&"default".into(), &201.into())
        );
        assert!(event["duration_ms"].is_number(), "{event}");
    }
}
