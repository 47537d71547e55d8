//! What is said of requests that went wrong, byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

/// A body fed by hand; dropping the sender ends it.
fn channel_body() -> (
    mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>,
    wire::Body,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, StreamBody::new(stream).boxed_unsync())
}

fn upload(body: wire::Body) -> Request<wire::Body> {
    Request::post("/things")
        .header("host", "api.example")
        .body(body)
        .unwrap()
}

async fn not_sent(upstream: &Upstream) -> (Request<wire::Body>, NotSentReason) {
    match upstream.send(post("precious"), Reuse::OnlyYoung).await {
        Err(SendError::NotSent { request, reason }) => (*request, reason),
        other => panic!("{other:?}"),
    }
}

async fn unanswered(upstream: &Upstream, request: Request<wire::Body>) -> UnansweredReason {
    match upstream.send(request, Reuse::Any).await {
        Err(SendError::Unanswered(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_connection_gives_the_request_back_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (request, reason) = not_sent(&upstream_at(address)).await;
    assert!(matches!(reason, NotSentReason::Connect(_)), "{reason}");
    assert_eq!(request.uri(), "/things");
    assert_eq!(
        request.into_body().collect().await.unwrap().to_bytes(),
        "precious"
    );
}

#[tokio::test]
async fn a_name_without_address_is_not_sent() {
    let mut settings = settings("http", "127.0.0.1:1".parse().unwrap());
    settings.origin = "http://name.invalid:80".parse().unwrap();
    let (_, reason) = not_sent(&Upstream::new(&settings).unwrap()).await;
    assert!(matches!(reason, NotSentReason::Resolve(_)), "{reason}");
}

#[tokio::test]
async fn a_handshake_that_hangs_is_not_sent() {
    let address = listen(|_, stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let ca_file = files.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.cert.pem()).unwrap();
    let mut settings = settings("https", address);
    settings.connect_timeout = Duration::from_millis(50);
    settings.tls.ca_file = Some(ca_file);
    let (_, reason) = not_sent(&Upstream::new(&settings).unwrap()).await;
    assert!(matches!(reason, NotSentReason::ConnectTimeout), "{reason}");
}

#[tokio::test]
async fn a_connection_closed_at_once_never_counts_as_answered() {
    let address = listen(|_, stream| async move { drop(stream) }).await;
    // Whether the close is seen before the first byte is the network's affair.
    let outcome = upstream_at(address).send(post("x"), Reuse::OnlyYoung).await;
    assert!(
        matches!(
            outcome,
            Err(SendError::NotSent {
                reason: NotSentReason::Closed,
                ..
            } | SendError::Unanswered(UnansweredReason::Lost(_)))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_request_read_and_then_closed_or_reset_is_unanswered_and_not_repeated() {
    for with_reset in [false, true] {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let address = listen(move |_, mut stream| {
            let counter = Arc::clone(&counter);
            async move {
                read_request(&mut stream).await;
                counter.fetch_add(1, Ordering::SeqCst);
                if with_reset {
                    reset(stream);
                }
            }
        })
        .await;
        let upstream = upstream_at(address);
        let reason = unanswered(&upstream, post("x")).await;
        assert!(matches!(reason, UnansweredReason::Lost(_)), "{reason}");
        // On a fresh connection, not even a GET.
        unanswered(&upstream, get()).await;
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn half_a_head_is_unanswered() {
    let address = listen(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Le")
            .await
            .unwrap();
    })
    .await;
    unanswered(&upstream_at(address), post("x")).await;
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_unanswered() {
    let address = listen(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            .await
            .unwrap();
    })
    .await;
    let reason = unanswered(&upstream_at(address), post("x")).await;
    assert!(matches!(reason, UnansweredReason::Malformed(_)), "{reason}");
}

#[tokio::test]
async fn a_head_without_end_is_unanswered_and_bounded() {
    let address = listen(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    })
    .await;
    let reason = unanswered(&upstream_at(address), post("x")).await;
    assert!(matches!(reason, UnansweredReason::Malformed(_)), "{reason}");
}

#[tokio::test]
async fn a_body_that_is_cut_ends_in_an_error() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let address = listen(move |_, mut stream| async move {
            read_request(&mut stream).await;
            stream.write_all(cut.as_bytes()).await.unwrap();
        })
        .await;
        let response = upstream_at(address)
            .send(post("x"), Reuse::Any)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "half");
        assert!(body.frame().await.unwrap().is_err());
    }
}

#[tokio::test]
async fn an_answer_of_a_hundred_header_lines_is_read_and_one_more_leaves_doubt() {
    for (lines, is_read) in [(100, true), (101, false)] {
        let address = listen(move |_, mut stream| async move {
            read_request(&mut stream).await;
            let fields = "a: b\r\n".repeat(lines - 1);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
        })
        .await;
        let answered = upstream_at(address).send(post("x"), Reuse::Any).await;
        match answered {
            Ok(response) => assert!(is_read && response.headers().len() == lines),
            Err(error) => assert!(
                !is_read && matches!(error, SendError::Unanswered(UnansweredReason::Malformed(_))),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn informational_answers_are_passed_over() {
    let address = listen(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            )
            .await
            .unwrap();
        answer(&mut stream, "the answer").await;
    })
    .await;
    let response = upstream_at(address)
        .send(post("x"), Reuse::Any)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "the answer");
}

#[tokio::test]
async fn an_early_answer_to_an_upload_is_an_answer_and_its_connection_is_not_used_again() {
    let address = listen(|number, mut stream| async move {
        let mut some = [0; 64];
        stream.read_exact(&mut some).await.unwrap();
        let refusal =
            format!("HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\n{number}");
        stream.write_all(refusal.as_bytes()).await.unwrap();
        // The connection stays open as far as this upstream is concerned, until we close it.
        while stream.read(&mut some).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let upstream = upstream_at(address);
    for number in ["0", "1"] {
        let (sender, body) = channel_body();
        sender
            .send(Ok(Frame::data(Bytes::from_static(b"the first of many"))))
            .unwrap();
        let response = upstream.send(upload(body), Reuse::Any).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response).await, number);
        // Nobody takes the rest of the upload.
        let gone = tokio::time::timeout(Duration::from_secs(20), sender.closed());
        gone.await.expect("the upload is let go");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_never_looks_complete() {
    let (done, mut received) = mpsc::unbounded_channel();
    let address = listen(move |_, mut stream| {
        let done = done.clone();
        async move {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            done.send(String::from_utf8(all).unwrap()).unwrap();
        }
    })
    .await;
    let upstream = upstream_at(address);
    let (sender, body) = channel_body();
    sender
        .send(Ok(Frame::data(Bytes::from_static(b"one"))))
        .unwrap();
    let breaking = async {
        tokio::task::yield_now().await;
        sender.send(Err("the client left".into())).unwrap();
    };
    let (reason, ()) = tokio::join!(unanswered(&upstream, upload(body)), breaking);
    assert!(matches!(reason, UnansweredReason::Upload(_)), "{reason}");
    let received = received.recv().await.unwrap();
    assert!(!received.contains("\r\n0\r\n"), "{received}");
}

#[tokio::test]
async fn both_framings_reach_the_upstream_as_the_body_is() {
    let (heads, mut received) = mpsc::unbounded_channel();
    let address = listen(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            let mut all = Vec::new();
            while !(all.ends_with(b"0\r\n\r\n")
                || all.ends_with(b"\r\n\r\nsized")
                || all.ends_with(b": 0\r\n\r\n"))
            {
                stream.read_buf(&mut all).await.unwrap();
            }
            heads.send(String::from_utf8(all).unwrap()).unwrap();
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
        }
    })
    .await;
    let upstream = upstream_at(address);

    // A length that lies, and an encoding of the client's connection: neither is believed.
    let mut sized = post("sized");
    sized
        .headers_mut()
        .insert("content-length", "3".parse().unwrap());
    sized
        .headers_mut()
        .insert("transfer-encoding", "chunked".parse().unwrap());
    *sized.version_mut() = http::Version::HTTP_2;
    upstream.send(sized, Reuse::Any).await.unwrap();
    let sized = received.recv().await.unwrap();
    assert!(
        sized.contains("HTTP/1.1\r\n") && sized.contains("content-length: 5\r\n"),
        "{sized}"
    );
    assert!(!sized.contains("transfer-encoding"), "{sized}");

    let mut empty = post("");
    empty
        .headers_mut()
        .insert("content-length", "7".parse().unwrap());
    upstream.send(empty, Reuse::Any).await.unwrap();
    assert!(
        received
            .recv()
            .await
            .unwrap()
            .contains("content-length: 0\r\n")
    );

    for method in ["POST", "GET"] {
        let (sender, body) = channel_body();
        sender
            .send(Ok(Frame::data(Bytes::from_static(b"one"))))
            .unwrap();
        sender
            .send(Ok(Frame::data(Bytes::from_static(b"three"))))
            .unwrap();
        drop(sender);
        let mut chunked = upload(body);
        *chunked.method_mut() = method.parse().unwrap();
        upstream.send(chunked, Reuse::Any).await.unwrap();
        let chunked = received.recv().await.unwrap();
        assert!(
            chunked.contains("transfer-encoding: chunked\r\n"),
            "{chunked}"
        );
        assert!(
            chunked.ends_with("3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"),
            "{chunked}"
        );
    }
}

#[tokio::test]
async fn trailers_reach_the_reader_and_the_connection_is_used_again() {
    let address = listen(|number, mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n1\r\n{number}\r\n0\r\nx-sum: 7\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let upstream = upstream_at(address);
    for _ in 0..2 {
        let response = upstream.send(get(), Reuse::Any).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
        assert_eq!(collected.to_bytes(), "0");
    }
}

/// A gate that is fresh up to a moment, and from then on says one thing.
struct Renewing {
    fresh_until: Instant,
    says: Option<Instant>,
    asked: AtomicUsize,
}

impl Renewing {
    fn from(fresh_until: Instant, says: Option<Instant>) -> Self {
        Self {
            fresh_until,
            says,
            asked: AtomicUsize::new(0),
        }
    }
}

impl Gate for Renewing {
    fn fresh_until(&self) -> Instant {
        self.fresh_until
    }

    fn renew(&self) -> BoxFuture<'_, Option<Instant>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::ready(self.says).boxed()
    }
}

fn just_before() -> Instant {
    Instant::now() - Duration::from_millis(1)
}

#[tokio::test]
async fn a_closed_gate_keeps_every_byte_back() {
    let received = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&received);
    let address = listen(move |_, mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            counter.fetch_add(bytes.len() + 1, Ordering::SeqCst);
        }
    })
    .await;
    let gate = Renewing::from(just_before(), None);
    let upstream = upstream_at(address);
    let outcome = upstream
        .send_through(post("x"), Reuse::OnlyYoung, Some(&gate))
        .await;
    let Err(SendError::NotSent {
        request,
        reason: NotSentReason::GateClosed,
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(request.body().size_hint().exact(), Some(1));
    until(|| received.load(Ordering::SeqCst) > 0).await;
    assert_eq!(received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_gate_is_asked_only_once_it_is_stale() {
    let address = listen(numbering).await;
    let upstream = upstream_at(address);
    let far = Instant::now() + Duration::from_secs(3600);
    for (fresh_until, times) in [(far, 0), (just_before(), 1)] {
        let gate = Renewing::from(fresh_until, Some(far));
        let sent = upstream.send_through(post("x"), Reuse::OnlyYoung, Some(&gate));
        text(sent.await.unwrap()).await;
        assert_eq!(gate.asked.load(Ordering::SeqCst), times);
    }
}

#[tokio::test]
async fn an_upgrade_becomes_a_pipe() {
    let address = listen(|_, mut stream| async move {
        let request = read_request(&mut stream).await.unwrap();
        assert!(request.contains("upgrade: echo"), "{request}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello ")
            .await
            .unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
    })
    .await;
    let mut settings = settings("http", address);
    settings.max_connections = 1;
    settings.connect_timeout = Duration::from_millis(50);
    let upstream = Upstream::new(&settings).unwrap();
    let mut request = get();
    headers::set_upgrade(request.headers_mut(), "echo".parse().unwrap());
    let mut response = upstream.send(request, Reuse::Any).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    drop(response);
    let mut pipe = hyper_util::rt::TokioIo::new(upgraded);
    // It still counts as a connection.
    let (_, reason) = not_sent(&upstream).await;
    assert!(
        matches!(reason, NotSentReason::NoConnectionFree),
        "{reason}"
    );
    pipe.write_all(b"world").await.unwrap();
    let mut all = String::new();
    pipe.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "hello world");
}
