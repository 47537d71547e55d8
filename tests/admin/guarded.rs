//! Who may look, and what is logged of who did.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Process, Proxy, Reply, Request, Upstream, eventually, post};
use crate::world::{Backing, Operator, Says, World, configuration};

const PROGRAM: &str = env!("CARGO_BIN_EXE_idemproxy");
const TOKEN: &str = "s3cret-of-the-operators";

/// Lines of `[admin]` by which this token is needed.
fn guarded(directory: &TempDir, token: &str) -> String {
    let file = directory.path().join("admin.token");
    std::fs::write(&file, token).unwrap();
    format!(
        "token_file = \"{}\"\nhosts = [\"admin.internal\"]",
        file.display()
    )
}

#[tokio::test]
async fn the_token_is_needed_for_all_but_probes_and_metrics() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let lines = guarded(&directory, &format!("{TOKEN}\n"));
    let config = configuration(&upstream, &Backing::Memory.open().url, &lines, "");
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    for open in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
        assert_eq!(operator.get(open).await.status, 200, "{open}");
    }
    let id = "00112233445566778899aabbccddeeff";
    let change = operator.change(
        "POST",
        &format!("/v1/keys/{id}/release"),
        &json!({"reason": "x"}),
    );
    let pages = [
        (operator.request("GET", "/v1/keys"), 200),
        (operator.request("GET", "/v1/config"), 200),
        (operator.request("GET", &format!("/v1/keys/{id}")), 404),
        (operator.request("GET", "/v1/keys/not-an-id"), 400),
        (operator.request("GET", "/nothing"), 404),
        (change, 404),
    ];
    for (page, status) in pages {
        let with = |value: &str| page.clone().field("Authorization", value);
        for wrong in [
            page.clone(),
            with("Bearer x"),
            with(&format!("Basic {TOKEN}")),
            with(&format!("Bearer {TOKEN}x")),
        ] {
            let answer = operator.send(&wrong).await;
            answer.is_refused(401, "");
            assert_eq!(
                answer.all("www-authenticate"),
                ["Bearer realm=\"idemproxy\""]
            );
        }
        let answer = operator.send(&with(&format!("Bearer {TOKEN}"))).await;
        assert_eq!(answer.status, status, "{}", page.target);
    }
}

#[tokio::test]
async fn pages_of_other_origins_and_other_names_are_kept_out_of_every_page() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let lines = guarded(&directory, TOKEN);
    let config = configuration(&upstream, &Backing::Memory.open().url, &lines, "");
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    let change = operator
        .change(
            "POST",
            "/v1/keys/00112233445566778899aabbccddeeff/release",
            &json!({"reason": "x"}),
        )
        .field("Authorization", format!("Bearer {TOKEN}"));
    let own = format!("http://{}", operator.address);
    for (name, value, status) in [
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Sec-Fetch-Site", "cross-site", 403),
        ("Sec-Fetch-Site", "same-origin", 404),
        ("Origin", &own, 404),
    ] {
        let answer = operator.send(&change.clone().field(name, value)).await;
        answer.is_refused(status, "");
    }
    for (host, status) in [
        ("evil.example", 421),
        ("admin.internal", 404),
        ("Admin.Internal:80", 404),
    ] {
        let mut named = change.clone();
        named.fields[0].1 = host.as_bytes().to_vec();
        operator.send(&named).await.is_refused(status, "");
    }
}

#[tokio::test]
async fn the_authority_of_the_target_counts_and_a_host_is_needed() {
    let (upstream, kept) = (Upstream::start().await, Backing::Memory.open());
    let config = configuration(&upstream, &kept.url, "hosts = [\"admin.internal\"]", "");
    let proxy = Proxy::start(&config).await;
    let ask = |target: &'static str, hosts: &'static [&'static str]| {
        let mut request = Request::new("GET", target);
        request.fields.clear();
        for host in hosts {
            request = request.field("Host", *host);
        }
        let address = proxy.admin();
        async move { Client::once(address, &request).await }
    };
    for (target, hosts, status) in [
        ("/v1/keys", &[][..], 400),
        ("/livez", &[], 400),
        ("http://localhost/v1/keys", &[], 400),
        ("/v1/keys", &["localhost", "evil.example"], 400),
        ("/v1/keys", &["localhost", "localhost"], 400),
        ("http://evil.example/v1/keys", &["localhost"], 421),
        ("http://evil.example/livez", &["localhost"], 421),
        ("http://x@localhost/livez", &["localhost"], 421),
        ("http://localhost/v1/keys", &["evil.example"], 200),
        ("http://admin.internal/v1/keys", &["admin.internal"], 200),
        ("/v1/keys", &["localhost"], 200),
    ] {
        let answer = ask(target, hosts).await;
        assert_eq!(answer.status, status, "{target} {hosts:?}: {answer:?}");
    }
}

