//! The proxy's own answers and headers in the operator's words, names and to pages of other origins.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// Bodies in a shape of the operator's, and in another language.
const WORDS: &str = r#"
    [errors]
    body = '{"success":false,"error":{"code":"{code}","message":"{detail}"},"status":{status},"id":"{id}"}'
    [errors.detail]
    in-progress = """Sie sagten „gleich“,
und "wir" sagen: \\u{1F551} {code}"""
    key-reused = "別のリクエストで使用されたキーです。"
"#;

#[track_caller]
fn says(answer: &Answer, status: u16, code: &str, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.all("content-type"), ["application/json"]);
    let document = answer.document();
    let expected = serde_json::json!({
        "success": false,
        "error": {"code": code, "message": message},
        "status": status,
        "id": answer.field("x-idempotency-id").unwrap_or_default(),
    });
    assert_eq!(document, expected, "{answer:?}");
}

#[tokio::test]
async fn problems_are_told_by_the_template_with_the_headers_they_have_anyway() {
    let config = format!("[policy]\nlease = \"1s\"\n{WORDS}");
    let world = World::config(STORE, &config).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.upstream.asked_for(1).await;

    let again = world.send(&request).await;
    let message = "Sie sagten „gleich“,\nund \"wir\" sagen: \\u{1F551} {code}";
    says(&again, 409, "REQUEST_IN_PROGRESS", message);
    again.in_state("in-flight");
    assert_eq!(again.all("x-idempotency-error"), ["in-progress"]);
    assert_eq!(again.all("cache-control"), ["no-store"]);
    assert!(again.field("retry-after").is_some());

    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
    let other = world.post("k", "b").await;
    says(&other, 422, "KEY_REUSED", "別のリクエストで使用されたキーです。");
    assert_eq!(other.all("stripe-should-retry"), ["false"]);
    assert_eq!(other.all("x-should-retry"), ["false"]);

    // Without a text of the operator's it is the proxy's own; and without a record the id is empty.
    let invalid = world.send(&request.field("Idempotency-Key", "l")).await;
    assert_eq!(invalid.field("x-idempotency-id"), None);
    let message = invalid.document()["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.is_empty());
    says(&invalid, 400, "KEY_INVALID", &message);
    assert_eq!(invalid.all("x-idempotency-error"), ["key-invalid"]);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_limit_that_is_reached_is_told_by_the_template() {
    let config = format!("[server]\nmax_in_flight = 1\n{WORDS}overloaded = \"voll\"");
    let world = World::config(STORE, &config).await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let mut first = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.asked_for(1).await;
    let refused = world.post("l", "a").await;
    says(&refused, 503, "OVERLOADED", "voll");
    assert_eq!(refused.all("x-idempotency-error"), ["overloaded"]);
    assert!(refused.field("retry-after").is_some());
    gate.cancel();
    first.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn an_answer_to_head_tells_the_template_and_has_no_body() {
    let config = format!("[policy]\nmethods = [\"HEAD\"]\nkey_required = true\n{WORDS}");
    let world = World::config(STORE, &config).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send(&Request::new("HEAD", "/orders").bytes()).await;
        let answer = client.answer_to("HEAD").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.all("content-type"), ["application/json"]);
        assert_eq!(answer.all("x-idempotency-error"), ["key-missing"]);
    }
}

#[tokio::test]
async fn words_of_the_operators_stand_in_problem_documents_too() {
    let config = "[policy]\nkey_required = true\n[errors.detail]\nkey-missing = \"Il manque \\\"la clé\\\".\"";
    let world = World::config(STORE, config).await;
    let answer = world.post("", "a").await;
    answer.is_problem(400, "key-missing");
    let document = answer.document();
    assert_eq!(document["detail"], "Il manque \"la clé\".");
    assert_eq!(document["error"]["message"], "Il manque \"la clé\".");
}

#[tokio::test]
async fn headers_have_the_names_that_the_operator_gave_them() {
    let names = r#"
        [headers]
        replay = "Idempotent-Replayed"
        stored = "X-Kept"
    "#;
    let world = World::config(STORE, names).await;
    let theirs = Reply::new(201)
        .field("Idempotent-Replayed", "no")
        .field("X-Kept", "perhaps")
        .field("X-Idempotency-Replay", "yes")
        .field("X-Idempotency-Stored", "yes")
        .field("X-Other", "1");
    world.upstream.next(theirs.clone());
    let first = world.post("k", "a").await;
    assert_eq!(first.all("x-kept"), ["true"], "{first:?}");
    assert_eq!(first.all("x-other"), ["1"]);
    let replay = world.post("k", "a").await;
    assert_eq!(replay.all("idempotent-replayed"), ["true"], "{replay:?}");
    assert_eq!(replay.all("x-other"), ["1"]);
    for (answer, name) in [
        (&first, "idempotent-replayed"),
        (&first, "x-idempotency-replay"),
        (&first, "x-idempotency-stored"),
        (&replay, "x-kept"),
        (&replay, "x-idempotency-replay"),
        (&replay, "x-idempotency-stored"),
    ] {
        assert_eq!(answer.field(name), None, "{answer:?}");
    }
    first.in_state("completed");
    replay.in_state("completed");

    // What no policy covers keeps what the upstream says.
    world.upstream.next(theirs);
    let passed = world.post("", "a").await;
    assert_eq!(passed.all("idempotent-replayed"), ["no"]);
    assert_eq!(passed.all("x-idempotency-stored"), ["yes"]);
}

#[tokio::test]
async fn a_record_from_before_the_names_were_changed_leaks_none_of_them() {
    if !STORE.is_durable() {
        return;
    }
    let world = World::config(STORE, "").await;
    world.upstream.next(
        Reply::new(201)
            .field("Idempotent-Replayed", "theirs")
            .field("X-Kept", "theirs"),
    );
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    assert_eq!(first.all("x-kept"), ["theirs"]);
    let names = "[headers]\nreplay = \"Idempotent-Replayed\"\nstored = \"X-Kept\"";
    let World {
        upstream,
        proxy,
        kept,
    } = world;
    proxy.stopped().await;
    let renamed = Proxy::start(&configuration(&upstream, &kept.url, names)).await;
    let replay = renamed.send(&post("/orders", "k", "a")).await;
    assert_eq!(replay.all("idempotent-replayed"), ["true"], "{replay:?}");
    for name in ["x-kept", "x-idempotency-replay", "x-idempotency-stored"] {
        assert_eq!(replay.field(name), None, "{replay:?}");
    }
    assert_eq!(upstream.asked(), 1);
}

const A: &str = "https://a.example";
const B: &str = "https://b.example:8443";
const FOREIGN: &str = "https://evil.example";

const ORIGINS: &str = r#"
    [headers]
    replay = "Idempotent-Replayed"
    [errors]
    cors_origins = ["https://a.example", "https://b.example:8443"]
"#;

const EXPOSED: &str = "idempotent-replayed, x-idempotency-stored, x-idempotency-id, x-idempotency-state, x-idempotency-expires, x-idempotency-error, retry-after";

/// A request of a page of this origin.
fn from(origin: &str, key: &str, body: &str) -> Request {
    post("/orders", key, body).field("Origin", origin)
}

/// An answer that its upstream lets this origin read.
fn allowing(origin: &str) -> Reply {
    Reply::new(201)
        .field("Access-Control-Allow-Origin", origin)
        .field("Access-Control-Allow-Credentials", "true")
        .field("Access-Control-Expose-Headers", "X-Theirs")
        .field("Vary", "Accept")
}

/// `Access-Control-Allow-Origin`, `-Allow-Credentials` and `-Expose-Headers`, `Vary`.
fn cors(answer: &Answer) -> [Vec<String>; 4] {
    [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "vary",
    ]
    .map(|name| answer.all(name))
}

fn told<const N: usize>(values: [&[&str]; N]) -> [Vec<String>; N] {
    values.map(|values| values.iter().map(|value| (*value).to_owned()).collect())
}

#[tokio::test]
async fn pages_of_the_origins_named_may_read_problems_and_others_may_not() {
    let world = World::config(STORE, ORIGINS).await;
    world.post("k", "a").await.is_first(201, true, "completed");
    for origin in [A, B] {
        let answer = world.send(&from(origin, "k", "b")).await;
        answer.is_problem(422, "key-reused");
        let expected = told([&[origin], &["true"], &[EXPOSED], &["Origin"]]);
        assert_eq!(cors(&answer), expected, "{answer:?}");
    }
    let two = from(A, "k", "b").field("Origin", B);
    for request in [
        from(FOREIGN, "k", "b"),
        from("null", "k", "b"),
        from("https://b.example", "k", "b"),
        post("/orders", "k", "b"),
        two,
    ] {
        let answer = world.send(&request).await;
        answer.is_problem(422, "key-reused");
        assert_eq!(cors(&answer), told([&[], &[], &[], &[]]), "{answer:?}");
    }
}

#[tokio::test]
async fn an_upstreams_own_word_on_origins_stands_and_gains_the_proxys_headers() {
    let world = World::config(STORE, ORIGINS).await;
    let exposed: &[&str] = &["X-Theirs", EXPOSED];
    for (key, allowed, origin, expose) in [
        ("same", A, A, exposed),
        ("any", "*", A, exposed),
        ("another", B, A, &["X-Theirs"]),
        ("foreign", FOREIGN, FOREIGN, &["X-Theirs"]),
    ] {
        world.upstream.next(allowing(allowed));
        let first = world.send(&from(origin, key, "a")).await;
        assert_eq!(first.status, 201);
        let expected = told([&[allowed], &["true"], expose, &["Accept"]]);
        assert_eq!(cors(&first), expected, "{first:?}");
    }
    world.upstream.next(Reply::new(201));
    let silent = world.send(&from(A, "silent", "a")).await;
    assert_eq!(cors(&silent), told([&[], &[], &[], &[]]), "{silent:?}");

    // What no policy covers is as the upstream says.
    for request in [
        from(A, "", "a"),
        Request::new("OPTIONS", "/orders").field("Origin", A),
    ] {
        world.upstream.next(allowing(A));
        let passed = world.send(&request).await;
        let expected = told([&[A], &["true"], &["X-Theirs"], &["Accept"]]);
        assert_eq!(cors(&passed), expected, "{passed:?}");
    }
    assert_eq!(world.upstream.asked(), 7);
}

#[tokio::test]
async fn a_replay_is_for_the_page_that_asks_for_it_and_not_for_the_first_one() {
    let world = World::config(STORE, ORIGINS).await;
    let theirs = ["X-Theirs", EXPOSED];
    let varied: &[&str] = &["Accept", "Cookie, origin"];
    for (key, allowed) in [("a", A), ("any", "*"), ("foreign", FOREIGN)] {
        world.upstream.next(allowing(allowed));
        world.send(&from(A, key, "a")).await;
    }
    world.upstream.next(allowing(A).field("Vary", "Cookie, origin"));
    world.send(&from(A, "reflected", "a")).await;
    world.upstream.next(Reply::new(201));
    world.post("silent", "a").await;
    let asked = world.upstream.asked();
    for (key, origin, expected) in [
        ("a", A, told([&[A], &["true"], &theirs, &["Accept"]])),
        ("a", B, told([&[A], &["true"], &["X-Theirs"], &["Accept"]])),
        ("reflected", A, told([&[A], &["true"], &theirs, varied])),
        ("reflected", B, told([&[B], &["true"], &theirs, varied])),
        ("reflected", FOREIGN, told([&[A], &["true"], &["X-Theirs"], varied])),
        ("a", FOREIGN, told([&[A], &["true"], &["X-Theirs"], &["Accept"]])),
        ("any", B, told([&["*"], &["true"], &theirs, &["Accept"]])),
        ("foreign", B, told([&[FOREIGN], &["true"], &["X-Theirs"], &["Accept"]])),
        ("silent", B, told([&[], &[], &[], &[]])),
        ("silent", FOREIGN, told([&[], &[], &[], &[]])),
    ] {
        let replay = world.send(&from(origin, key, "a")).await;
        assert_eq!(replay.all("idempotent-replayed"), ["true"], "{replay:?}");
        assert_eq!(cors(&replay), expected, "{key} {origin}: {replay:?}");
    }
    assert_eq!(world.upstream.asked(), asked);
}

#[tokio::test]
async fn any_origin_may_read_problems_without_credentials_and_nothing_of_the_upstreams() {
    let config = "[errors]\ncors_origins = [\"*\", \"https://a.example\"]";
    let world = World::config(STORE, config).await;
    let exposed = EXPOSED.replace("idempotent-replayed", "x-idempotency-replay");
    world.post("k", "a").await.is_first(201, true, "completed");
    for (origin, expected) in [
        (A, told([&[A], &["true"], &[&exposed], &["Origin"]])),
        (FOREIGN, told([&["*"], &[], &[&exposed], &["Origin"]])),
    ] {
        let answer = world.send(&from(origin, "k", "b")).await;
        answer.is_problem(422, "key-reused");
        assert_eq!(cors(&answer), expected, "{answer:?}");
    }
    let replay = world.send(&from(FOREIGN, "k", "a")).await;
    assert_eq!(cors(&replay), told([&[], &[], &[], &[]]), "{replay:?}");
}
