//! The one log event of a request.

use crate::World;
use crate::support::*;

#[tokio::test]
async fn a_request_is_one_event_with_stable_names() {
    let world = World::start("", &[]).await;
    let answer = world.proxy.send(&post("/orders", "key-1", "a")).await;
    let event = world.event("executed").await;
    let mut names: Vec<_> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "duration_ms",
            "id",
            "level",
            "message",
            "method",
            "outcome",
            "route",
            "status",
            "store_ms",
            "target",
            "timestamp",
            "upstream_ms",
        ]
    );
    assert_eq!(event["target"], "idemproxy::request");
    assert_eq!(event["route"], "default");
    assert_eq!(event["method"], "POST");
    assert_eq!(event["status"], 201);
    assert_eq!(event["id"], answer.field("x-idempotency-id").unwrap());
    let millis = |name: &str| event[name].as_f64().unwrap();
    assert!(
        millis("duration_ms") >= millis("upstream_ms") + millis("store_ms"),
        "{event}"
    );

    // What was not asked took no time.
    world.proxy.send(&post("/orders", "key-1", "a")).await;
    let event = world.event("replayed").await;
    assert!(
        event.get("upstream_ms").is_none() && event["store_ms"].is_f64(),
        "{event}"
    );
    world.proxy.send(&get("/orders")).await;
    let event = world.event("bypassed").await;
    assert!(
        event.get("store_ms").is_none() && event["upstream_ms"].is_f64(),
        "{event}"
    );
    assert!(event.get("id").is_none(), "{event}");
}

#[tokio::test]
async fn keys_are_logged_only_where_that_is_asked_for() {
    let world = World::start("", &[]).await;
    world.proxy.send(&post("/", "key-1", "a")).await;
    world.event("executed").await;
    assert!(
        !world.proxy.log().contains("key-1"),
        "{}",
        world.proxy.log()
    );

    let world = World::start("[log]\nkeys = true\n", &[]).await;
    world.says("log: keys is true").await;
    world.proxy.send(&post("/", "\"key-1\"", "a")).await;
    assert_eq!(world.event("executed").await["key"], "key-1");
    let log = world.proxy.log();
    assert_eq!(log.matches("key-1").count(), 1, "{log}");
}

#[tokio::test]
async fn a_key_cannot_forge_a_field_or_a_line() {
    let world = World::start("[log]\nkeys = true\n", &[]).await;
    let key = r#"a" outcome="forged\n"#;
    assert_eq!(world.proxy.send(&post("/", key, "a")).await.status, 201);
    assert_eq!(world.event("executed").await["key"], key);
    // What controls a terminal or ends a line is in no key.
    let request = Request::new("POST", "/").field("Idempotency-Key", b"a\x1b[31m");
    let answer = world.proxy.send(&request).await;
    assert_eq!(answer.status, 400);
}
