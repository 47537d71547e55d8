//! What an operator's response rules make of answers.

use super::STORE;
use crate::support::*;
use crate::world::*;

fn json(status: u16, body: &str) -> Reply {
    Reply::new(status)
        .field("Content-Type", "application/json")
        .body(body)
}

const DUPLICATE: &str = r#"{"error":{"code":"23505"}}"#;

#[tokio::test]
async fn a_rule_stores_releases_or_leaves_open_what_its_status_says() {
    let rules = r#"
        [[policy.response]]
        status = "409"
        outcome = "store"
        [[policy.response]]
        status = "500-502"
        outcome = "unknown"
        [[policy.response]]
        status = "5xx"
        outcome = "store"
        [[policy.response]]
        status = "404"
        outcome = "release"
    "#;
    let world = World::config(STORE, rules).await;
    for status in [409, 503, 504] {
        let key = status.to_string();
        world.upstream.next(Reply::new(status).body("said once"));
        let first = world.post(&key, "a").await;
        first.is_first(status, true, "completed");
        world.post(&key, "a").await.replays(&first);
    }
    for status in [500, 502] {
        let key = status.to_string();
        world.upstream.next(Reply::new(status).body("who knows"));
        let first = world.post(&key, "a").await;
        first.is_first(status, false, "unknown");
        assert_eq!(first.text(), "who knows");
        let again = world.post(&key, "a").await;
        again.is_problem(409, "outcome-unknown");
    }
    world.upstream.next(Reply::new(404).body("not yet"));
    let first = world.post("404", "a").await;
    first.is_first(404, false, "released");
    world.post("404", "a").await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 7);
}

