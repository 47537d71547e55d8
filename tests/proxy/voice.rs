//! The operator's words where no request was understood yet.

use crate::pipe::*;
use crate::support::{Answer, Client, Proxy, patiently};

const WORDS: &str = r#"
    [errors]
    body = '{"ok":false,"error":{"code":"{code}","message":"{detail}"}}'
    cors_origins = ["https://app.example"]
    [errors.detail]
    bad-request = "Ceci n’est pas une \"requête\"."
    header-too-large = "trop long"
    overloaded = "plus de place"
    upstream-unreachable = "personne"
"#;

#[track_caller]
fn says(answer: &Answer, status: u16, error: &str, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.all("x-idempotency-error"), [error], "{answer:?}");
    assert_eq!(answer.all("content-type"), ["application/json"]);
    let code = error.to_uppercase().replace('-', "_");
    let expected = serde_json::json!({"ok": false, "error": {"code": code, "message": message}});
    assert_eq!(answer.document(), expected, "{answer:?}");
}

async fn answer(proxy: &Proxy, bytes: &[u8]) -> Answer {
    let mut client = Client::connect(proxy.address()).await;
    client.send(bytes).await;
    client.answer().await
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_operators_words() {
    let between = Between::config(WORDS).await;
    let bad = "Ceci n’est pas une \"requête\".";
    // By the parser, which leaves no origin to tell.
    let unparsed = answer(&between.proxy, b"POST / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    says(&unparsed, 400, "bad-request", bad);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let long = answer(&between.proxy, long.as_bytes()).await;
    says(&long, 431, "header-too-large", "trop long");
    // By our own look at it.
    let ambiguous = b"POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\nOrigin: https://app.example\r\nContent-Length: 0\r\n\r\n";
    let ambiguous = answer(&between.proxy, ambiguous).await;
    says(&ambiguous, 400, "bad-request", bad);
    let allowed = ambiguous.all("access-control-allow-origin");
    assert_eq!(allowed, ["https://app.example"]);
    assert!(between.nobody_came());
}

#[tokio::test]
async fn a_connection_too_many_is_refused_in_the_operators_words() {
    let config = format!("[server]\nmax_connections = 1\n{WORDS}");
    let between = Between::config(&config).await;
    let _first = between.connect().await;
    between.proxy.reaches("idemproxy_connections", 1.0).await;
    let mut second = Client::connect(between.proxy.address()).await;
    let answer = patiently(second.answer()).await;
    says(&answer, 503, "overloaded", "plus de place");
    assert!(answer.field("retry-after").is_some());
}

#[tokio::test]
async fn a_request_without_a_key_is_told_of_its_upstream_in_the_operators_words() {
    let between = Between::config(WORDS).await.without_upstream();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\r\n";
    let answer = answer(&between.proxy, get).await;
    says(&answer, 502, "upstream-unreachable", "personne");
    let allowed = answer.all("access-control-allow-origin");
    assert_eq!(allowed, ["https://app.example"]);
}
