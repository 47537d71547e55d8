//! Upgrades, WebSocket for one.

use crate::pipe::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_and_each_side_closes_its_own_half() {
    let between = Between::start().await;
    // What the client sends before the answer belongs to the new protocol, too.
    let mut client = between.sent(format!("{ASK}early")).await;
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert_eq!(values(&head, "connection"), ["upgrade"]);
    assert_eq!(values(&head, "upgrade"), ["websocket"]);
    assert_eq!(values(&head, "sec-websocket-key").len(), 1);
    upstream.send(format!("{SWITCH}hello")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(values(&head, "connection"), ["upgrade"]);
    assert_eq!(values(&head, "upgrade"), ["websocket"]);
    assert_eq!(values(&head, "sec-websocket-accept").len(), 1);
    assert_eq!(client.exactly(5).await, "hello");
    assert_eq!(upstream.exactly(5).await, "early");
    for at in 0..20 {
        let ping =
            format!("GET /{at} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n\0\u{ff}");
        client.send(bytes(&ping)).await;
        assert_eq!(upstream.exactly(ping.chars().count()).await, ping);
        upstream.send(bytes(&ping)).await;
        assert_eq!(client.exactly(ping.chars().count()).await, ping);
    }
    client.half_close().await;
    assert_eq!(upstream.rest().await, "");
    upstream.send("the last word").await;
    drop(upstream);
    assert_eq!(client.rest().await, "the last word");
    between.proxy.reaches("idemproxy_connections", 0.0).await;
    between.proxy.reaches("idemproxy_in_flight", 0.0).await;
}

#[tokio::test]
async fn an_upstream_that_closes_its_half_first_still_hears_the_client() {
    let between = Between::start().await;
    let mut client = between.sent(ASK).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send(SWITCH).await;
    client.head().await;
    upstream.half_close().await;
    assert_eq!(client.rest().await, "");
    client.send("still here").await;
    drop(client);
    assert_eq!(upstream.rest().await, "still here");
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_ordinary_exchange() {
    let between = Between::start().await;
    let mut client = between.sent(ASK).await;
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 426 "));
    assert_eq!(client.exactly(2).await, "no");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.head().await.starts_with("GET /next "));
    upstream.send("HTTP/1.1 204 No\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn an_upgrade_to_another_http_is_not_offered_to_the_upstream() {
    let between = Between::start().await;
    for protocol in ["h2c", "websocket, h2c", "HTTP/2.0"] {
        let mut client = between
            .sent(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"))
            .await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        for name in ["connection", "upgrade", "http2-settings"] {
            assert!(values(&head, name).is_empty(), "{name} in {head}");
        }
        upstream
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_lost_answer() {
    let between = Between::start().await;
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut client = between
            .sent(format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{key}Connection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream.send(SWITCH).await;
        assert_problem(&client.rest().await, 502, "upstream-failed");
        upstream.gone().await;
    }
}
