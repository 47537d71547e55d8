//! Bodies on their way: piece by piece, and no faster than the slower side.

use crate::pipe::*;

#[tokio::test]
async fn events_arrive_as_they_are_sent_with_a_key_and_without() {
    let between = Between::start().await;
    for request in [
        "GET /events HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /events HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = between.sent(request).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n")
            .await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        if request.starts_with("POST") {
            assert_eq!(values(&head, "x-idempotency-state"), ["in-flight"]);
            assert_eq!(values(&head, "x-idempotency-stored"), ["false"]);
        }
        for at in 0..5 {
            upstream.send(format!("data: {at}\n\n")).await;
            client.until(&format!("data: {at}\n\n")).await;
        }
        drop(upstream);
        client.until("\r\n0\r\n\r\n").await;
    }
    let mut again = between
        .sent("POST /events HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await;
    assert_problem(&again.rest().await, 409, "response-not-stored");
}

#[tokio::test]
async fn an_upload_arrives_as_it_is_sent() {
    let between = Between::config("[policy]\nmax_buffered_request = \"16B\"").await;
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut client = between
            .sent(format!(
                "POST /a HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n"
            ))
            .await;
        let piece = "14\r\n01234567890123456789\r\n";
        client.send(piece).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        for _ in 0..5 {
            upstream.until(piece).await;
            client.send(piece).await;
        }
        client.send("0\r\n\r\n").await;
        upstream.until("0\r\n\r\n").await;
        upstream
            .send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_upstream() {
    let between = Between::start().await;
    for request in [
        "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /large HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = between.sent(request).await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let sent = upstream.stuff(PIECE, LARGE).await;
        println!("an answer is held up after {sent} bytes");
        assert!(sent < HELD_UP, "{sent} bytes went to nobody");
        let reading = tokio::spawn(async move {
            client.head().await;
            let body = client.body(LARGE).await;
            is_pieces(&body)
        });
        upstream.send(&rest_after(sent)).await;
        assert!(reading.await.unwrap(), "the answer is another one");
    }
}

#[tokio::test]
async fn an_upstream_that_stops_reading_stops_the_client() {
    let between = Between::start().await;
    for key in ["", "Idempotency-Key: k\r\n"] {
        let mut client = between
            .sent(format!(
                "POST /large HTTP/1.1\r\nHost: a\r\n{key}Content-Length: {LARGE}\r\n\r\n"
            ))
            .await;
        let sent = client.stuff(PIECE, LARGE).await;
        println!("an upload is held up after {sent} bytes");
        assert!(sent < HELD_UP, "{sent} bytes came from nobody");
        let mut upstream = between.accept().await;
        let reading = tokio::spawn(async move {
            upstream.head().await;
            let body = upstream.body(LARGE).await;
            upstream
                .send("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")
                .await;
            is_pieces(&body)
        });
        client.send(&rest_after(sent)).await;
        assert!(reading.await.unwrap(), "the upload is another one");
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let between = Between::config("[policy]\nmax_stored_response = \"8B\"").await;
    for (request, framing) in [
        ("GET", "Content-Length: 100"),
        ("GET", "Transfer-Encoding: chunked"),
        ("POST", "Content-Length: 100"),
        ("POST", "Transfer-Encoding: chunked"),
    ] {
        let mut client = between
            .sent(format!("{request} / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {}\r\nContent-Length: 0\r\n\r\n", framing.len()))
            .await;
        let mut upstream = between.accept().await;
        upstream.head().await;
        upstream
            .send(format!(
                "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n14\r\n01234567890123456789\r\n"
            ))
            .await;
        client.until("6789").await;
        drop(upstream);
        let mut stream = client.into_stream();
        let mut rest = Vec::new();
        let _ =
            crate::support::patiently(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest))
                .await;
        assert!(
            rest.len() < 70 && !rest.ends_with(b"0\r\n\r\n"),
            "{}",
            text(rest)
        );
    }
}

fn rest_after(sent: usize) -> Vec<u8> {
    let mut rest = PIECE.repeat(LARGE / PIECE.len() + 1);
    rest.truncate(LARGE);
    rest.split_off(sent)
}

fn is_pieces(body: &[u8]) -> bool {
    body.chunks(PIECE.len())
        .all(|piece| *piece == PIECE[..piece.len()])
}

/// Prime, so that a piece lost or doubled shows.
const PIECE: &[u8] = &{
    let mut piece = [0; 65_521];
    let mut at = 0;
    while at < piece.len() {
        piece[at] = (at * 31 % 127) as u8;
        at += 1;
    }
    piece
};
const LARGE: usize = 48 << 20;
/// The buffers of four sockets, and what the proxy holds.
const HELD_UP: usize = 32 << 20;