#[tokio::test]
async fn orders_and_those_who_are_kept_out_are_counted() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let lines = guarded(&directory, TOKEN);
    let config = configuration(&upstream, "memory:", &lines, "");
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    upstream.next(Reply::new(502));
    let answer = proxy.send(&post("/orders", "k", "a")).await;
    let id = answer.field("x-idempotency-id").unwrap();
    let token = format!("Bearer {TOKEN}");
    let order = |method: &str, path: &str, body: Value| {
        let target = format!("/v1/keys/{id}{path}");
        let change = operator.change(method, &target, &body);
        let change = change.field("Authorization", &token);
        let operator = operator.clone();
        async move { operator.send(&change).await.status }
    };
    let executed = json!({"executed": true});
    let not_executed = json!({"executed": false});
    assert_eq!(order("POST", "/release", json!({})).await, 200);
    assert_eq!(order("POST", "/release", json!({})).await, 409);
    assert_eq!(order("POST", "/resolve", executed.clone()).await, 409);
    assert_eq!(order("POST", "/resolve", not_executed).await, 409);
    assert_eq!(order("DELETE", "", json!({})).await, 200);
    assert_eq!(order("DELETE", "", json!({"version": "x"})).await, 412);
    // No order yet.
    assert_eq!(order("DELETE", "", executed).await, 400);
    let keys = operator.request("GET", "/v1/keys");
    for (name, value) in [
        ("Accept", "*/*"),
        ("Authorization", "Bearer wrong"),
        ("Authorization", "Bearer wrong"),
        ("Origin", "http://evil.example"),
    ] {
        operator.send(&keys.clone().field(name, value)).await;
    }
    let mut named = keys.clone();
    named.fields[0].1 = b"evil.example".to_vec();
    operator.send(&named).await;
    for (line, count) in [
        (r#"changes_total{order="release",outcome="made"}"#, 1.0),
        (r#"changes_total{order="release",outcome="refused"}"#, 1.0),
        (
            r#"changes_total{order="resolve_executed",outcome="refused"}"#,
            1.0,
        ),
        (
            r#"changes_total{order="resolve_not_executed",outcome="refused"}"#,
            1.0,
        ),
        (r#"changes_total{order="delete",outcome="made"}"#, 1.0),
        (r#"changes_total{order="delete",outcome="refused"}"#, 1.0),
        (r#"changes_total{order="delete",outcome="failed"}"#, 0.0),
        (r#"refused_total{reason="token_missing"}"#, 1.0),
        (r#"refused_total{reason="token_wrong"}"#, 2.0),
        (r#"refused_total{reason="origin"}"#, 1.0),
        (r#"refused_total{reason="host"}"#, 1.0),
    ] {
        let line = format!("idemproxy_admin_{line}");
        assert_eq!(proxy.metric(&line), count, "{line}");
    }
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let lines = guarded(&directory, TOKEN);
    let route =
        "[[route]]\nname = \"payments\"\npath = \"/payments\"\nunknown_outcome = \"retry\"\n";
    let config = configuration(&upstream, &Backing::Memory.open().url, &lines, route);
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    let request = operator
        .request("GET", "/v1/config")
        .field("Authorization", format!("Bearer {TOKEN}"));
    let answer = operator.send(&request).await;
    assert!(!answer.text().contains(TOKEN), "{answer:?}");
    let shown = answer.document();
    let settings = shown["settings"].as_str().unwrap();
    for line in [
        "admin.token_file      required",
        "admin.hosts           admin.internal",
        "store                 memory:",
        "route payments /payments",
        "unknown_outcome       retry",
    ] {
        assert!(settings.contains(line), "{line} is not in\n{settings}");
    }
    let warnings = shown["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.as_str().unwrap().contains("payments"))
    );
}

#[tokio::test]
async fn each_change_is_logged_with_its_reason_and_without_secrets() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let kept = Backing::Embedded.open();
    let config = configuration(&upstream, &kept.url, &guarded(&directory, TOKEN), "");
    let proxy = Process::start(PROGRAM, &config).await;
    upstream.next(Reply::new(502));
    let first = proxy
        .send(&post("/orders", "the-key-itself", "the-body-itself"))
        .await;
    let id = first.field("x-idempotency-id").unwrap();
    let operator = Operator::at(proxy.admin());
    let reason = format!("ticket 7:\nsaid \u{1b}[31mso {}", "x".repeat(1_000));
    let body = json!({
        "reason": reason, "executed": true,
        "response": {"status": 200, "headers": {"x-a": "the-header-given"}, "body": "the-body-given"},
    });
    let change = operator
        .change("POST", &format!("/v1/keys/{id}/resolve"), &body)
        .field("Authorization", format!("Bearer {TOKEN}"));
    operator.send(&change).await.is_done();
    let event = || {
        let log = proxy.log();
        let mut events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.find(|event| event["message"] == "an operator changed a record")
    };
    eventually(|| event().is_some()).await;
    let event = event().unwrap();
    assert_eq!(event["id"], *id);
    assert_eq!(event["order"], "resolve as executed, with an answer");
    assert_eq!(event["before"], "unknown");
    assert_eq!(event["after"], "completed");
    assert_eq!(event["forced"], false);
    assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let logged = event["reason"].as_str().unwrap();
    assert!(
        logged.starts_with("ticket 7:\\nsaid \\u{1b}[31mso xxx"),
        "{logged}"
    );
    assert!(logged.len() < 600, "{logged}");
    for secret in [
        TOKEN,
        "the-key-itself",
        "the-body-itself",
        "the-body-given",
        "the-header-given",
    ] {
        assert!(!proxy.log().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_told_and_nothing_changed() {
    let (upstream, kept) = (Upstream::start().await, Backing::Redis.open());
    let config = configuration(&upstream, &kept.url, "", "").replace("10s", "300ms");
    let proxy = Proxy::start(&config).await;
    let operator = Operator::at(proxy.admin());
    upstream.next(Reply::new(502));
    let answer = proxy.send(&post("/orders", "k", "a")).await;
    let id = answer.field("x-idempotency-id").unwrap();
    assert_eq!(operator.only().await["id"], *id);
    drop(kept);
    for answer in [
        operator.get("/v1/keys").await,
        operator.get(&format!("/v1/keys/{id}")).await,
        operator.release(&id, json!({})).await,
    ] {
        answer.is_refused(503, "STORE_UNAVAILABLE");
    }
    let failed = r#"idemproxy_admin_changes_total{order="release",outcome="failed"}"#;
    assert_eq!(proxy.metric(failed), 1.0);
    assert_eq!(operator.get("/v1/config").await.status, 200);
}

#[tokio::test]
async fn what_this_version_cannot_read_is_counted_and_left_as_it_is() {
    let world = World::start(Backing::Redis, "").await;
    for key in ["one", "two"] {
        world.upstream.next(Reply::new(502));
        world.send(&post("/orders", key, "a")).await;
    }
    let operator = world.operator();
    let page = operator.told("/v1/keys").await;
    let id = page["keys"][0]["id"].as_str().unwrap();
    let client = redis::Client::open(&*world.kept.url).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let name = format!("idemproxy:{id}");
    let there: bool = redis::cmd("EXISTS")
        .arg(&name)
        .query_async(&mut redis)
        .await
        .unwrap();
    assert!(there, "{name}");
    let newer = "of a newer version";
    let set = redis::cmd("SET")
        .arg(&name)
        .arg(newer)
        .exec_async(&mut redis)
        .await;
    set.unwrap();
    let page = operator.told("/v1/keys").await;
    assert_eq!(page["keys"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["unreadable"], 1);
    let order = json!({"executed": true, "force": true});
    for answer in [
        operator.get(&format!("/v1/keys/{id}")).await,
        operator.release(id, json!({"force": true})).await,
        operator.delete(id, json!({"force": true})).await,
        operator.resolve(id, order).await,
    ] {
        answer.is_refused(503, "RECORD_UNREADABLE");
    }
    let kept: String = redis::cmd("GET")
        .arg(&name)
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(kept, newer);
}
