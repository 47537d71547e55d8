//! What a client may take, by the configuration file.

use crate::pipe::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_head_that_does_not_end_is_closed_and_reaches_nobody() {
    let between = Between::config("[server]\nheader_timeout = \"300ms\"").await;
    for start in ["", "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n"] {
        let mut client = between.sent(start).await;
        client.gone().await;
    }
    assert!(between.nobody_came());
}

#[tokio::test]
async fn a_head_at_the_limit_passes_and_one_byte_more_is_too_large() {
    let between = Between::config("[server]\nmax_header_bytes = \"10KiB\"").await;
    // "/", "host", "a", "connection", "close", "x"
    let fixed = 1 + 4 + 1 + 10 + 5 + 1;
    let head = |size: usize| {
        let value = "v".repeat(size - fixed);
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {value}\r\n\r\n")
    };
    let mut client = between.sent(head(10_240)).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No\r\n\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 204 "));
    for size in [10_241, 100_000] {
        let mut client = between.sent(head(size)).await;
        assert_problem(&client.rest().await, 431, "header-too-large");
    }
    assert!(between.nobody_came());
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let between = Between::config("[server]\nmax_connections = 1").await;
    let mut first = between.sent(GET).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    let mut second = between.sent(GET).await;
    assert_problem(&second.rest().await, 503, "overloaded");
    upstream.send("HTTP/1.1 204 No\r\n\r\n").await;
    first.head().await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let between = Between::config("[server]\nbody_idle_timeout = \"200ms\"").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n";
    let mut keyed = between
        .sent(format!("{head}Idempotency-Key: k\r\n\r\nhalf"))
        .await;
    assert_problem(&keyed.rest().await, 400, "bad-request");
    assert!(between.nobody_came());
    let mut plain = between.sent(format!("{head}\r\nhalf")).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    assert_problem(&plain.rest().await, 400, "bad-request");
    // What the upstream gets never looks whole.
    upstream.gone().await;
}

#[tokio::test]
async fn a_burst_of_clients_is_accepted_even_those_that_say_nothing() {
    let between = Between::config("[server]\nheader_timeout = \"300ms\"").await;
    // On this one thread all of them connect before the first is accepted.
    let clients = futures_util::future::join_all((0..300).map(|_| between.connect())).await;
    futures_util::future::join_all(clients.into_iter().map(|mut client| async move {
        client.gone().await;
    }))
    .await;
}
