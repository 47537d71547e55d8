//! The forms that the contract promises, as they stand there, and what is told of others.

use serde_json::{Value, json};

use crate::support::{Gate, Process, Reply, Upstream, eventually, post};
use crate::world::{Backing, Operator, Says, World, configuration};

const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");

/// A world, and an operator who looks at a record of it whose outcome is unknown.
async fn in_doubt() -> (World, Operator, String) {
    let world = World::start(Backing::Memory, "client_timeout = \"10m\"").await;
    let operator = world.operator();
    let id = another(&world, "k").await;
    (world, operator, id)
}

/// One more record whose outcome is unknown.
async fn another(world: &World, key: &str) -> String {
    world.upstream.next(Reply::new(502));
    let answer = world.send(&post("/orders", key, "a")).await;
    answer.field("x-idempotency-id").unwrap()
}

/// What an answer gives as its reason, without a code.
#[track_caller]
fn detail(answer: &crate::support::Answer, status: u16) -> String {
    answer.is_refused(status, "");
    answer.document()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn orders_need_no_reason_and_no_body_but_what_they_order() {
    let (world, operator, id) = in_doubt().await;
    let target = |id: &str, order: &str| format!("/v1/keys/{id}{order}");
    let resolve = |id: &str, body: Value| operator.change("POST", &target(id, "/resolve"), &body);
    let empty = |method, target: String| operator.request(method, &target);
    let response = json!({"status": 201, "headers": {"x-a": "b"}, "body": "x"});
    for (number, state) in [
        "released",
        "released",
        "released",
        "released",
        "released",
        "released",
        "completed",
        "completed",
        "completed",
        "released",
    ]
    .into_iter()
    .enumerate()
    {
        let id = match number {
            0 => id.clone(),
            _ => another(&world, &format!("k-{number}")).await,
        };
        let request = match number {
            0 => empty("DELETE", target(&id, "")),
            1 => empty("DELETE", target(&id, "")).field("Content-Type", "application/json"),
            2 => operator.change("DELETE", &target(&id, ""), &json!({})),
            3 => empty("POST", target(&id, "/release")).body(""),
            4 => empty("POST", target(&id, "/release"))
                .field("Content-Type", "application/json")
                .body(""),
            5 => operator.change("POST", &target(&id, "/release"), &json!({})),
            6 => resolve(&id, json!({"executed": true})),
            7 => resolve(&id, json!({"executed": true, "response": response})),
            8 => resolve(
                &id,
                json!({"executed": true, "reason": null, "response": {"status": 201, "headers": {}, "body_base64": "eA=="}}),
            ),
            _ => resolve(&id, json!({"executed": false})),
        };
        let entry = operator.send(&request).await.is_done();
        assert_eq!(entry["state"], state, "{number}");
        assert_eq!(entry["id"], *id, "{number}");
    }
}

#[tokio::test]
async fn force_may_stand_in_the_query_of_a_change() {
    let world = World::start(Backing::Memory, "client_timeout = \"10m\"").await;
    let (operator, gate) = (world.operator(), Gate::new());
    world.upstream.next(Reply::new(201).after(&gate));
    let mut first = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.executed(1).await;
    let id = operator.only().await["id"].as_str().unwrap().to_owned();
    let delete = |query: &str| operator.request("DELETE", &format!("/v1/keys/{id}{query}"));
    for query in ["", "?force=false"] {
        let refused = operator.send(&delete(query)).await;
        refused.is_refused(409, "LEASE_LIVE");
    }
    let done = operator.send(&delete("?force=true")).await.is_done();
    assert_eq!(done["state"], "released");
    gate.cancel();
    assert_eq!(first.answer().await.status, 201);
}

#[tokio::test]
async fn a_write_of_another_type_or_of_none_is_refused() {
    let (_world, operator, id) = in_doubt().await;
    let release = format!("/v1/keys/{id}/release");
    let delete = format!("/v1/keys/{id}");
    let typed = |method, target: &str, media: &str| {
        operator
            .request(method, target)
            .field("Content-Type", media)
    };
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    for request in [
        typed("POST", &release, form).body(""),
        typed("POST", &release, "text/plain").body("{}"),
        typed("DELETE", &delete, "text/plain"),
        typed("POST", &release, json)
            .field("Content-Type", form)
            .body("{}"),
        operator.request("POST", &release).body("{}"),
        operator.request("DELETE", &delete).body("{}"),
    ] {
        detail(&operator.send(&request).await, 415);
    }
    assert_eq!(operator.only().await["state"], "unknown");
}

#[tokio::test]
async fn a_change_without_a_reason_is_logged_as_one() {
    let upstream = Upstream::start().await;
    let config = configuration(&upstream, "memory:", "", "");
    let proxy = Process::start(PROGRAM, &config).await;
    upstream.next(Reply::new(502));
    let first = proxy.send(&post("/orders", "k", "a")).await;
    let id = first.field("x-idempotency-id").unwrap();
    let operator = Operator::at(proxy.admin());
    let delete = operator.request("DELETE", &format!("/v1/keys/{id}"));
    operator.send(&delete).await.is_done();
    eventually(|| {
        let log = proxy.log();
        let mut events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.any(|event| {
            event["message"] == "an operator changed a record" && event["reason"] == "none given"
        })
    })
    .await;
}

#[tokio::test]
async fn filters_that_are_empty_filter_nothing() {
    let (_world, operator, id) = in_doubt().await;
    let page = operator
        .told("/v1/keys?state=&route=&key=&limit=&cursor=")
        .await;
    assert_eq!(page["keys"][0]["id"], *id);
    assert_eq!(page.get("cursor"), None);
}

#[tokio::test]
async fn a_parameter_that_a_page_does_not_take_is_named() {
    let (_world, operator, id) = in_doubt().await;
    for (method, target, said) in [
        (
            "GET",
            "/v1/keys?bogus=1".to_owned(),
            "unknown parameter: bogus",
        ),
        (
            "GET",
            format!("/v1/keys/{id}?bogus=1"),
            "unknown parameter: bogus",
        ),
        (
            "GET",
            "/v1/config?bogus".to_owned(),
            "unknown parameter: bogus",
        ),
        (
            "GET",
            "/v1/activity?bogus".to_owned(),
            "unknown parameter: bogus",
        ),
        (
            "DELETE",
            format!("/v1/keys/{id}?bogus"),
            "unknown parameter: bogus",
        ),
        (
            "DELETE",
            format!("/v1/keys/{id}?force=1"),
            "force: expected force=true",
        ),
        (
            "POST",
            format!("/v1/keys/{id}/release?reason=x"),
            "unknown parameter: reason",
        ),
        (
            "POST",
            "/v1/reload?force=true".to_owned(),
            "unknown parameter: force",
        ),
        (
            "POST",
            "/v1/reload?forget_keys=1".to_owned(),
            "forget_keys: expected forget_keys=true",
        ),
        (
            "POST",
            "/v1/reload?forget_keys=true&forget_keys=true".to_owned(),
            "forget_keys: expected it once",
        ),
    ] {
        let answer = operator.send(&operator.request(method, &target)).await;
        let told = detail(&answer, 400);
        assert!(told.starts_with(said), "{target}: {told}");
    }
    assert_eq!(operator.only().await["state"], "unknown");
}

#[tokio::test]
async fn a_reload_takes_no_body_but_an_empty_object() {
    let upstream = Upstream::start().await;
    let config = configuration(&upstream, "memory:", "", "");
    let proxy = Process::start(PROGRAM, &config).await;
    let operator = Operator::at(proxy.admin());
    for target in [
        "/v1/reload",
        "/v1/reload?forget_keys",
        "/v1/reload?forget_keys=false",
    ] {
        let done = operator.send(&operator.request("POST", target)).await;
        assert_eq!(done.status, 200, "{target}: {done:?}");
    }
    let with = |body: &str| {
        operator
            .request("POST", "/v1/reload")
            .field("Content-Type", "application/json")
            .body(body)
    };
    for body in ["", "{}"] {
        assert_eq!(operator.send(&with(body)).await.status, 200, "{body}");
    }
    for (body, said) in [
        (r#"{"forget_keys": true}"#, "the body: expected no field"),
        ("[]", "the body: expected a JSON object"),
        ("forget", "the body: malformed JSON"),
    ] {
        let told = detail(&operator.send(&with(body)).await, 400);
        assert!(told.starts_with(said), "{body}: {told}");
    }
}

#[tokio::test]
async fn bodies_are_objects_and_faults_are_told_in_words() {
    let (_world, operator, id) = in_doubt().await;
    let (release, resolve) = (
        format!("/v1/keys/{id}/release"),
        format!("/v1/keys/{id}/resolve"),
    );
    for (target, body, said) in [
        (
            &release,
            r#"["x", true, null, null, null]"#,
            "the body: expected a JSON object",
        ),
        (&release, "\"x\"", "the body: expected a JSON object"),
        (&release, "null", "the body: expected a JSON object"),
        (&release, "{", "the body: malformed JSON"),
        (
            &release,
            r#"{"force": true, "force": false}"#,
            "the body: a name occurs twice in one object",
        ),
        (
            &release,
            r#"{"forec": true}"#,
            "forec: expected no such field; there are reason, force, version",
        ),
        (
            &release,
            r#"{"force": "yes"}"#,
            "force: expected true, false or the code of a refusal that it overrides",
        ),
        (&release, r#"{"reason": 7}"#, "reason: expected a text"),
        (&release, r#"{"reason": " "}"#, "reason: expected "),
        (&release, r#"{"version": 7}"#, "version: expected a text"),
        (
            &release,
            r#"{"executed": true}"#,
            "executed, response: only a resolution takes these",
        ),
        (&resolve, "{}", "executed: expected true or false"),
        (
            &resolve,
            r#"{"executed": "true"}"#,
            "executed: expected true or false",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": [201, {}, "a", null]}"#,
            "response: expected a JSON object",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {}}"#,
            "response.status: expected a number from 200 to 599",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": "201"}}"#,
            "response.status: expected a number from 200 to 599",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201.5}}"#,
            "response.status: expected a number from 200 to 599",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "body": {}}}"#,
            "response.body: expected a text",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "body_base64": 1}}"#,
            "response.body_base64: expected a text",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "headers": []}}"#,
            "response.headers: expected a JSON object",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "headers": {"a": 1}}}"#,
            "response.headers: a: expected a text or a list of texts",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "headers": {"a": ["x", 1]}}}"#,
            "response.headers: a: expected a text or a list of texts",
        ),
        (
            &resolve,
            r#"{"executed": true, "response": {"status": 201, "bdy": "x"}}"#,
            "response.bdy: expected no such field; there are status, headers, body, body_base64",
        ),
    ] {
        let request = operator
            .request("POST", target)
            .field("Content-Type", "application/json")
            .body(body);
        let told = detail(&operator.send(&request).await, 400);
        assert!(told.starts_with(said), "{body}: {told}");
        for internal in ["struct", "enum", "u16", "Written", "Given", "invalid type"] {
            assert!(!told.contains(internal), "{body}: {told}");
        }
    }
    assert_eq!(operator.only().await["state"], "unknown");
}
