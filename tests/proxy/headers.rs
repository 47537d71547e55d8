//! What a proxy takes off and puts on.

use crate::pipe::*;
use crate::support::{Entry, Proxy, Reply, Request, Upstream, get, post};

#[tokio::test]
async fn hop_by_hop_headers_and_what_connection_names_go_no_further_either_way() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream.url(), "")).await;
    let hops = [
        ("Connection", "X-Once, keep-alive"),
        ("connection", "x-twice"),
        ("X-Once", "1"),
        ("X-Twice", "2"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("X-Stays", "3"),
        ("Proxy-Authorization", "Basic eA=="),
    ];
    for key in ["", "k"] {
        let mut request = post("/", key, "body");
        let mut reply = Reply::new(200);
        for (name, value) in hops {
            request = request.field(name, value);
            reply = reply.field(name, value);
        }
        upstream.next(reply);
        let answer = proxy.send(&request).await;
        let seen = upstream.last();
        for (name, value) in hops {
            let stays = matches!(name, "X-Stays" | "Proxy-Authorization");
            let expected: &[&str] = if stays { &[value] } else { &[] };
            assert_eq!(seen.all(name), expected, "{name}");
            assert_eq!(answer.all(name), expected, "{name} of the answer");
        }
    }
    let replayed = proxy.send(&post("/", "k", "body")).await;
    assert_eq!(replayed.field("x-idempotency-replay").unwrap(), "true");
    assert_eq!(replayed.all("x-stays"), ["3"]);
    assert!(replayed.all("x-once").is_empty() && replayed.all("keep-alive").is_empty());
}

#[tokio::test]
async fn connection_may_not_name_what_the_guarantee_hangs_on() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream.url(), "")).await;
    for named in ["Idempotency-Key", "close, AUTHORIZATION", "cookie"] {
        for key in ["", "k"] {
            let answer = proxy
                .send(&post("/", key, "body").field("Connection", named))
                .await;
            assert_eq!(answer.status, 400, "{named}");
            assert_eq!(answer.field("x-idempotency-error").unwrap(), "bad-request");
        }
    }
    assert_eq!(upstream.asked(), 0);
}

/// What the upstream sees of a request.
async fn seen(sections: &str, request: &Request) -> Entry {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream.url(), sections)).await;
    assert_eq!(proxy.send(request).await.status, 201);
    upstream.last()
}

#[tokio::test]
async fn a_trusted_peers_word_of_the_client_is_added_to_and_another_ones_overwritten() {
    let request = get("/")
        .field("X-Forwarded-For", "192.0.2.1, 192.0.2.2")
        .field("X-Forwarded-For", "192.0.2.3")
        .field("X-Forwarded-Proto", "https")
        .field("X-Forwarded-Host", "shop.example")
        .field("Forwarded", "for=192.0.2.1;proto=https")
        .field("Via", "1.1 edge");
    // Loopback is trusted unless told otherwise.
    let trusted = seen("", &request).await;
    assert_eq!(
        trusted.all("x-forwarded-for"),
        ["192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.1"]
    );
    assert_eq!(trusted.all("x-forwarded-proto"), ["https"]);
    assert_eq!(trusted.all("x-forwarded-host"), ["shop.example"]);
    assert_eq!(trusted.all("forwarded"), ["for=192.0.2.1;proto=https"]);
    assert_eq!(trusted.all("via"), ["1.1 edge", "1.1 idemproxy"]);

    let other = seen("[server]\ntrust_forwarded = []", &request).await;
    assert_eq!(other.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(other.all("x-forwarded-proto"), ["http"]);
    assert_eq!(other.all("x-forwarded-host"), ["api.example"]);
    assert!(other.all("forwarded").is_empty());
    assert_eq!(other.all("via"), ["1.1 edge", "1.1 idemproxy"]);
}

#[tokio::test]
async fn a_trace_goes_on_and_what_is_none_does_not() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = seen(
        "",
        &post("/", "k", "")
            .field("traceparent", good)
            .field("tracestate", "a=b"),
    )
    .await;
    assert_eq!(traced.all("traceparent"), [good]);
    assert_eq!(traced.all("tracestate"), ["a=b"]);
    for bad in [
        "00-0-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "x",
    ] {
        let seen = seen(
            "",
            &get("/")
                .field("traceparent", bad)
                .field("tracestate", "a=b"),
        )
        .await;
        assert!(
            seen.all("traceparent").is_empty() && seen.all("tracestate").is_empty(),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn the_host_is_the_clients_unless_the_policy_says_otherwise() {
    let kept = seen("", &get("/")).await;
    assert_eq!(kept.all("host"), ["api.example"]);
    let upstream = Upstream::start().await;
    let config = configuration(&upstream.url(), "[policy]\npreserve_host = false");
    let proxy = Proxy::start(&config).await;
    for request in [get("/"), post("/", "k", "")] {
        proxy.send(&request).await;
        assert_eq!(
            upstream.last().all("host"),
            [upstream.address().to_string()]
        );
        assert_eq!(upstream.last().all("x-forwarded-host"), ["api.example"]);
    }
}

#[tokio::test]
async fn the_key_and_every_other_header_reach_the_upstream_as_sent() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(&configuration(&upstream.url(), "")).await;
    let request = post("/", "\"a key\"", "body")
        .field("X-A", "1")
        .field("Cookie", "a=1")
        .field("X-A", "2")
        .field("X-Idempotency-Attempt-Not", "x")
        .field("Authorization", "Bearer t");
    assert_eq!(proxy.send(&request).await.status, 201);
    let seen = upstream.last();
    assert_eq!(seen.all("idempotency-key"), ["\"a key\""]);
    assert_eq!(seen.all("x-a"), ["1", "2"]);
    assert_eq!(seen.all("cookie"), ["a=1"]);
    assert_eq!(seen.all("authorization"), ["Bearer t"]);
    assert!(seen.all("x-idempotency-attempt").is_empty());
}
