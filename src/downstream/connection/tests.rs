use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::wire::Body;

/// Our end of a connection that echoes the bodies of requests.
struct Client {
    stream: DuplexStream,
    served: JoinHandle<End>,
    shutdown: Shutdown,
    socket: Arc<Seen>,
}

/// What is seen of the socket, and how it behaves.
struct Seen {
    /// How much was asked for at the last read: little where hyper is done without.
    room: AtomicUsize,
    /// Whether a flush comes to its end.
    flushes: AtomicBool,
    /// Whether a shutdown does.
    shuts: AtomicBool,
}

impl Client {
    fn new() -> Self {
        Self::of(echo)
    }

    /// Our end of a connection to this handler.
    fn of(handler: impl Handler) -> Self {
        let (stream, socket) = duplex(64 * 1024);
        let settings = Arc::new(settings());
        let seen = Arc::new(Seen {
            room: AtomicUsize::new(0),
            flushes: AtomicBool::new(true),
            shuts: AtomicBool::new(true),
        });
        let socket = Observed {
            inner: socket,
            seen: seen.clone(),
        };
        let link = Arc::new(Link::default());
        let shutdown = Shutdown::new();
        let stopping = shutdown.clone();
        let served = tokio::spawn(async move {
            let (io, _handed_back) =
                ClientIo::new(socket, (), Instant::now(), link.clone(), &settings);
            let exchange = Exchange {
                handler,
                peer: Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), "http")),
                settings: settings.clone(),
                present: (*settings).clone().into_shared(),
                metrics: Arc::new(Metrics::new()),
                link,
            };
            speak(io, exchange, &Protocols::new(&settings), &stopping).await
        });
        Self {
            stream,
            served,
            shutdown,
            socket: seen,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Fails where another answer comes than this one, or none.
    async fn expect(&mut self, body: &str) {
        let mut answer = Vec::new();
        while !answer.ends_with(body.as_bytes()) || !answer.windows(4).any(|w| w == b"\r\n\r\n") {
            assert_ne!(self.stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }

    fn is_without_hyper(&self) -> bool {
        self.socket.room.load(Ordering::Relaxed) < MIN_OF_HYPER
    }

    async fn end(self) -> End {
        self.served.await.unwrap()
    }
}

async fn echo(
    request: Request<Body>,
    _: Arc<Peer>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(http::Response::new(Full::new(body)))
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_does_without_hyper_until_it_is_asked_again() {
    let mut client = Client::new();
    assert!(client.is_without_hyper());
    for body in ["one", "two", "three"] {
        client.send(&post(body)).await;
        client.expect(body).await;
        assert!(!client.is_without_hyper());
        sleep(REST).await;
        assert!(client.is_without_hyper());
    }
    drop(client.stream.shutdown().await);
    assert_eq!(client.end().await, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_asked_several_times_a_second_keeps_hyper_in_between() {
    let mut client = Client::new();
    let between = Duration::from_millis(400);
    for (rest, is_without_hyper) in [
        (between, true),
        (between, false),
        (between, false),
        (REST, true),
        (between, true),
    ] {
        client.send(&post("x")).await;
        client.expect("x").await;
        sleep(rest).await;
        assert_eq!(client.is_without_hyper(), is_without_hyper);
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_request_with_the_one_before_outlasts_a_rest() {
    let mut client = Client::new();
    let two = post("two");
    let (begin, rest) = two.split_at(10);
    client.send(&(post("one") + begin)).await;
    client.expect("one").await;
    sleep(REST).await;
    client.send(rest).await;
    client.expect("two").await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_began_with_the_request_before_is_bounded_as_any() {
    for more in [false, true] {
        let mut client = Client::new();
        client.send(&(post("one") + "POST / HT")).await;
        client.expect("one").await;
        let begun = Instant::now();
        sleep(REST).await;
        if more {
            client.send("TP/1.1\r\nHo").await;
        }
        client.end().await;
        assert_eq!(begun.elapsed(), settings().header_timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_client_has_not_taken_is_not_let_go_of() {
    let mut client = Client::new();
    let body = "x".repeat(256 * 1024);
    client.send(&post(&body)).await;
    sleep(REST * 4).await;
    assert!(!client.is_without_hyper());
    client.expect(&body).await;
    sleep(REST).await;
    client.send(&post("after it")).await;
    client.expect("after it").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_is_closed_at_a_drain() {
    for rest in [Duration::from_millis(1), REST] {
        let mut client = Client::new();
        client.send(&post("one")).await;
        client.expect("one").await;
        sleep(rest).await;
        client.shutdown.drain();
        assert_eq!(client.end().await, End::Idle);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_has_an_end() {
    let mut client = Client::new();
    client.send(&post("one")).await;
    client.expect("one").await;
    let begun = Instant::now();
    assert_eq!(client.end().await, End::Done);
    assert_eq!(begun.elapsed().as_secs(), 75);
}

#[tokio::test(start_paused = true)]
async fn a_rest_after_an_upload_that_outlasted_its_answer_has_an_end() {
    let (give, mut given) = unbounded_channel();
    let mut client = Client::of(move |request: Request<Body>, _| {
        give.send(request.into_body()).unwrap();
        std::future::ready(Ok(http::Response::new(Full::from("early"))))
    });
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        .await;
    client.expect("early").await;
    client.send("x").await;
    // hyper has it, and goes on to the next head.
    sleep(REST).await;
    let mut body = given.recv().await.unwrap();
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(last.into_data().unwrap(), "x");
    let begun = Instant::now();
    let end = timeout(Duration::from_secs(1000), client.end()).await;
    assert_eq!(end.unwrap(), End::Done);
    assert_eq!(begun.elapsed().as_secs(), 75);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_is_not_served_on() {
    let mut client = Client::new();
    client.socket.shuts.store(false, Ordering::Relaxed);
    let last = post("one").replace("Host", "Connection: close\r\nHost");
    client.send(&last).await;
    client.expect("one").await;
    sleep(REST).await;
    client.send(&post("two")).await;
    sleep(REST).await;
    let mut answer = [0; 64];
    let read = timeout(REST, client.stream.read(&mut answer)).await;
    assert!(!matches!(read, Ok(Ok(1..))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_answer_left_late_rests_then() {
    let mut client = Client::new();
    client.socket.flushes.store(false, Ordering::Relaxed);
    client.send(&post("one")).await;
    client.expect("one").await;
    sleep(REST).await;
    assert!(!client.is_without_hyper());
    client.socket.flushes.store(true, Ordering::Relaxed);
    sleep(REST).await;
    assert!(client.is_without_hyper());
    client.send(&post("two")).await;
    client.expect("two").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_whole_request_yet_holds_up_no_drain() {
    for left in ["\r\n", "\n", "POST / HT"] {
        let mut client = Client::new();
        client.send(&(post("one") + left)).await;
        client.expect("one").await;
        sleep(REST).await;
        client.shutdown.drain();
        assert_eq!(client.end().await, End::Idle, "{left:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_are_answered_in_order_however_they_are_cut_and_whenever_they_come(
        bodies in prop::collection::vec("[a-z]{0,40}", 1..6),
        pieces in prop::collection::vec((1..200_usize, 0..800_u64), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let answers = runtime.block_on(async {
            let mut client = Client::new();
            let mut last = post("the last one");
            last = last.replace("Host", "Connection: close\r\nHost");
            let all: String = bodies.iter().map(|body| post(body)).collect::<String>() + &last;
            let mut rest = all.as_str();
            for (length, pause) in pieces.into_iter().cycle() {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                client.send(piece).await;
                rest = after;
                if rest.is_empty() {
                    break;
                }
                sleep(Duration::from_millis(pause)).await;
            }
            let mut answers = String::new();
            client.stream.read_to_string(&mut answers).await.unwrap();
            answers
        });
        let mut answered = Vec::new();
        let mut rest = answers.as_str();
        while let Some((head, after)) = rest.split_once("\r\n\r\n") {
            prop_assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            answered.push(&after[..length]);
            rest = &after[length..];
        }
        let asked: Vec<&str> = bodies.iter().map(String::as_str).chain(["the last one"]).collect();
        prop_assert_eq!(answered, asked);
    }
}

/// Sees how much room each read has, and can fail to flush and to shut down.
struct Observed {
    inner: DuplexStream,
    seen: Arc<Seen>,
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.seen.room.store(buf.remaining(), Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    // As a real socket does: hyper writes otherwise then.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.seen.flushes.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.seen.shuts.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn settings() -> ServerSettings {
    ServerSettings {
        max_connections: 1,
        max_in_flight: 1,
        max_buffered_total: 0,
        max_waiters: 0,
        header_timeout: Duration::from_secs(60),
        body_idle_timeout: Duration::from_secs(30),
        max_header_bytes: 64 * 1024,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        trust_forwarded: Vec::new(),
        voice: Arc::default(),
        tls: None,
    }
}

/// Long enough for hyper to be done without.
const REST: Duration = Duration::from_secs(1);
/// hyper reads no less.
const MIN_OF_HYPER: usize = 4096;
