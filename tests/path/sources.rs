//! Where keys come from: headers, the query, cookies. What names an operation is the same whatever the store.

use crate::support::*;
use crate::world::*;

async fn world(policy: &str) -> World {
    World::policy(Backing::Memory, policy).await
}

fn plain(target: &str) -> Request {
    post(target, "", "a")
}

/// That it is refused as no key, with these words and without the value.
#[track_caller]
fn says(answer: &Answer, words: &[&str]) {
    answer.is_problem(400, "key-invalid");
    let detail = answer.document()["detail"].as_str().unwrap().to_owned();
    for word in words {
        assert!(detail.contains(word), "{detail:?} does not say {word:?}");
    }
    assert!(!answer.text().contains("sesame"), "{answer:?}");
}

#[tokio::test]
async fn a_key_in_the_query_is_decoded_and_the_query_stays_a_part_of_the_request() {
    let world = world("key = [\"query:client id\"]").await;
    let first = world.send(&plain("/orders?a=1&client%20id=x%2D1")).await;
    first.is_first(201, true, "completed");
    assert_eq!(
        world.upstream.last().target,
        "/orders?a=1&client%20id=x%2D1"
    );
    world
        .send(&plain("/orders?a=1&client%20id=x%2D1"))
        .await
        .replays(&first);
    // The same key, spelled another way: another query.
    let answer = world.send(&plain("/orders?a=1&client%20id=x-1")).await;
    answer.is_problem(422, "key-reused");
    assert!(answer.text().contains("query"), "{answer:?}");
    let other = world.send(&plain("/orders?a=1&client%20id=x-2")).await;
    other.is_first(201, true, "completed");
    // Another parameter is none.
    let unkeyed = world.send(&plain("/orders?a=1&client=x-1")).await;
    assert_eq!(unkeyed.field("x-idempotency-id"), None);
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn a_query_that_holds_no_key_but_the_name_is_refused() {
    let world = world("key = [\"query:id\"]\nkey_max_length = 10").await;
    for (query, words) in [
        (
            "id=sesame1&id=sesame2",
            &["query parameter id", "twice"][..],
        ),
        ("id=sesame&%69d=sesame", &["query parameter id", "twice"]),
        ("id=", &["query parameter id", "empty"]),
        ("id", &["query parameter id", "empty"]),
        (
            "a=1&id=sesame7890a",
            &["query parameter id", "longer than 10"],
        ),
        ("id=%C3%A9sesame", &["query parameter id", "ASCII"]),
        ("id=sesame%0A", &["query parameter id", "ASCII"]),
        ("id=sesame%4", &["query parameter id", "percent-encoded"]),
        ("id=sesame%zz", &["query parameter id", "percent-encoded"]),
    ] {
        let answer = world.send(&plain(&format!("/orders?{query}"))).await;
        says(&answer, words);
    }
    assert_eq!(world.upstream.connections(), 0);
    let longest = world
        .send(&plain("/orders?id=%31%32%33%34%35%36%37%38%39%30"))
        .await;
    longest.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_key_in_a_cookie_is_found_among_others() {
    let world = world("key = [\"cookie:op\"]").await;
    let with = |value: &str| plain("/orders").field("Cookie", value);
    let first = world.send(&with("session=1; op=k-1; b=2")).await;
    first.is_first(201, true, "completed");
    assert_eq!(
        world.upstream.last().field("cookie"),
        Some("session=1; op=k-1; b=2")
    );
    world.send(&with("op=k-1")).await.replays(&first);
    let split = plain("/orders")
        .field("Cookie", "a=1")
        .field("Cookie", "op=k-1");
    world.send(&split).await.replays(&first);
    let none = world.send(&with("session=1; xop=k-1; OP=k-1")).await;
    assert_eq!(none.field("x-idempotency-id"), None);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn cookies_that_hold_no_key_but_the_name_are_refused() {
    let world = world("key = [\"cookie:op\"]\nkey_max_length = 10").await;
    let with = |value: &[u8]| plain("/orders").field("Cookie", value);
    let twice = with(b"op=sesame").field("Cookie", "op=sesame");
    for (request, words) in [
        (with(b"op=sesame; op=other"), &["cookie op", "twice"][..]),
        (twice, &["cookie op", "twice"]),
        (with(b"a=1; op="), &["cookie op", "empty"]),
        (with(b"op=sesame78901"), &["cookie op", "longer than 10"]),
        (with(b"op=sesame\xe9"), &["cookie op", "ASCII"]),
    ] {
        says(&world.send(&request).await, words);
    }
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn the_first_source_that_yields_one_wins_and_has_to_be_sound() {
    let world = world("key = [\"header:X-Op\", \"query:op\", \"cookie:op\"]").await;
    let all = plain("/orders?op=q")
        .field("X-Op", "h")
        .field("Cookie", "op=c");
    let first = world.send(&all).await;
    first.is_first(201, true, "completed");
    world
        .send(&plain("/orders?op=q").field("X-Op", "\"h\""))
        .await
        .replays(&first);
    let second = world
        .send(&plain("/orders?op=q").field("Cookie", "op=c"))
        .await;
    second.is_first(201, true, "completed");
    let third = world.send(&plain("/orders").field("Cookie", "op=c")).await;
    third.is_first(201, true, "completed");
    // One that is there and wrong does not make way for the next; one behind the key is not looked at.
    let empty = plain("/orders?op=q").field("X-Op", "");
    says(&world.send(&empty).await, &["header x-op", "empty"]);
    let behind = plain("/orders?op=q&op=q").field("X-Op", "h2");
    world.send(&behind).await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 4);
}

#[tokio::test]
async fn a_key_that_is_required_is_asked_for_in_all_its_places() {
    let world = world(
        "key_required = true\nkey = [\"header:X-Op\", \"query:op\", \"cookie:op\", \"json:/op\"]",
    )
    .await;
    let answer = world.send(&plain("/orders")).await;
    answer.is_problem(400, "key-missing");
    let places = "in the header x-op or the query parameter op or the cookie op or the body at /op";
    assert!(answer.text().contains(places), "{answer:?}");
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_connection_field_may_name_none_of_the_key_headers() {
    let world = world("key = [\"header:X-Op\", \"json:/id\", \"header:X-Other\"]").await;
    for name in ["X-Op", "x-other", "cookie"] {
        let request = post("/orders", "", r#"{"id":"k"}"#)
            .field("X-Op", "k")
            .field("X-Other", "k")
            .field("Connection", name);
        world.send(&request).await.is_problem(400, "bad-request");
    }
    assert_eq!(world.upstream.connections(), 0);
}
