//! What goes over the wire: stored answers, replays, and requests that no policy covers.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// Bytes that are no text.
const BINARY: &[u8] = b"\0\x01\xff\xfe\r\n\r\n0\r\n\r\n\x80\xc3(";

#[tokio::test]
async fn a_binary_body_is_replayed_byte_for_byte() {
    let world = World::policy(STORE, "").await;
    let body = [BINARY, &(0..=255).collect::<Vec<u8>>()].concat();
    let reply = Reply::new(200)
        .field("Content-Type", "application/octet-stream")
        .field("X-Latin", b"caf\xe9")
        .body(&body);
    world.upstream.next(reply);
    let request = post("/orders", "k", BINARY);
    let first = world.send(&request).await;
    first.is_first(200, true, "completed");
    assert_eq!(first.body, body);
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.last().body, BINARY);
}

#[tokio::test]
async fn repeated_fields_are_replayed_in_their_order() {
    let world = World::policy(STORE, "").await;
    let reply = Reply::new(201)
        .field("X-Part", "b")
        .field("Link", "</1>")
        .field("X-Part", "a")
        .field("x-part", "")
        .field("Link", "</2>")
        .field("X-Part", "b");
    world.upstream.next(reply);
    let first = world.post("k", "a").await;
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    for answer in [first, replay] {
        assert_eq!(answer.all("x-part"), ["b", "a", "", "b"]);
        assert_eq!(answer.all("link"), ["</1>", "</2>"]);
    }
}

#[tokio::test]
async fn cookies_are_not_replayed() {
    let world = World::policy(STORE, "").await;
    world
        .upstream
        .next(Reply::new(201).field("Set-Cookie", "session=1"));
    let first = world.post("k", "a").await;
    assert_eq!(first.all("set-cookie"), ["session=1"]);
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    assert_eq!(replay.field("set-cookie"), None);
}

