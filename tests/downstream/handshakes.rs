//! How a connection becomes TLS, and what happens where it does not.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::authority::{Authority, secure};
use crate::tls::support::*;

const FAILED: &str = "idemproxy_tls_handshakes_failed_total";

fn failed(server: &Server, count: usize) -> bool {
    server.page_has(&format!("{FAILED} {count}"))
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_closed_after_the_header_timeout_and_holds_up_nobody() {
    let server =
        Server::with(|settings| settings.header_timeout = Duration::from_millis(300)).await;
    let mut slow = Vec::new();
    // Nothing; the head of a record; a record of a ClientHello that stays away.
    for start in [
        b"".as_slice(),
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut client = TcpStream::connect(server.addr).await.unwrap();
        client.write_all(start).await.unwrap();
        slow.push(client);
    }
    let answer = server
        .talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for mut client in slow {
        let mut rest = Vec::new();
        let _ = patiently(client.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"");
    }
    eventually(|| failed(&server, 3)).await;
    eventually(|| server.page_has("idemproxy_connections 0")).await;
}

#[tokio::test]
async fn handshake_and_first_head_have_one_header_timeout_between_them() {
    let server =
        Server::with(|settings| settings.header_timeout = Duration::from_millis(300)).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = patiently(client.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
    assert_eq!(server.calls(), 0);
    assert!(failed(&server, 0), "the handshake itself was in time");
}

#[tokio::test]
async fn plain_http_to_the_tls_port_is_told_so_at_once() {
    let server = Server::start().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "post",
    ] {
        let mut client = TcpStream::connect(server.addr).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        patiently(client.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_problem(&answer, 400, "bad-request");
        assert!(answer.contains("this port is for HTTPS"), "{answer}");
    }
    assert_eq!(server.calls(), 0);
    eventually(|| failed(&server, 3)).await;
}

#[tokio::test]
async fn what_is_no_tls_and_who_is_not_trusted_is_ended_quickly_and_counted() {
    let server = Server::start().await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client.write_all(&[0xff; 64]).await.unwrap();
    let mut rest = Vec::new();
    patiently(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest.first(), Some(&0x15), "an alert, and no HTTP: {rest:?}");

    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let stranger = Authority::new().client(&[], None);
    assert!(patiently(secure(tcp, stranger)).await.is_err());
    eventually(|| failed(&server, 2)).await;

    // Whoever only looks whether the port is open did nothing wrong.
    drop(TcpStream::connect(server.addr).await.unwrap());
    eventually(|| server.page_has("idemproxy_connections 0")).await;
    assert!(failed(&server, 2));
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let server = Server::with(|settings| settings.max_connections = 1).await;
    let mut waiting = TcpStream::connect(server.addr).await.unwrap();
    waiting.write_all(b"\x16").await.unwrap();
    eventually(|| server.page_has("idemproxy_connections 1")).await;
    assert!(server.try_connect().await.is_err());
    assert!(server.page_has(r#"idemproxy_limit_reached_total{limit="max_connections"} 1"#));
    drop(waiting);
    eventually(|| server.page_has("idemproxy_connections 0")).await;
    server.connect().await;
}

#[tokio::test]
async fn a_drain_ends_handshakes() {
    let server = Server::start().await;
    let mut waiting = TcpStream::connect(server.addr).await.unwrap();
    waiting.write_all(b"\x16").await.unwrap();
    eventually(|| server.page_has("idemproxy_connections 1")).await;
    server.shutdown.drain();
    patiently(server.serving).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_connections_are_open() {
    let (before, after) = (Authority::new(), Authority::new());
    let server = Server::with(|settings| settings.tls = Some(shown(&before))).await;
    let connect = |authority: &Authority| {
        let (config, address) = (authority.client(&[], None), server.addr);
        async move { secure(TcpStream::connect(address).await?, config).await }
    };
    let mut open: Client = Box::new(patiently(connect(&before)).await.unwrap());
    assert!(patiently(connect(&after)).await.is_err());
    server.set(|settings| settings.tls = Some(shown(&after)));
    assert!(patiently(connect(&before)).await.is_err());
    let mut new: Client = Box::new(patiently(connect(&after)).await.unwrap());
    for client in [&mut open, &mut new] {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_until(client, "with 0").await;
    }
}