#[tokio::test]
async fn a_rule_by_json_reads_the_body_and_the_client_gets_all_of_it() {
    let rules = r#"
        [[policy.response]]
        status = "2xx"
        json = { "/success" = false, "/retry" = 1 }
        outcome = "release"
        reply_status = 503
        [[policy.response]]
        status = "409"
        json = { "/error/code" = "23505" }
        outcome = "store"
    "#;
    let world = World::config(STORE, rules).await;
    // An API that answers 200 whatever happens.
    world
        .upstream
        .next(json(200, r#"{"success": false, "retry": 1.0}"#));
    let first = world.post("a", "a").await;
    first.is_first(503, false, "released");
    assert_eq!(first.text(), r#"{"success": false, "retry": 1.0}"#);
    for body in [
        r#"{"success": true, "retry": 1}"#,
        r#"{"success": false, "retry": "1"}"#,
        "no JSON",
        "",
    ] {
        let key = format!("of {body}");
        world.upstream.next(json(200, body));
        let first = world.post(&key, "a").await;
        first.is_first(200, true, "completed");
        assert_eq!(first.text(), body);
        world.post(&key, "a").await.replays(&first);
    }
    world.upstream.next(json(409, DUPLICATE));
    let first = world.post("b", "a").await;
    first.is_first(409, true, "completed");
    world.post("b", "a").await.replays(&first);
    world
        .upstream
        .next(json(409, r#"{"error":{"code":"40001"}}"#));
    let conflict = world.post("c", "a").await;
    conflict.is_first(409, false, "released");
    assert_eq!(conflict.text(), r#"{"error":{"code":"40001"}}"#);
    world.post("c", "a").await.is_first(201, true, "completed");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const STORES_DUPLICATES: &str = r#"
    [policy]
    max_stored_response = "1KiB"
    [[policy.response]]
    status = "409"
    json = { "/error/code" = "23505" }
    outcome = "store"
"#;

#[tokio::test]
async fn a_rule_by_json_reads_what_is_compressed_and_the_client_gets_it_as_it_came() {
    let world = World::config(STORE, STORES_DUPLICATES).await;
    let zipped = gzip(DUPLICATE);
    let answer = json(409, "")
        .field("Content-Encoding", "gzip")
        .body(zipped.clone());
    world.upstream.next(answer);
    let first = world.post("zipped", "a").await;
    first.is_first(409, true, "completed");
    assert_eq!(first.field("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(first.body, zipped);
    world.post("zipped", "a").await.replays(&first);
    world
        .upstream
        .next(json(409, &format!("\u{feff}{DUPLICATE}")));
    let marked = world.post("marked", "a").await;
    marked.is_first(409, true, "completed");
    world
        .upstream
        .next(json(409, "").field("Content-Encoding", "gzip").body(gzip("{}")));
    let other = world.post("other", "a").await;
    other.is_first(409, false, "released");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_for_its_rules_releases_nothing() {
    let world = World::config(STORE, STORES_DUPLICATES).await;
    let encoded = |coding: &str, body: Vec<u8>| {
        json(409, "")
            .field("Content-Encoding", coding)
            .body(body)
    };
    let bomb = gzip(&format!("{DUPLICATE}{}", " ".repeat(4096)));
    for (key, reply) in [
        ("zstd", encoded("zstd", b"whatever".to_vec())),
        ("twice", encoded("gzip, gzip", gzip(DUPLICATE))),
        ("broken", encoded("gzip", gzip(DUPLICATE)[..20].to_vec())),
        ("bomb", encoded("gzip", bomb)),
        ("malformed", json(409, r#"{"error":{"code":"23505"},}"#)),
        ("names", json(409, r#"{"a":1,"a":1}"#)),
        ("deep", json(409, &"[".repeat(200))),
        ("untyped", Reply::new(409).body(r#"{"a":1,"a":1}"#)),
    ] {
        world.upstream.next(reply);
        let first = world.post(key, "a").await;
        first.is_first(409, false, "unknown");
        let again = world.post(key, "a").await;
        again.is_problem(409, "outcome-unknown");
    }
    // What is plainly no JSON says nothing that a rule could ask for.
    let html = |body| Reply::new(409).field("Content-Type", "text/html").body(body);
    for (key, reply) in [
        ("html", html("<p>Conflict".as_bytes().to_vec())),
        ("zipped html", html(gzip("<p>")).field("Content-Encoding", "gzip")),
        ("other html", html(vec![7]).field("Content-Encoding", "zstd")),
        ("empty", json(409, "")),
    ] {
        world.upstream.next(reply);
        let first = world.post(key, "a").await;
        first.is_first(409, false, "released");
    }
    // An answer that would be kept anyway is.
    let unknown_coding = Reply::new(201).field("Content-Encoding", "zstd").body("x");
    world.upstream.next(unknown_coding);
    let first = world.post("kept", "a").await;
    first.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_status_in_retry_is_sent_again_only_where_no_rule_says_otherwise() {
    for (outcome, asked) in [("unknown", 1), ("store", 1), ("release", 2)] {
        let rules = format!(
            r#"
            [policy]
            retry = {{ base = "1ms", max = "1ms", on = ["503"] }}
            [[policy.response]]
            status = "503"
            header = {{ server = "envoy" }}
            outcome = "{outcome}"
            [[policy.response]]
            status = "503"
            json = {{ "/done" = true }}
            outcome = "store"
            "#
        );
        let world = World::config(STORE, &rules).await;
        let answer = Reply::new(503).field("Server", "envoy").body("lost");
        world.upstream.next(answer);
        let first = world.post("a", "a").await;
        match outcome {
            "unknown" => first.is_first(503, false, "unknown"),
            "store" => first.is_first(503, true, "completed"),
            _ => first.is_first(201, true, "completed"),
        };
        assert_eq!(world.upstream.asked(), asked, "{outcome}");
        // Only its body tells.
        world.upstream.next(json(503, r#"{"done":true}"#));
        let first = world.post("b", "a").await;
        first.is_first(503, true, "completed");
        assert_eq!(world.upstream.asked(), asked + 1, "{outcome}");
    }
    let world = World::config(
        STORE,
        r#"
        [policy]
        retry = { base = "1ms", max = "1ms", on = ["503"] }
        [[policy.response]]
        status = "503"
        header = { server = "envoy" }
        outcome = "unknown"
        "#,
    )
    .await;
    world.upstream.next(Reply::new(503));
    let first = world.post("a", "a").await;
    first.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_replaced_status_of_an_answer_without_a_body_promises_none() {
    let rules = r#"
        [[policy.response]]
        status = "304"
        outcome = "store"
        reply_status = 200
    "#;
    let world = World::config(STORE, rules).await;
    world
        .upstream
        .next(Reply::new(304).field("Content-Length", "5"));
    let first = world.post("a", "a").await;
    first.is_first(200, true, "completed");
    assert_eq!(first.field("content-length").as_deref(), Some("0"));
    world.post("a", "a").await.replays(&first);

    // Where nobody frames the answer anew.
    let socket = tokio::net::TcpStream::connect(world.proxy.address())
        .await
        .unwrap();
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(socket),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    for key in ["b", "b", "a"] {
        if world.upstream.asked() < 2 {
            world
                .upstream
                .next(Reply::new(304).field("Content-Length", "5"));
        }
        let request = http::Request::post("http://api.example/orders")
            .header("Idempotency-Key", key)
            .body(http_body_util::Full::new(bytes::Bytes::from_static(b"a")))
            .unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-length"], "0");
        let body = http_body_util::BodyExt::collect(answer.into_body())
            .await
            .unwrap();
        assert_eq!(body.to_bytes(), "");
    }
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_rule_by_json_does_not_match_what_is_too_large_or_streamed() {
    let rules = r#"
        [policy]
        max_stored_response = "1KiB"
        [[policy.response]]
        json = { "/error/code" = "23505" }
        outcome = "store"
    "#;
    let world = World::config(STORE, rules).await;
    let large = format!("{}{}", DUPLICATE, " ".repeat(1024));
    let chunked = json(409, "")
        .chunked()
        .then(chunk(&large[..700]))
        .then(chunk(&large[700..]))
        .then(chunk(""));
    for (key, act) in [("length", json(409, &large).into()), ("chunks", chunked)] {
        world.upstream.next(act);
        let first = world.post(key, "a").await;
        first.is_first(409, false, "released");
        assert_eq!(first.text(), large);
    }
    let events = Reply::new(409)
        .field("Content-Type", "text/event-stream")
        .body(DUPLICATE);
    world.upstream.next(events);
    let first = world.post("events", "a").await;
    first.is_first(409, false, "released");
    assert_eq!(first.text(), DUPLICATE);
}

#[tokio::test]
async fn an_answer_that_finds_no_room_to_be_read_for_its_rules_leaves_the_outcome_unknown() {
    let rules = r#"
        [server]
        max_buffered_total = "1KiB"
        [[policy.response]]
        status = "409"
        json = { "/error/code" = "23505" }
        outcome = "store"
    "#;
    let world = World::config(STORE, rules).await;
    let large = format!("{}{}", DUPLICATE, " ".repeat(2000));
    world.upstream.next(json(409, &large));
    let first = world.post("a", "a").await;
    first.is_first(409, false, "unknown");
    assert_eq!(first.text(), large);
    let limit = r#"idemproxy_limit_reached_total{limit="max_buffered_total"}"#;
    assert_eq!(world.proxy.metric(limit), 1.0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_rules_could_read_it_leaves_the_outcome_unknown() {
    let rules = r#"
        [[policy.response]]
        status = "409"
        json = { "/error/code" = "23505" }
        outcome = "store"
    "#;
    let world = World::config(STORE, rules).await;
    let cut = json(409, DUPLICATE).cut_after(9).then(Step::Fin);
    world.upstream.next(cut);
    let first = world.post("a", "a").await;
    first
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
}

#[tokio::test]
async fn a_rule_by_header_asks_for_one_line_of_exactly_this() {
    let rules = r#"
        [[policy.response]]
        status = "503"
        header = { Server = "envoy" }
        outcome = "unknown"
    "#;
    let world = World::config(STORE, rules).await;
    let of = |server| Reply::new(503).field("SERVER", server);
    world.upstream.next(of("envoy"));
    let first = world.post("a", "a").await;
    first.is_first(503, false, "unknown");
    world.upstream.next(of("Envoy"));
    let first = world.post("b", "a").await;
    first.is_first(503, false, "released");
}

#[tokio::test]
async fn what_a_rule_keeps_ends_with_its_own_retention() {
    let rules = r#"
        [policy]
        retention = "1h"
        [[policy.response]]
        status = "202"
        outcome = "store"
        retention = "300ms"
    "#;
    let world = World::config(STORE, rules).await;
    world.upstream.next(Reply::new(202).body("short"));
    let short = post("/orders", "short", "a");
    world.send(&short).await.is_first(202, true, "completed");
    let first = world.post("long", "a").await;
    first.is_first(201, true, "completed");
    patiently(async { while world.send(&short).await.status == 202 {} }).await;
    assert_eq!(world.upstream.executions(), 3);
    world.post("long", "a").await.replays(&first);
}

#[tokio::test]
async fn client_and_duplicates_get_the_status_of_the_rule() {
    let rules = r#"
        [policy]
        max_stored_response = "1KiB"
        [[policy.response]]
        status = "409"
        outcome = "store"
        reply_status = 200
    "#;
    let world = World::config(STORE, rules).await;
    world.upstream.next(Reply::new(409).body("it exists"));
    let first = world.post("a", "a").await;
    first.is_first(200, true, "completed");
    assert_eq!(first.text(), "it exists");
    world.post("a", "a").await.replays(&first);

    world.upstream.next(Reply::new(409).body(vec![b'x'; 2000]));
    let first = world.post("large", "a").await;
    first.is_first(200, false, "in-flight");
    let second = world.post("large", "a").await;
    second.is_problem(409, "response-not-stored");
    assert_eq!(second.document()["status_code"], 200);
}

#[tokio::test]
async fn a_routes_rules_come_first() {
    let rules = r#"
        [[policy.response]]
        status = "4xx"
        outcome = "store"
        [[route]]
        path = "/orders"
        [[route.response]]
        status = "404"
        outcome = "release"
    "#;
    let world = World::config(STORE, rules).await;
    for (path, status, stored) in [
        ("/orders", 404, false),
        ("/orders", 409, true),
        ("/other", 404, true),
    ] {
        world.upstream.next(Reply::new(status));
        let key = format!("{path} {status}");
        let first = world.send(&post(path, &key, "a")).await;
        let state = if stored { "completed" } else { "released" };
        first.is_first(status, stored, state);
    }
}

/// The API says 409 for what exists, and gives it.
const UNIQUE: &str = r#"
    [policy]
    upstream_timeout = "1s"
    max_stored_response = "1KiB"
    [[policy.response]]
    status = "409"
    json = { "/error/code" = "23505" }
    outcome = "store"
    reply_from = "/orders?client_id={key}"
    reply_status = 200
"#;

#[tokio::test]
async fn an_api_that_says_duplicate_replies_with_what_exists() {
    let world = World::config(STORE, UNIQUE).await;
    world.upstream.next(json(409, DUPLICATE));
    let row = json(201, r#"{"id":7}"#).field("X-Row", "7");
    world.upstream.next(row);
    let request = post("/orders?x=1", "a/b c&d", "a")
        .field("Authorization", "Bearer t")
        .field("Cookie", "s=1")
        .field("X-Api-Key", "k")
        .field("Content-Type", "application/json")
        .field("If-Match", "\"1\"")
        .field("Range", "bytes=0-1")
        .field("X-Http-Method-Override", "DELETE");
    let first = world.send(&request).await;
    first.is_first(200, true, "completed");
    assert_eq!(first.text(), r#"{"id":7}"#);
    assert_eq!(first.field("x-row").as_deref(), Some("7"));
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 2);

    let asked = world.upstream.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/orders?client_id=a%2Fb%20c%26d")
    );
    assert_eq!(asked.field("authorization"), Some("Bearer t"));
    assert_eq!(asked.field("cookie"), Some("s=1"));
    assert_eq!(asked.field("x-api-key"), Some("k"));
    assert_eq!(asked.field("host"), Some("api.example"));
    assert_eq!(asked.body, b"");
    for name in [
        "idempotency-key",
        "content-type",
        "content-length",
        "transfer-encoding",
        "if-match",
        "range",
        "x-http-method-override",
    ] {
        assert_eq!(asked.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn without_anything_to_reply_with_the_client_gets_the_apis_own_answer_released() {
    let world = World::config(STORE, UNIQUE).await;
    let acts: [(&str, Act); 12] = [
        ("hangs", Act::new([Step::Never])),
        ("closes", Act::new([Step::Fin])),
        ("stalls", json(200, "{}").cut_after(1).then(Step::Never)),
        ("cut", json(200, "{}").cut_after(1).then(Step::Fin)),
        (
            "redirect",
            Reply::new(302).field("Location", "/elsewhere").into(),
        ),
        ("huge", json(200, &"x".repeat(2000)).into()),
        ("broken", Reply::new(500).into()),
        ("absent", Reply::new(404).into()),
        ("nothing", Reply::new(204).into()),
        ("reset", Reply::new(205).into()),
        ("part", json(206, "{}").into()),
        ("empty", json(200, "").into()),
    ];
    for (key, act) in acts {
        let before = world.upstream.asked();
        world.upstream.next(json(409, DUPLICATE)).next(act);
        let first = world.post(key, "a").await;
        first.is_first(409, false, "released");
        assert_eq!(first.text(), DUPLICATE, "{key}");
        // A redirect is not followed.
        assert_eq!(world.upstream.asked(), before + 2, "{key}");
        world.post(key, "a").await.is_first(201, true, "completed");
    }
}

#[tokio::test]
async fn a_key_that_is_a_dot_segment_is_refused_where_the_api_is_asked_by_it() {
    let world = World::config(STORE, UNIQUE).await;
    for key in [".", ".."] {
        let answer = world.post(key, "a").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(
            answer.field("x-idempotency-error").as_deref(),
            Some("key-invalid")
        );
    }
    assert_eq!(world.upstream.asked(), 0);
    let world = World::config(STORE, "").await;
    world.post("..", "a").await.is_first(201, true, "completed");
}