#[tokio::test]
async fn cookies_are_replayed_where_the_policy_says_so() {
    let world = World::policy(STORE, "store_set_cookie = true").await;
    let reply = Reply::new(201)
        .field("Set-Cookie", "a=1")
        .field("Set-Cookie", "b=2");
    world.upstream.next(reply);
    world.post("k", "a").await.is_first(201, true, "completed");
    let replay = world.post("k", "a").await;
    assert_eq!(replay.all("set-cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_replay_has_a_date_of_its_own() {
    let world = World::policy(STORE, "").await;
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    world.upstream.next(Reply::new(201).field("Date", long_ago));
    let first = world.post("k", "a").await;
    assert_eq!(
        first.all("date"),
        [long_ago],
        "the upstream's answer is its own"
    );
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    assert_eq!(replay.all("date").len(), 1);
    assert_ne!(replay.all("date"), [long_ago]);
}

#[tokio::test]
async fn first_and_replay_tell_the_same_end() {
    let world = World::policy(STORE, "retention = \"2h\"").await;
    let first = world.post("k", "a").await;
    let expires = first.field("x-idempotency-expires").unwrap();
    let left = httpdate::parse_http_date(&expires)
        .unwrap()
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!((7_000..=7_200).contains(&left.as_secs()), "{left:?}");
    for _ in 0..2 {
        let replay = world.post("k", "a").await;
        assert_eq!(replay.all("x-idempotency-expires"), [expires.as_str()]);
        assert_eq!(replay.field("x-idempotency-stored"), None);
    }
}

#[tokio::test]
async fn hop_by_hop_fields_are_neither_passed_on_nor_stored() {
    let world = World::policy(STORE, "").await;
    let reply = Reply::new(201)
        .field("Connection", "keep-alive, X-Hop")
        .field("Keep-Alive", "timeout=5")
        .field("X-Hop", "1")
        .field("Proxy-Authenticate", "Basic")
        .field("Upgrade", "h2c")
        .field("X-End", "1");
    world.upstream.next(reply);
    let first = world.post("k", "a").await;
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    for answer in [first, replay] {
        for name in ["keep-alive", "x-hop", "upgrade", "connection"] {
            assert_eq!(answer.field(name), None, "{name} in {answer:?}");
        }
        assert_eq!(answer.field("x-end").as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn an_upstream_cannot_speak_for_the_proxy() {
    let world = World::policy(STORE, "").await;
    let lies = |status| {
        [
            ("X-Idempotency-Replay", "true"),
            ("X-Idempotency-Stored", "maybe"),
            ("X-Idempotency-Id", "me"),
            ("X-Idempotency-State", "unknown"),
            ("X-Idempotency-Expires", "never"),
            ("X-Idempotency-Error", "overloaded"),
        ]
        .into_iter()
        .fold(Reply::new(status), |reply, (name, value)| {
            reply.field(name, value)
        })
    };
    world.upstream.next(lies(201));
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    let replay = world.post("k", "a").await;
    replay.replays(&first);
    for name in ["id", "state", "expires"] {
        assert_eq!(replay.all(&format!("x-idempotency-{name}")).len(), 1);
    }
    assert_eq!(replay.field("x-idempotency-error"), None);
    world.upstream.next(lies(503));
    world.post("l", "a").await.is_first(503, false, "released");
}

#[tokio::test]
async fn an_answer_in_chunks_is_replayed_whole() {
    let world = World::policy(STORE, "").await;
    let act = Reply::new(200)
        .chunked()
        .then(chunk(BINARY))
        .then(chunk(b"more"))
        .then(chunk(""));
    world.upstream.next(act);
    let first = world.post("k", "a").await;
    first.is_first(200, true, "completed");
    assert_eq!(first.body, [BINARY, b"more"].concat());
    let replay = world.post("k", "a").await;
    assert_eq!((replay.status, &replay.body), (200, &first.body));
    assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
}

#[tokio::test]
async fn trailers_are_replayed() {
    let world = World::policy(STORE, "").await;
    let act = Reply::new(200)
        .field("Trailer", "X-Sum, X-Other")
        .chunked()
        .then(chunk("body"))
        .then(Step::Send(b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n".to_vec()));
    world.upstream.next(act);
    let request = post("/orders", "k", "a").field("TE", "trailers");
    let first = world.send(&request).await;
    first.is_first(200, true, "completed");
    let names = |answer: &Answer| -> Vec<String> {
        let mut names: Vec<_> = answer
            .trailers
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_lowercase(), value.escape_ascii()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&first), ["x-other=2", "x-sum=1"], "{first:?}");
    let replay = world.send(&request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
    assert_eq!(
        (replay.text().as_str(), names(&replay)),
        ("body", names(&first))
    );
}

#[tokio::test]
async fn answers_without_a_body_are_replayed_without_one() {
    let world = World::policy(STORE, "").await;
    world
        .upstream
        .next(Reply::new(204).field("X-A", "1"))
        .next(Reply::new(304).field("ETag", "\"1\""))
        .next(Reply::new(201));
    for (key, status) in [("a", 204), ("b", 304), ("c", 201)] {
        let mut client = world.connect().await;
        let request = post("/orders", key, "a");
        client.send(&request.bytes()).await;
        let first = client.answer().await;
        first.is_first(status, true, "completed");
        // On the same connection: a byte too many would be the next answer.
        client.send(&request.bytes()).await;
        let replay = client.answer().await;
        replay.replays(&first);
        assert_eq!(replay.body, b"");
        if status == 204 {
            assert_eq!(replay.field("content-length"), None, "{replay:?}");
        }
    }
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn a_head_request_that_a_policy_covers_is_replayed_with_the_length_of_what_it_names() {
    let world = World::policy(STORE, "methods = [\"HEAD\"]").await;
    world.upstream.next(Act::new([Step::Send(
        Reply::new(200).head("Content-Length: 42"),
    )]));
    let request = Request::new("HEAD", "/orders").field("Idempotency-Key", "k");
    let first = world.send(&request).await;
    first.is_first(200, true, "completed");
    let replay = world.send(&request).await;
    replay.replays(&first);
    assert_eq!(replay.all("content-length"), ["42"], "{replay:?}");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn interim_answers_are_no_answers() {
    let world = World::policy(STORE, "").await;
    let answer = Reply::new(201).body("x").bytes();
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
    world
        .upstream
        .next(Act::new([Step::Send(interim), Step::Send(answer)]));
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    world.post("k", "a").await.replays(&first);
}

#[tokio::test]
async fn what_no_policy_covers_carries_none_of_the_headers() {
    let world = World::policy(STORE, "").await;
    let requests = [
        get("/orders").field("Idempotency-Key", "k"),
        post("/orders", "", "a"),
    ];
    for request in requests {
        for _ in 0..2 {
            let reply = Reply::new(200)
                .field("X-Idempotency-Stored", "the API's own")
                .body("x");
            world.upstream.next(reply);
            let answer = world.send(&request).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
            for name in ["replay", "id", "state", "expires", "error"] {
                assert_eq!(answer.field(&format!("x-idempotency-{name}")), None);
            }
            assert_eq!(answer.all("x-idempotency-stored"), ["the API's own"]);
        }
    }
    assert_eq!(world.upstream.asked(), 4);
    let bypassed = r#"idemproxy_requests_total{route="default",outcome="bypassed"}"#;
    assert_eq!(world.proxy.metric(bypassed), 4.0);
}

#[tokio::test]
async fn a_route_that_is_off_passes_everything() {
    let world = World::config(
        STORE,
        "[[route]]\nname = \"off\"\npath = \"/off\"\nmode = \"off\"\n",
    )
    .await;
    for _ in 0..2 {
        let answer = world.send(&post("/off", "k", "a")).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.field("x-idempotency-id"), None);
    }
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn the_key_and_every_end_to_end_field_reach_the_upstream_as_they_were_sent() {
    let world = World::policy(STORE, "").await;
    let request = post("/orders?b=2&a=%2F", "\"quoted \\\"key\\\"\"", "a")
        .field("Authorization", "Bearer opaque")
        .field("Cookie", "a=1; b=2")
        .field("X-Many", "1")
        .field("X-Many", "2")
        .field("Keep-Alive", "timeout=5")
        .field(
            "Traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    world.send(&request).await.is_first(201, true, "completed");
    let entry = world.upstream.last();
    assert_eq!(entry.target, "/orders?b=2&a=%2F");
    assert_eq!(entry.all("idempotency-key"), ["\"quoted \\\"key\\\"\""]);
    assert_eq!(entry.all("authorization"), ["Bearer opaque"]);
    assert_eq!(entry.all("cookie"), ["a=1; b=2"]);
    assert_eq!(entry.all("x-many"), ["1", "2"]);
    assert_eq!(entry.all("host"), ["api.example"]);
    assert_eq!(entry.all("content-length"), ["1"]);
    assert_eq!(entry.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(entry.all("x-forwarded-proto"), ["http"]);
    assert!(entry.field("via").is_some() && entry.field("traceparent").is_some());
    assert_eq!(entry.field("keep-alive"), None);
    assert_eq!(entry.field("transfer-encoding"), None);
}

#[tokio::test]
async fn each_outcome_is_counted_once() {
    let world = World::policy(STORE, "").await;
    world.post("k", "a").await;
    world.post("k", "a").await;
    world.post("k", "b").await;
    world.upstream.next(Reply::new(500));
    world.post("l", "a").await;
    world.upstream.next(Act::new([Step::Fin]));
    world.post("m", "a").await;
    world.post("m", "a").await;
    for (outcome, count) in [
        ("executed", 1.0),
        ("replayed", 1.0),
        ("key_reused", 1.0),
        ("released", 1.0),
        ("upstream_failed", 1.0),
        ("outcome_unknown", 1.0),
    ] {
        let line = format!("idemproxy_requests_total{{route=\"default\",outcome=\"{outcome}\"}}");
        assert_eq!(world.proxy.metric(&line), count, "{outcome}");
    }
}
