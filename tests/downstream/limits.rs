//! Everything a client may take has a bound.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

#[tokio::test]
async fn a_head_at_the_limit_passes_and_one_byte_more_is_refused() {
    let server = Server::with(|settings| settings.max_header_bytes = 20_000).await;
    // "/" + "host" + "a" + "connection" + "close" + "x"
    let fixed = 1 + 4 + 1 + 10 + 5 + 1;
    let head = |size: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
            "v".repeat(size - fixed)
        )
        .into_bytes()
    };
    assert!(server.talk(&head(20_000)).await.starts_with("HTTP/1.1 200"));
    assert_problem(&server.talk(&head(20_001)).await, 431, "header-too-large");
    assert_problem(&server.talk(&head(200_000)).await, 431, "header-too-large");
    assert_eq!(server.calls(), 1);
    assert!(server.page_has(r#"idemproxy_limit_reached_total{limit="max_header_bytes"} 2"#));
}

#[tokio::test]
async fn too_long_a_target_and_too_many_lines_are_too_large() {
    let server = Server::start().await;
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(70_000));
    assert_problem(
        &server.talk(target.as_bytes()).await,
        431,
        "header-too-large",
    );
    let lines = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    assert_problem(
        &server.talk(lines.as_bytes()).await,
        431,
        "header-too-large",
    );
    let lines = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n",
        "X: y\r\n".repeat(98)
    );
    assert!(
        server
            .talk(lines.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_and_a_freed_place_is_taken() {
    let server = Server::with(|settings| settings.max_connections = 2).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for client in [&mut first, &mut second] {
        client.write_all(request).await.unwrap();
        read_until(client, "with 0").await;
    }
    if super::TLS {
        // Before its handshake: it sent nothing, and knows that.
        assert!(server.try_connect().await.is_err());
    } else {
        let answer = server.talk(request).await;
        assert_problem(&answer, 503, "overloaded");
        assert!(answer.contains("\r\nretry-after: 1\r\n"));
    }
    assert!(server.page_has(r#"idemproxy_limit_reached_total{limit="max_connections"} 1"#));
    drop(first);
    eventually(|| server.page_has("idemproxy_connections 1")).await;
    let mut third = server.connect().await;
    third.write_all(request).await.unwrap();
    read_until(&mut third, "with 0").await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_a_head_is_closed() {
    let server =
        Server::with(|settings| settings.header_timeout = Duration::from_millis(500)).await;
    for start in [
        "",
        "PRI * HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:",
    ] {
        let mut client = server.connect().await;
        client.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = patiently(client.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{start}");
    }
    let mut client = server.connect().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "with 0").await;
    client.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    let _ = patiently(client.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let server =
        Server::with(|settings| settings.body_idle_timeout = Duration::from_millis(100)).await;
    let mut client = server.connect().await;
    client
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    server.called(1).await;
    eventually(|| server.page_has("idemproxy_connections 0")).await;
    let mut buffer = vec![0; 1 << 20];
    while matches!(patiently(client.read(&mut buffer)).await, Ok(n) if n > 0) {}
}

#[tokio::test]
async fn a_stream_whose_client_keeps_its_window_shut_is_reset_and_the_others_go_on() {
    let server =
        Server::with(|settings| settings.body_idle_timeout = Duration::from_millis(200)).await;
    let socket = hyper_util::rt::TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_connection_window_size(1 << 24)
            .initial_stream_window_size(100_000)
            .handshake(socket)
            .await
            .unwrap();
    tokio::spawn(connection);
    let get = |path: &str| {
        http::Request::get(format!("http://a{path}"))
            .body(String::new())
            .unwrap()
    };
    for path in ["/endless", "/large"] {
        let gone = server.gone();
        let mut stuck = patiently(client.send_request(get(path))).await.unwrap();
        // Nobody reads, so the window fills up.
        eventually(|| server.gone() > gone).await;
        let answer = patiently(client.send_request(get("/"))).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut read = 0;
        let error = loop {
            match patiently(stuck.body_mut().frame()).await.unwrap() {
                Ok(frame) => read += frame.into_data().unwrap().len(),
                Err(error) => break error,
            }
        };
        assert!(read <= 100_000, "{read}");
        assert!(!error.is_closed(), "{error}");
    }
    let large = patiently(client.send_request(get("/large"))).await.unwrap();
    let large = patiently(large.into_body().collect()).await.unwrap();
    assert_eq!(large.to_bytes().len(), 1 << 20);
}

#[tokio::test]
async fn a_stream_whose_window_never_opens_is_reset_though_its_client_answers_pings() {
    let server =
        Server::with(|settings| settings.body_idle_timeout = Duration::from_millis(200)).await;
    let (client, mut connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(server.connect().await)
        .await
        .unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    for path in ["/endless", "/large", "/"] {
        let gone = server.gone();
        let request = http::Request::get(format!("http://a{path}"))
            .body(())
            .unwrap();
        let mut client = patiently(client.clone().ready()).await.unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = patiently(answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let end = patiently(answer.into_body().data()).await.unwrap();
        assert!(end.unwrap_err().is_reset(), "{path}");
        if path != "/" {
            eventually(|| server.gone() > gone).await;
        }
        patiently(pings.ping(h2::Ping::opaque())).await.unwrap();
    }
}

#[tokio::test]
async fn an_upload_that_is_still_read_outlives_its_answer_and_the_header_timeout() {
    let server =
        Server::with(|settings| settings.header_timeout = Duration::from_millis(100)).await;
    let mut client = server.connect().await;
    client
        .write_all(b"POST /meanwhile HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "at once").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(b"x").await.unwrap();
    }
    client
        .write_all(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "GET /next at a with 0").await;
}
