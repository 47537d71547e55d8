//! What no policy covers passes as through any proxy.

use crate::pipe::*;
use crate::support::{Upstream, get, patiently, post};

#[tokio::test]
async fn a_request_without_a_key_and_its_answer_pass_byte_for_byte() {
    let between = Between::start().await;
    let body: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let mut request = bytes(&format!(
        "POST /a//b/./%7e?x=1&x=%202 HTTP/1.1\r\nHost: api.example\r\nX-A: 1\r\nX-B: t\u{e9}\u{ff}t\r\nX-A: 2\r\nAuthorization: Basic dTpw\r\nX-Empty:\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    request.extend_from_slice(&body);
    let mut client = between.sent(request).await;

    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(
        head.starts_with("POST /a//b/./%7e?x=1&x=%202 HTTP/1.1\r\n"),
        "{head}"
    );
    for (name, expected) in [
        ("x-a", vec!["1", "2"]),
        ("x-b", vec!["t\u{e9}\u{ff}t"]),
        ("x-empty", vec![""]),
        ("authorization", vec!["Basic dTpw"]),
        ("content-length", vec!["5000"]),
        ("transfer-encoding", vec![]),
    ] {
        assert_eq!(values(&head, name), expected, "{name}");
    }
    assert!(!head.contains("idempotency-"), "{head}");
    assert_eq!(bytes(&upstream.exactly(5000).await), body);

    let mut answer = bytes(
        "HTTP/1.1 299 As You Like\r\nSet-Cookie: a=1\r\nX-B: \u{fc}\r\nSet-Cookie: b=2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5000\r\n\r\n",
    );
    answer.extend_from_slice(&body);
    upstream.send(answer).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 299 "), "{head}");
    assert_eq!(values(&head, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&head, "x-b"), ["\u{fc}"]);
    assert_eq!(values(&head, "date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert_eq!(values(&head, "content-length"), ["5000"]);
    assert!(!head.contains("idempotency-"), "{head}");
    assert_eq!(bytes(&client.exactly(5000).await), body);
}

#[tokio::test]
async fn one_connection_carries_many_exchanges_on_both_sides() {
    let upstream = Upstream::start().await;
    let proxy = crate::support::Proxy::start(&configuration(&upstream.url(), "")).await;
    let mut client = proxy.connect().await;
    for at in 0..50 {
        client.send(&get(&format!("/{at}")).bytes()).await;
        assert_eq!(client.answer().await.status, 201);
    }
    assert_eq!(upstream.asked(), 50);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_keyed_or_not_are_answered_in_order() {
    let upstream = Upstream::start().await;
    let proxy = crate::support::Proxy::start(&configuration(&upstream.url(), "")).await;
    for name in ["a", "b", "c", "d"] {
        upstream.next(crate::support::Reply::new(200).body(name));
    }
    let mut client = proxy.connect().await;
    let all = [
        get("/1").bytes(),
        post("/2", "k", "two").bytes(),
        post("/2", "k", "two").bytes(),
        post("/3", "", "three").bytes(),
        get("/4").bytes(),
    ];
    client.send(&all.concat()).await;
    for (body, replayed) in [
        ("a", false),
        ("b", false),
        ("b", true),
        ("c", false),
        ("d", false),
    ] {
        let answer = client.answer().await;
        assert_eq!(answer.text(), body);
        assert_eq!(answer.field("x-idempotency-replay").is_some(), replayed);
    }
    let targets: Vec<_> = upstream
        .ledger()
        .into_iter()
        .map(|entry| entry.target)
        .collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn an_old_client_gets_an_answer_without_chunks_and_a_close() {
    let between = Between::start().await;
    let mut client = between.sent("GET /old HTTP/1.0\r\n\r\n").await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("GET /old HTTP/1.1\r\n"), "{head}");
    assert_eq!(values(&head, "via"), ["1.0 idemproxy"]);
    assert_eq!(values(&head, "host").len(), 1);
    upstream
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        )
        .await;
    let answer = client.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("chunked"), "{head}");
    assert_eq!(body, "abcde");
}

#[tokio::test]
async fn an_answer_is_framed_once_whatever_lengths_an_upstream_tells() {
    let between = Between::start().await;
    let both = "Content-Length: 2\r\nTransfer-Encoding: chunked";
    let chunks = "5\r\nabcde\r\n0\r\n\r\n";
    for (key, framing, body) in [
        ("", both, chunks),
        ("Idempotency-Key: a\r\n", both, chunks),
        ("", "Content-Length: 5, 5", "abcde"),
        ("Idempotency-Key: b\r\n", "Content-Length: 5, 5", "abcde"),
        ("Idempotency-Key: c\r\n", "Content-Length: 005", "abcde"),
    ] {
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut client = between.sent(&request).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
            .send(format!(
                "HTTP/1.1 200 OK\r\n{framing}\r\nConnection: close\r\n\r\n{body}"
            ))
            .await;
        let mut answers = vec![client.rest().await];
        if !key.is_empty() {
            answers.push(between.sent(&request).await.rest().await);
        }
        for answer in answers {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains("abcde"), "{answer}");
            let length = values(head, "content-length");
            let chunked = values(head, "transfer-encoding");
            let framed = [length, chunked].concat();
            assert!(framed == ["5"] || framed == ["chunked"], "{answer}");
        }
    }
}

#[tokio::test]
async fn every_form_of_a_target_reaches_the_upstream_as_a_path() {
    let upstream = Upstream::start().await;
    let proxy = crate::support::Proxy::start(&configuration(&upstream.url(), "")).await;
    for (method, target, path, host) in [
        ("OPTIONS", "*", "*", "api.example"),
        (
            "GET",
            "http://real.example:81/a?b",
            "/a?b",
            "real.example:81",
        ),
        ("GET", "HTTP://real.example", "/", "real.example"),
        ("GET", "/?", "/?", "api.example"),
        ("GET", "//a/..//b", "//a/..//b", "api.example"),
        ("PROPFIND", "/dav", "/dav", "api.example"),
    ] {
        let answer = proxy
            .send(&crate::support::Request::new(method, target))
            .await;
        assert_eq!(answer.status, 201, "{target}");
        let seen = upstream.last();
        assert_eq!((&*seen.method, &*seen.target), (method, path));
        assert_eq!(seen.all("host"), [host]);
    }
}

#[tokio::test]
async fn whatever_frames_a_body_it_is_framed_once_on_the_way_out() {
    let between = Between::start().await;
    let both = "Content-Length: 99\r\nTransfer-Encoding: chunked";
    let chunks = "3;a=\"b\";c\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for (method, framing, body, out, received) in [
        (
            "GET",
            "Content-Length: 3",
            "abc",
            "content-length: 3",
            "abc",
        ),
        (
            "GET",
            "Transfer-Encoding: chunked",
            chunks,
            "transfer-encoding: chunked",
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ),
        (
            "DELETE",
            "Content-Length: 3",
            "abc",
            "content-length: 3",
            "abc",
        ),
        (
            "POST",
            both,
            chunks,
            "transfer-encoding: chunked",
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ),
        ("POST", "X: y", "", "content-length: 0", ""),
    ] {
        let mut client = between
            .sent(format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n{body}"
            ))
            .await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        let framings: Vec<_> = head
            .lines()
            .filter(|line| {
                line.starts_with("content-length") || line.starts_with("transfer-encoding")
            })
            .collect();
        assert_eq!(framings, [out], "{method} with {framing}");
        assert_eq!(upstream.exactly(received.len()).await, received);
        upstream
            .send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")
            .await;
        assert!(upstream.rest().await.is_empty());
        assert!(client.rest().await.starts_with("HTTP/1.1 204 "));
    }
    // The same with a key: the body is held, so its length is known.
    let mut client = between
        .sent(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\n{both}\r\n\r\n{chunks}"
        ))
        .await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert_eq!(values(&head, "content-length"), ["5"]);
    assert!(values(&head, "transfer-encoding").is_empty());
    assert_eq!(upstream.exactly(5).await, "abcde");
    upstream.send("HTTP/1.1 204 No\r\n\r\n").await;
    client.head().await;
}

