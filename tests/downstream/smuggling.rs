//! Requests made to be misread: one problem document, and the service is not called.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

/// What is sent, and the status it gets.
const REFUSED: &[(&str, &[u8], u16)] = &[
    ("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("two hosts, old", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("host list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("host with path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("host with user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("host with bad port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
    ("gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked, identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("quoted chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("chunked, old", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("length list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    ("equal lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    ("equal lengths of none", b"GET / HTTP/1.1\r\nHost: a\r\ncontent-length:0\r\nX: y\r\nCONTENT-LENGTH: 0\r\n\r\n", 400),
    ("length +1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
    ("length -1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", 400),
    ("length 0x1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400),
    ("empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    ("space before colon", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx", 400),
    ("folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    ("bare CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 400),
    ("GET *", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("authority as target", b"GET a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 400),
    ("user in target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("UTF-8 in target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("space in target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no version", b"GET /\r\n\r\n", 400),
    ("another version", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("noise", b"\xff\xfe\xfd\x00\x01\x02\r\n\r\n", 400),
];

#[tokio::test]
async fn ambiguous_requests_get_one_problem_document_and_reach_nobody() {
    let server = Server::start().await;
    for (name, bytes, status) in REFUSED {
        // What follows must not be read as a second request.
        let with_follower = [bytes, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()].concat();
        for bytes in [bytes.to_vec(), with_follower] {
            let answer = server.talk(&bytes).await;
            println!("{name}: {}", answer.lines().next().unwrap_or(""));
            assert_problem(&answer, *status, "bad-request");
        }
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_malformed_request_behind_good_ones_gets_its_own_document() {
    let server = Server::start().await;
    let answer = server.talk(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nG@T / HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_problem(
        &answer[answer.rfind("HTTP/1.1 ").unwrap()..],
        400,
        "bad-request",
    );
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn a_repeated_length_is_seen_in_a_later_head_that_comes_in_pieces_and_never_in_a_body() {
    let server = Server::start().await;
    let lengths = "Content-Length: 1\r\nContent-Length: 1\r\n\r\n";
    let mut client = server.connect().await;
    for body in [
        lengths.to_owned(),
        format!("\r\n\r\n{lengths}").repeat(5000),
    ] {
        let head = format!(
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        for piece in [&head[..20], &head[20..], &body[..9], &body[9..]] {
            client.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        read_until(&mut client, &format!("with {}", body.len())).await;
    }
    // Two at once: the second one's head is read as the first one's body is wanted.
    let both = format!(
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{lengths}GET /c HTTP/1.1\r\nHost: a\r\n\r\n",
        lengths.len()
    );
    client.write_all(both.as_bytes()).await.unwrap();
    read_until(&mut client, "GET /c at a with 0").await;
    let head = format!("POST /d HTTP/1.1\r\nHost: a\r\n{lengths}x");
    for piece in head.as_bytes().chunks(7) {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_problem(&read_to_end(&mut client).await, 400, "bad-request");
    assert_eq!(server.calls(), 4);
}

#[tokio::test]
async fn what_the_parser_settles_has_one_reading() {
    let server = Server::start().await;
    let close = "Connection: close\r\n\r\n";
    for (request, reading) in [
        (
            format!("GET http://real:81/a?b HTTP/1.1\r\nHost: other\r\n{close}"),
            "GET /a?b at real:81 with 0",
        ),
        (
            format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{close}"),
            "OPTIONS * at a with 0",
        ),
        (
            format!("GET /a#b HTTP/1.1\r\nHost: a\r\n{close}"),
            "GET /a at a with 0",
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "GET / at  with 0"),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n{close}1\r\nx\r\n0\r\n\r\n"
            ),
            "POST / at a with 1",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nX: obs-\u{e9}\r\nTransfer-Encoding: CHUNKED\r\n{close}0\r\n\r\n"
            ),
            "POST / at a with 0",
        ),
    ] {
        let answer = server.talk(request.as_bytes()).await;
        assert!(
            answer.ends_with(&format!("\r\n\r\n{reading}")),
            "{request}\n{answer}"
        );
    }
}

#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_refused_over_http2() {
    let server = Server::start().await;
    let (mut client, _) = server.http2().await;
    for (host, status) in [("real", 200), ("other", 400)] {
        let request = http::Request::get("http://real/")
            .header("host", host)
            .body(String::new())
            .unwrap();
        assert_eq!(
            patiently(client.send_request(request))
                .await
                .unwrap()
                .status(),
            status
        );
    }
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn mutated_requests_get_at_most_one_document_each_and_break_nothing() {
    let server = Server::start().await;
    let seeds = [
        "POST /a?b=c HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "PUT http://a/b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut told = 0;
    for batch in 0..60 {
        let talks = (0..50).map(|at| {
            let mut bytes = seeds[(batch + at) % seeds.len()].as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                random.mutate(&mut bytes);
            }
            let server = &server;
            async move {
                let mut client = server.connect().await;
                // The server may be done with it before all is written.
                let _ = client.write_all(&bytes).await;
                let _ = client.shutdown().await;
                let mut answer = Vec::new();
                if let Err(error) = patiently(client.read_to_end(&mut answer)).await {
                    // Who leaves in the middle of a request is not told goodbye.
                    let unsaid = error.kind() == std::io::ErrorKind::UnexpectedEof;
                    assert!(super::TLS && unsaid, "{error}: {}", bytes.escape_ascii());
                }
                let answer = String::from_utf8_lossy(&answer);
                let documents = answer.matches("urn:idemproxy:problem:").count();
                assert!(documents <= 1, "{}\n{answer}", bytes.escape_ascii());
                let sent = bytes.escape_ascii().to_string();
                assert_eq!(
                    answer.contains("HTTP/1.1 4") || answer.contains("HTTP/1.0 4"),
                    documents == 1,
                    "{sent}\n{answer}"
                );
                documents
            }
        });
        told += futures_util::future::join_all(talks)
            .await
            .into_iter()
            .sum::<usize>();
    }
    assert!(told > 500, "only {told} of 3000 were refused");
    assert!(
        server
            .talk(b"GET / HTTP/1.0\r\n\r\n")
            .await
            .starts_with("HTTP/1.0 200")
    );
}

/// xorshift64: the same requests in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(5) {
            0 => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"\r\n \t:,\0;\xff0"[self.below(10)]),
            3 => bytes.truncate(at.max(1)),
            _ => {
                let line = bytes[at..].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, line);
            }
        }
    }
}
