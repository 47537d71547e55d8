//! What names an operation: the key, and what it is unique within.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::STORE;
use crate::support::*;
use crate::world::*;

fn jwt(iss: &str, sub: &str, serial: u32) -> String {
    let part = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
    let head = part(r#"{"alg":"RS256"}"#.to_owned());
    let claims = part(format!(r#"{{"iss":"{iss}","sub":"{sub}","jti":{serial}}}"#));
    format!("Bearer {head}.{claims}.signature{serial}")
}

fn as_caller(authorization: &str) -> Request {
    post("/orders", "k", "a").field("Authorization", authorization)
}

#[tokio::test]
async fn a_quoted_and_a_bare_key_are_the_same() {
    let world = World::policy(STORE, "").await;
    let uuid = "9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f";
    let first = world.post(uuid, "a").await;
    let quoted = format!("\"{uuid}\"");
    world.post(&quoted, "a").await.replays(&first);
    world
        .post(&format!("{quoted};v=1"), "a")
        .await
        .replays(&first);
    let other = world.post(&uuid.to_uppercase(), "a").await;
    other.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn keys_that_are_none_are_refused() {
    let world = World::policy(STORE, "key_max_length = 40").await;
    let long = "k".repeat(41);
    let field = |value: &[u8]| post("/orders", "", "a").field("Idempotency-Key", value);
    let bad = [
        field(b""),
        field(b"\"\""),
        field(long.as_bytes()),
        field(format!("\"{long}\"").as_bytes()),
        field("schlüssel".as_bytes()),
        field(b"\xff\xfe"),
        field(b"\"open"),
        field(b"tab\there"),
        field(b"one").field("Idempotency-Key", "two"),
        field(b"one").field("idempotency-key", "one"),
    ];
    for request in bad {
        world.send(&request).await.is_problem(400, "key-invalid");
    }
    assert_eq!(world.upstream.connections(), 0);
    let longest = "k".repeat(40);
    world
        .post(&longest, "a")
        .await
        .is_first(201, true, "completed");
}

#[tokio::test]
async fn a_key_that_is_required_and_absent_is_asked_for() {
    let world = World::policy(STORE, "key_required = true").await;
    let answer = world.send(&post("/orders", "", "a")).await;
    answer.is_problem(400, "key-missing");
    assert!(answer.text().contains("idempotency-key"), "{answer:?}");
    assert_eq!(world.upstream.connections(), 0);
    // Only of what the policy covers.
    world.upstream.next(Reply::new(200));
    assert_eq!(world.send(&get("/orders")).await.status, 200);
}

#[tokio::test]
async fn a_key_of_another_header_is_read_where_the_policy_says_so() {
    let world = World::policy(
        STORE,
        "key = [\"header:X-Request-Id\", \"header:Idempotency-Key\"]",
    )
    .await;
    let request = post("/orders", "", "a").field("X-Request-Id", "k");
    let first = world.send(&request).await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
    // The first source that yields one.
    let both = request.clone().field("Idempotency-Key", "other");
    world.send(&both).await.replays(&first);
    let second = world.post("k", "a").await;
    second.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn paths_that_two_readers_resolve_in_two_ways_are_refused() {
    let world = World::policy(STORE, "").await;
    for path in [
        "/a/../orders",
        "/./orders",
        "/a/%2e%2E/orders",
        "/orders/..",
    ] {
        world
            .send(&post(path, "k", "a"))
            .await
            .is_problem(400, "bad-request");
    }
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_connection_field_cannot_switch_the_guarantee_or_the_caller_off() {
    let world = World::policy(STORE, "").await;
    for option in [
        "Idempotency-Key",
        "close, idempotency-key",
        "Authorization",
        "keep-alive , AUTHORIZATION",
        "Cookie",
    ] {
        let request = as_caller("Bearer t").field("Connection", option);
        world.send(&request).await.is_problem(400, "bad-request");
    }
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_connection_field_cannot_strip_what_the_fingerprint_rests_on() {
    let world = World::policy(STORE, "fingerprint = [\"body\", \"header:X-Amount\"]").await;
    let first = post("/orders", "k", "a").field("X-Amount", "1");
    world.send(&first).await.is_first(201, true, "completed");
    let other = post("/orders", "k", "a").field("X-Amount", "2");
    let answer = world.send(&other).await;
    answer.is_problem(422, "key-reused");
    assert!(answer.text().contains("x-amount"), "{answer:?}");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn two_callers_in_one_request_are_ambiguous() {
    let world = World::policy(STORE, "").await;
    let request = as_caller("Bearer a").field("Authorization", "Bearer b");
    world
        .send(&request)
        .await
        .is_problem(400, "scope-ambiguous");
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_refreshed_token_meets_its_record_and_is_not_shown_the_answer() {
    let world = World::policy(STORE, "").await;
    let first = world.send(&as_caller(&jwt("me", "alice", 1))).await;
    first.is_first(201, true, "completed");
    let refreshed = world.send(&as_caller(&jwt("me", "alice", 2))).await;
    refreshed
        .is_problem(409, "credentials-changed")
        .in_state("completed");
    assert_eq!(refreshed.document()["status_code"], 201);
    assert!(!refreshed.text().contains("made"), "{refreshed:?}");
    // Also where no answer could be shown anyway, and another request.
    let other = post("/orders", "k", "b").field("Authorization", jwt("me", "alice", 2));
    world.send(&other).await.is_problem(422, "key-reused");
    world
        .send(&as_caller(&jwt("me", "alice", 1)))
        .await
        .replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_refreshed_token_finds_a_running_or_unknown_request() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    let act = Act::new([Step::Wait(gate.clone()), Step::Fin]);
    world.upstream.next(act);
    let mut client = world.begin(&as_caller(&jwt("me", "alice", 1))).await;
    world.upstream.executed(1).await;
    let refreshed = as_caller(&jwt("me", "alice", 2));
    world.send(&refreshed).await.is_problem(409, "in-progress");
    gate.cancel();
    client.answer().await.is_problem(502, "upstream-failed");
    world
        .send(&refreshed)
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_basic_password_that_changed_is_the_same_caller() {
    let world = World::policy(STORE, "").await;
    let basic = |pair: &str| {
        let pair = base64::prelude::BASE64_STANDARD.encode(pair);
        as_caller(&format!("Basic {pair}"))
    };
    let first = world.send(&basic("alice:1")).await;
    first.is_first(201, true, "completed");
    world
        .send(&basic("alice:2"))
        .await
        .is_problem(409, "credentials-changed");
    world.send(&basic("alice:1")).await.replays(&first);
    world
        .send(&basic("bob:1"))
        .await
        .is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn other_callers_have_keys_of_their_own() {
    let world = World::policy(STORE, "").await;
    let callers = [
        as_caller(&jwt("me", "alice", 1)),
        as_caller(&jwt("me", "bob", 1)),
        as_caller(&jwt("you", "alice", 1)),
        as_caller("Bearer opaque"),
        as_caller("Bearer opaque2"),
        post("/orders", "k", "a"),
    ];
    for (number, request) in callers.iter().enumerate() {
        let first = world.send(request).await;
        first.is_first(201, true, "completed");
        world.send(request).await.replays(&first);
        assert_eq!(world.upstream.asked(), number + 1);
    }
}

#[tokio::test]
async fn other_paths_and_methods_have_keys_of_their_own() {
    let world = World::policy(STORE, "").await;
    let mut put = post("/orders", "k", "a");
    put.method = "PUT".to_owned();
    let requests = [
        post("/orders", "k", "a"),
        post("/orders/", "k", "a"),
        post("/orders/1", "k", "a"),
        post("/orders%2F1", "k", "a"),
        put,
    ];
    for request in &requests {
        world.send(request).await.is_first(201, true, "completed");
    }
    for request in &requests {
        let replay = world.send(request).await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"]);
    }
    assert_eq!(world.upstream.asked(), requests.len());
}

#[tokio::test]
async fn an_absolute_target_is_the_same_operation_at_the_same_upstream() {
    let world = World::policy(STORE, "").await;
    let first = world.post("k", "a").await;
    let absolute = post("http://elsewhere.example/orders", "k", "a");
    world.send(&absolute).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn keyed_requests_with_cookies_and_no_caller_are_counted() {
    let world = World::policy(STORE, "").await;
    let request = post("/orders", "k", "a").field("Cookie", "session=1");
    world.send(&request).await.is_first(201, true, "completed");
    assert_eq!(
        world.proxy.metric("idemproxy_cookies_without_caller_total"),
        1.0
    );
}

#[tokio::test]
async fn no_spelling_of_a_path_goes_round_its_policy() {
    let sections = "[[route]]\npath = \"/pay\"\nkey_required = true";
    let world = World::config(STORE, sections).await;
    for path in ["/pay", "/%70ay", "/x/../pay", "/x/%2e%2E/pay"] {
        let answer = world.send(&post(path, "", "a")).await;
        answer.is_problem(400, "key-missing");
    }
    assert_eq!(world.upstream.asked(), 0);
    world.send(&post("/%70ay", "k", "a")).await;
    assert_eq!(world.upstream.last().target, "/%70ay");
}
