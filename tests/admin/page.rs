//! The page for a browser, as it is served, and what it draws the last hour from.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Client, Proxy, Reply, Upstream, patiently, post};
use crate::world::{Backing, Operator, World, configuration};

#[tokio::test]
async fn the_page_takes_no_token_and_lets_nothing_else_in() {
    let (directory, upstream) = (TempDir::new().unwrap(), Upstream::start().await);
    let token = directory.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let admin = format!("token_file = \"{}\"", token.display());
    let proxy = Proxy::start(&configuration(&upstream, "memory:", &admin, "")).await;
    let operator = Operator::at(proxy.admin());
    let page = operator.get("/").await;
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.field(name).as_deref(), Some(value));
    }
    let policy = page.field("content-security-policy").unwrap();
    for directive in [
        "default-src 'none'; script-src 'sha256-",
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(page.text().starts_with("<!doctype html>\n"));
    assert!(page.text().ends_with("</html>\n"));

    let mut client = Client::connect(operator.address).await;
    client.send(&operator.request("HEAD", "/").bytes()).await;
    let head = client.answer_to("HEAD").await;
    assert_eq!((head.status, &*head.text()), (200, ""));
    assert_eq!(head.field("content-security-policy"), Some(policy));

    for (request, status) in [
        (operator.request("POST", "/"), 405),
        (operator.request("GET", "/?x=1"), 200),
        (operator.request("GET", "/index.html"), 401),
        (operator.request("GET", "/v1/activity"), 401),
        (
            operator
                .request("GET", "/")
                .field("Origin", "http://evil.example"),
            403,
        ),
        (
            operator
                .request("GET", "/")
                .field("Sec-Fetch-Site", "cross-site"),
            403,
        ),
    ] {
        let answer = operator.send(&request).await;
        assert_eq!(answer.status, status, "{request:?}");
    }
}

#[tokio::test]
async fn the_last_hour_tells_what_became_of_requests() {
    let world = World::start(Backing::Memory, "").await;
    for key in ["k-1", "k-1", "k-1", "k-2"] {
        world.send(&post("/orders", key, "a")).await;
    }
    world.send(&post("/orders", "k-1", "another")).await;
    world.upstream.next(Reply::new(503));
    world.send(&post("/orders", "k-3", "a")).await;
    world.upstream.next(Reply::new(502));
    world.send(&post("/orders", "k-4", "a")).await;
    world.send(&post("/orders", "k-4", "a")).await;
    // Some are counted when their client has its answer already.
    patiently(async {
        loop {
            let told = world.operator().told("/v1/activity").await;
            let minutes = told["minutes"].as_array().unwrap();
            assert!(minutes[0]["start"].as_str().unwrap().ends_with(":00Z"));
            let sum = |kind: &str| -> u64 {
                let counts = minutes.iter().map(|minute: &Value| minute[kind].as_u64());
                counts.map(Option::unwrap).sum()
            };
            let sums = ["executed", "replayed", "refused", "released", "unknown"].map(sum);
            if told["in_flight"] == 0 && sums == [2, 2, 2, 1, 1] {
                break;
            }
        }
    })
    .await;
}
