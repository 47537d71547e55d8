//! What must be equal: JSON bodies by what they say.

use crate::support::*;
use crate::world::*;

async fn world(policy: &str) -> World {
    World::policy(Backing::Memory, policy).await
}

fn order(body: &str) -> Request {
    post("/orders", "k", body)
}

#[tokio::test]
async fn json_that_says_the_same_is_the_same_request() {
    let world = world("fingerprint = [\"method\", \"path\", \"json-body\"]").await;
    let first = world.send(&order(r#"{"item": "pen", "count": 1}"#)).await;
    first.is_first(201, true, "completed");
    for same in [
        r#"{"count":1,"item":"pen"}"#,
        r#"{"item":"\u0070en","count":1.0}"#,
    ] {
        world.send(&order(same)).await.replays(&first);
    }
    for other in [
        r#"{"item":"pen","count":2}"#,
        r#"{"item":"pen","count":"1"}"#,
        r#"{"item":"pen"}"#,
        r#"{"item":"pen","count":1,"count":1}"#,
        "item=pen",
        "",
    ] {
        let answer = world.send(&order(other)).await;
        answer.is_problem(422, "key-reused");
        let detail = answer.document()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("What differs: body."), "{detail}");
    }
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn numbers_that_a_float_would_confuse_are_kept_apart() {
    let world = world("fingerprint = [\"json-body\"]").await;
    let first = world.send(&order("[9007199254740992]")).await;
    first.is_first(201, true, "completed");
    world
        .send(&order("[9007199254740993]"))
        .await
        .is_problem(422, "key-reused");
}

#[tokio::test]
async fn what_is_ignored_may_change_from_one_try_to_the_next() {
    let world = world(
        "fingerprint = [\"json-body\", \"query\"]\nfingerprint_ignore = [\"/sent_at\", \"/try/number\"]",
    )
    .await;
    let first = world
        .send(&order(r#"{"item":"pen","sent_at":1,"try":{"number":1}}"#))
        .await;
    first.is_first(201, true, "completed");
    for same in [
        r#"{"item":"pen","sent_at":2,"try":{"number":2}}"#,
        r#"{"try":{},"item":"pen"}"#,
    ] {
        world.send(&order(same)).await.replays(&first);
    }
    let other = r#"{"item":"ink","sent_at":1,"try":{"number":1}}"#;
    let answer = world.send(&order(other)).await;
    answer.is_problem(422, "key-reused");
    assert!(!answer.text().contains("json-body"), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_compared_as_it_is() {
    let world = world("fingerprint = [\"json-body\"]").await;
    let first = world.send(&order("item=pen")).await;
    first.is_first(201, true, "completed");
    world.send(&order("item=pen")).await.replays(&first);
    for other in ["item=ink", r#"{"item":"pen"}"#] {
        let answer = world.send(&order(other)).await;
        answer.is_problem(422, "key-reused");
        let detail = answer.document()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("What differs: body."), "{detail}");
    }
}

#[tokio::test]
async fn a_keyed_body_too_large_to_compare_is_refused_and_one_without_a_key_streams() {
    let world = world("fingerprint = [\"json-body\"]\nmax_buffered_request = \"1KiB\"").await;
    let large = format!("[\"{}\"]", "x".repeat(2048));
    let answer = world.send(&order(&large)).await;
    answer.is_problem(413, "body-too-large");
    assert!(answer.field("x-idempotency-id").is_some(), "{answer:?}");
    assert_eq!(world.upstream.connections(), 0);
    assert_eq!(world.proxy.metric(CLAIMS), 0.0);
    let unkeyed = world.send(&post("/orders", "", &large)).await;
    assert_eq!(unkeyed.status, 201);
    assert_eq!(world.upstream.last().body, large.as_bytes());
}

#[tokio::test]
async fn a_changed_policy_turns_no_honest_retry_into_another_request() {
    let sections = |fingerprint: &str| format!("[policy]\nfingerprint = {fingerprint}");
    let policies = [
        sections("[\"body\"]"),
        sections("[\"json-body\"]"),
        sections("[\"json-body\"]\nfingerprint_ignore = [\"/at\"]"),
        sections("[\"json-body\"]\nfingerprint_ignore = [\"/n\"]"),
    ];
    for (number, before) in policies.iter().enumerate() {
        for after in &policies[number..] {
            let world = World::config(Backing::Embedded, before).await;
            let requests = [
                post("/orders", "j", r#"{"n": 1, "at": 2}"#),
                post("/orders", "f", "n=1"),
            ];
            let mut answers = Vec::new();
            for request in &requests {
                answers.push(world.send(request).await);
            }
            let World {
                upstream,
                proxy,
                kept,
            } = world;
            proxy.stopped().await;
            let config = configuration(&upstream, &kept.url, after);
            let proxy = Proxy::start(&config).await;
            for (request, first) in requests.iter().zip(&answers) {
                proxy.send(request).await.replays(first);
            }
            assert_eq!(upstream.asked(), 2);
        }
    }
}
