//! `Expect: 100-continue`.

use crate::pipe::*;

const HEAD: &str = "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n";
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn a_body_that_is_wanted_is_asked_for_and_the_upstream_is_not_asked_to_expect_it() {
    let between = Between::start().await;
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut client = between.sent(format!("{HEAD}{key}\r\n")).await;
        assert_eq!(client.head().await, GO_ON);
        client.send("body").await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        assert!(values(&head, "expect").is_empty(), "{head}");
        assert_eq!(upstream.exactly(4).await, "body");
        upstream
            .send("HTTP/1.1 201 Made\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 201 "));
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_asked_for() {
    let between =
        Between::config("[policy]\nkey_required = true\nmax_request_body = \"10B\"").await;
    for (head, status, error) in [
        (format!("{HEAD}Idempotency-Key: \r\n"), 400, "key-invalid"),
        (
            format!("{HEAD}Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
            400,
            "key-invalid",
        ),
        (HEAD.to_owned(), 400, "key-missing"),
        (format!("{HEAD}Host: b\r\n"), 400, "bad-request"),
        (
            format!("{HEAD}Idempotency-Key: k\r\n").replace(": 4", ": 11"),
            413,
            "body-too-large",
        ),
    ] {
        let mut client = between
            .sent(format!("{head}Connection: close\r\n\r\n"))
            .await;
        assert_problem(&client.rest().await, status, error);
    }
    assert!(between.nobody_came());
}

#[tokio::test]
async fn an_upstreams_own_interim_answers_are_not_taken_for_the_answer() {
    let between = Between::start().await;
    let mut client = between
        .sent("POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx")
        .await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream
        .send(format!("{GO_ON}HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(client.exactly(2).await, "ok");
}
