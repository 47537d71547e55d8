//! Ordinary exchanges, and what goes wrong in the middle of one.

use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let answer = server
        .talk(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let at = |text: &str| {
        answer
            .find(text)
            .unwrap_or_else(|| panic!("{text} is missing in {answer}"))
    };
    assert!(at("POST /1 at a with 3") < at("GET /2 at a") && at("GET /2 at a") < at("GET /3 at a"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_gets_the_authority_as_host() {
    let server = Server::start().await;
    let (mut client, _) = server.http2().await;
    let request = http::Request::post("http://real:81/a?b")
        .body("four".to_owned())
        .unwrap();
    let answer = patiently(client.send_request(request)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "POST /a?b at real:81 with 4");
}

#[tokio::test]
async fn a_request_over_http2_that_panics_at_once_leaves_the_others_alone() {
    let server = Server::start().await;
    let (mut client, _) = server.http2().await;
    let mut send = |path: &str| {
        let request = http::Request::get(format!("http://a{path}"));
        patiently(client.send_request(request.body(String::new()).unwrap()))
    };
    let (waits, panics) = (send("/gate"), send("/panic"));
    assert!(panics.await.is_err());
    assert_eq!(send("/").await.unwrap().status(), 200);
    server.open_gate();
    assert_eq!(waits.await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_hundred_continue_is_sent_once_the_service_wants_the_body() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let head = b"POST /gate HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\n";
    client.write_all(head).await.unwrap();
    server.called(1).await;
    let mut byte = [0];
    assert!(
        client.read(&mut byte).now_or_never().is_none(),
        "something was sent before the service read"
    );
    server.open_gate();
    assert_eq!(
        read_until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.write_all(b"x").await.unwrap();
    assert!(read_to_end(&mut client).await.ends_with("with 1"));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_ends_is_read_by_its_client() {
    let server = Server::start().await;
    for request in [
        "POST /early HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\n",
        "P@ST / HTTP/1.1\r\n",
    ] {
        let mut client = server.connect().await;
        client
            .write_all(format!("{request}Content-Length: 5242880\r\n\r\n").as_bytes())
            .await
            .unwrap();
        // A client that writes all of it before it reads.
        patiently(client.write_all(&vec![b'x'; 5 << 20]))
            .await
            .unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .write_all(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = patiently(client.read_to_end(&mut answer)).await;
    assert!(!answer.ends_with(b"0\r\n\r\n"), "{}", answer.escape_ascii());

    // Without a length only a reset tells.
    let mut client = server.connect().await;
    client
        .write_all(b"GET /cut HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    assert!(patiently(client.read_to_end(&mut answer)).await.is_err());
}

#[tokio::test]
async fn answers_of_the_service_that_look_like_the_parsers_are_left_alone() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client
            .write_all(b"GET /bare HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(
            read_until(&mut client, "\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 400 Bad Request")
        );
    }
    client
        .write_all(b"GET /mimic HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(
        answer.ends_with("\r\n\r\nHTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        "{answer}"
    );

    let answer = server.talk(b"GET /bare HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 400 Bad Request") && !answer.contains("problem"),
        "{answer}"
    );
}
