//! Upstreams that are not there, or not any more.

use crate::pipe::*;

#[tokio::test]
async fn an_upstream_that_is_down_stops_no_replay() {
    let between = Between::start().await;
    let post = "POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    let mut client = between.sent(post).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 201 Made\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmade")
        .await;
    client.rest().await;
    drop(upstream);
    let between = between.without_upstream();
    let mut other = between
        .sent(post.replace("Idempotency-Key: k\r\n", ""))
        .await;
    assert_problem(&other.rest().await, 502, "upstream-unreachable");
    let mut client = between.sent(post).await;
    let replay = client.rest().await;
    assert!(
        replay.starts_with("HTTP/1.1 201 ") && replay.ends_with("\r\n\r\nmade"),
        "{replay}"
    );
    assert_eq!(values(&replay, "x-idempotency-replay"), ["true"]);
}

#[tokio::test]
async fn a_pooled_connection_that_dies_as_it_is_used_again_is_not_the_clients_problem() {
    let between = Between::start().await;
    let mut client = between.connect().await;
    let get = "GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    client.send(get).await;
    let mut first = between.accept().await;
    first.head().await;
    first.send(ok).await;
    client.head().await;
    // Its keep-alive ends at this very moment.
    client.send(get).await;
    first.head().await;
    drop(first);
    let mut second = between.accept().await;
    let head = second.head().await;
    assert!(
        head.starts_with("GET /a ") && values(&head, "x") == ["y"],
        "{head}"
    );
    second.send(ok).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    // Closed while it rests, it is not used at all.
    drop(second);
    client.send(get).await;
    let mut third = between.accept().await;
    third.head().await;
    third.send(ok).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_may_have_an_effect_is_never_sent_a_second_time() {
    let between = Between::start().await;
    let post = |key: &str| {
        format!(
            "POST /a HTTP/1.1\r\nHost: a\r\n{key}Connection: close\r\nContent-Length: 1\r\n\r\nx"
        )
    };
    let mut warm = between.sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    warm.head().await;
    let mut client = between.sent(post("")).await;
    assert!(upstream.head().await.starts_with("POST /a "));
    drop(upstream);
    assert_problem(&client.rest().await, 502, "upstream-failed");

    let mut client = between.sent(post("Idempotency-Key: k\r\n")).await;
    let mut upstream = between.accept().await;
    assert!(upstream.head().await.starts_with("POST /a "));
    drop(upstream);
    assert_problem(&client.rest().await, 502, "upstream-failed");
    let mut retry = between.sent(post("Idempotency-Key: k\r\n")).await;
    assert_problem(&retry.rest().await, 409, "outcome-unknown");
    assert!(between.nobody_came());
}
