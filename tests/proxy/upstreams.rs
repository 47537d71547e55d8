//! Upstreams that are not there, or not any more.

use crate::pipe::*;
use crate::support::{Proxy, Reply, Upstream, get, post};

#[tokio::test]
async fn an_upstream_that_is_down_stops_no_replay() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream.url(), "")).await;
    upstream.next(Reply::new(201).body("made"));
    assert_eq!(proxy.send(&post("/", "k", "b")).await.status, 201);
    drop(upstream);
    let unreachable = |answer: crate::support::Answer| {
        answer.field("x-idempotency-error").as_deref() == Some("upstream-unreachable")
    };
    crate::support::patiently(async { while !unreachable(proxy.send(&get("/")).await) {} }).await;
    let replay = proxy.send(&post("/", "k", "b")).await;
    assert_eq!((replay.status, &*replay.body), (201, &b"made"[..]));
    assert_eq!(replay.field("x-idempotency-replay").unwrap(), "true");
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
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut warm = between.sent("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        warm.head().await;
        let mut client = between.sent(post(key)).await;
        assert!(upstream.head().await.starts_with("POST /a "));
        drop(upstream);
        assert_problem(&client.rest().await, 502, "upstream-failed");
    }
    let mut retry = between.sent(post("Idempotency-Key: k\r\n")).await;
    assert_problem(&retry.rest().await, 409, "outcome-unknown");
    assert!(between.nobody_came());
}
