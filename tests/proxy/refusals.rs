//! Requests made to be misread: one problem document each, and nothing of them reaches the upstream.

use crate::pipe::*;

const REFUSED: &[(&str, &str)] = &[
    (
        "no host",
        "POST / HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "two hosts",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ),
    ("host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (
        "gzip, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "xchunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "vertical tab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "gzip beside a length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, old",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "length list",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    ),
    (
        "equal lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "length +1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
    ),
    (
        "length -1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx",
    ),
    (
        "length 0x1",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
    ),
    (
        "length of 30 digits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000000000000000001\r\n\r\nx",
    ),
    (
        "empty length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    ),
    (
        "space before colon",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
    ),
    (
        "space before name",
        "POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "folded line",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    ),
    (
        "bare CR",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    ("GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "user in target",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "UTF-8 in target",
        "GET /\u{c3}\u{a9} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("another version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (
        "bad chunk size",
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    ),
    (
        "endless chunk size",
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
    ),
    (
        "chunk longer than its size",
        "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
    ),
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_gets_one_document_and_reaches_nobody() {
    let between = Between::start().await;
    for (name, request) in REFUSED {
        println!("{name}");
        // What follows must not be read as a second request.
        for follower in ["", "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut client = between.sent(bytes(&format!("{request}{follower}"))).await;
            client.half_close().await;
            assert_problem(&client.rest().await, 400, "bad-request");
            assert!(between.nobody_came(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_would_go_round_the_guarantee_is_refused_and_reaches_nobody() {
    let between = Between::start().await;
    for (target, fields) in [
        ("/a/../b", ""),
        ("/a/%2E%2e/b", ""),
        ("/a/.", ""),
        ("/a", "Connection: idempotency-key\r\n"),
        (
            "/a",
            "Connection: x, Authorization\r\nAuthorization: Bearer t\r\n",
        ),
    ] {
        let mut client = between
            .sent(format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: k\r\n{fields}Content-Length: 1\r\n\r\nx"))
            .await;
        assert_problem(&client.rest().await, 400, "bad-request");
        assert!(between.nobody_came(), "{target} {fields}");
    }
}

#[tokio::test]
async fn a_bad_request_behind_good_ones_takes_none_of_them_down() {
    let between = Between::start().await;
    let good = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = between
        .sent(format!("{good}{good}{}{good}", REFUSED[1].1))
        .await;
    let mut upstream = between.accept().await;
    for _ in 0..2 {
        assert!(upstream.head().await.starts_with("GET /1 "));
        upstream.send("HTTP/1.1 204 No\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
    assert_problem(&client.rest().await, 400, "bad-request");
    assert_eq!(upstream.rest().await, "");
    assert!(between.nobody_came());
}
