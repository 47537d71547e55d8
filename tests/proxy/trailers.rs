//! Trailers, both ways.

use http_body_util::BodyExt;

use crate::pipe::*;
use crate::support::{Client, patiently};

#[tokio::test]
async fn trailers_pass_both_ways_and_are_replayed() {
    let between = Between::start().await;
    for key in ["", "Idempotency-Key: k\r\n"] {
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: a\r\n{key}TE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: up\r\n\r\n"
        );
        let mut client = Client::connect(between.proxy.address()).await;
        client.send(request.as_bytes()).await;
        let mut upstream = between.accept().await;
        let head = upstream.head().await;
        assert_eq!(values(&head, "te"), ["trailers"]);
        assert_eq!(values(&head, "trailer"), ["x-sum"]);
        let body = upstream.head().await;
        assert_eq!(body.to_lowercase(), "4\r\nbody\r\n0\r\nx-sum: up\r\n\r\n");
        upstream
            .send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nX-Sum: down\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.body, b"ok");
        assert_eq!(answer.trailers, [("x-sum".to_owned(), b"down".to_vec())]);
        if !key.is_empty() {
            client.send(request.as_bytes()).await;
            let replay = client.answer().await;
            assert_eq!(replay.field("x-idempotency-replay").unwrap(), "true");
            assert_eq!(
                (replay.body, replay.trailers),
                (answer.body, answer.trailers)
            );
        }
    }
    assert!(between.nobody_came());
}

#[tokio::test]
async fn trailers_pass_over_http2() {
    let between = Between::start().await;
    let socket = hyper_util::rt::TokioIo::new(between.connect().await.into_stream());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), socket)
            .await
            .unwrap();
    tokio::spawn(connection);
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("up"),
    )]);
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"body"))
        .with_trailers(std::future::ready(Some(Ok(trailers))));
    let request = http::Request::post("http://a/a")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(client.send_request(request));
    let mut upstream = between.accept().await;
    upstream.head().await;
    let body = upstream.head().await;
    assert_eq!(body, "4\r\nbody\r\n0\r\nx-sum: up\r\n\r\n");
    upstream
        .send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: down\r\n\r\n")
        .await;
    let answer = patiently(answer).await.unwrap().unwrap();
    let body = patiently(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "down");
    assert_eq!(body.to_bytes(), "ok");
}