#[tokio::test]
async fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    let between = Between::start().await;
    let mut client = between.sent("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        .await;
    assert_eq!(values(&client.head().await, "content-length"), ["12345"]);
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("GET /b "));
    upstream
        .send("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 304"));
    assert!(client.is_silent());
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_executed_and_replayed_like_any_other() {
    let upstream = Upstream::start().await;
    let proxy = crate::support::Proxy::start(&configuration(&upstream.url(), "")).await;
    upstream.next(crate::support::Reply::new(201).body("made"));
    let socket = tokio::net::TcpStream::connect(proxy.address())
        .await
        .unwrap();
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(socket),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    for replay in [None, Some("true")] {
        let request = http::Request::post("http://api.example/orders?a=b")
            .header("idempotency-key", "k")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body("body".to_owned())
            .unwrap();
        let answer = patiently(client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 201);
        let replayed = answer.headers().get("x-idempotency-replay");
        assert_eq!(replayed.map(|value| value.to_str().unwrap()), replay);
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap();
        assert_eq!(body.to_bytes(), "made");
    }
    assert_eq!(upstream.asked(), 1);
    let seen = upstream.last();
    assert_eq!((&*seen.target, &*seen.body), ("/orders?a=b", &b"body"[..]));
    assert_eq!(seen.all("host"), ["api.example"]);
    assert_eq!(seen.all("via"), ["2.0 idemproxy"]);
    assert_eq!(seen.all("cookie"), ["a=1; b=2"]);
}
