//! Stopping: what is running ends, what is idle closes, and the deadline holds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::*;

#[tokio::test]
async fn draining_closes_the_idle_finishes_the_busy_and_accepts_nobody() {
    let server = Server::start().await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "with 0").await;
    let mut busy = server.connect().await;
    busy.write_all(b"POST /gate HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        .await
        .unwrap();
    server.called(2).await;
    eventually(|| server.page_has("idemproxy_connections 3")).await;

    server.shutdown.drain();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut idle).await, "");
    eventually(|| server.page_has("idemproxy_connections 1")).await;
    assert!(TcpStream::connect(server.addr).await.is_err());
    assert!(!server.serving.is_finished());

    server.open_gate();
    let answer = read_to_end(&mut busy).await;
    assert!(
        answer.contains("\r\nconnection: close\r\n") && answer.ends_with("with 1"),
        "{answer}"
    );
    drop(busy);
    patiently(server.serving).await.unwrap();
}

#[tokio::test]
async fn draining_sends_goaway_and_lets_open_streams_finish() {
    let server = Server::start().await;
    let (mut client, connection) = server.http2().await;
    let request = || {
        http::Request::get("http://a/gate")
            .body(String::new())
            .unwrap()
    };
    let answer = client.send_request(request());
    let answer = tokio::spawn(answer);
    server.called(1).await;
    server.shutdown.drain();
    let ordinary = || http::Request::get("http://a/").body(String::new()).unwrap();
    patiently(async { while client.send_request(ordinary()).await.is_ok() {} }).await;
    server.open_gate();
    assert_eq!(patiently(answer).await.unwrap().unwrap().status(), 200);
    patiently(connection).await.unwrap().unwrap();
    patiently(server.serving).await.unwrap();
}

#[tokio::test]
async fn the_deadline_drops_what_is_still_running() {
    let server = Server::start().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    server.called(1).await;
    server.shutdown.drain();
    server.shutdown.close();
    patiently(server.serving).await.unwrap();
    let mut answer = Vec::new();
    let _ = patiently(busy.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
}
