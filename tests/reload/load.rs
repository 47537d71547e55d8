//! Reloads under load: every request that is sent gets its answer, on connections that stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::*;
use crate::world::*;

/// What clients do until they are told to stop.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    over: AtomicBool,
    number: AtomicUsize,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn key(&self) -> String {
        format!("key-{}", self.number.fetch_add(1, Ordering::SeqCst))
    }

    /// Waits for so many more answers.
    async fn answers(&self, more: usize) {
        let until = self.answered.load(Ordering::SeqCst) + more;
        patiently(async {
            while self.answered.load(Ordering::SeqCst) < until {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// One connection of HTTP/1.1, all the way.
    async fn http1(self: Arc<Self>, address: SocketAddr) {
        let mut client = Client::connect(address).await;
        while self.goes_on() {
            let request = post("/orders", &self.key(), "a body");
            client.send(&request.bytes()).await;
            let answer = client.answer().await;
            assert_eq!(
                (answer.status, answer.ending),
                (201, Ending::Whole),
                "{answer:?}"
            );
            assert_eq!(
                answer.field("x-idempotency-stored").as_deref(),
                Some("true")
            );
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// One connection of HTTP/2 with several streams at once.
    async fn http2(self: Arc<Self>, address: SocketAddr) {
        let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), socket)
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let stream = async || {
            let mut sender = sender.clone();
            while self.goes_on() {
                let request = http::Request::post(format!("http://{address}/orders"))
                    .header("idempotency-key", self.key())
                    .body(Full::new(Bytes::from_static(b"a body")))
                    .unwrap();
                let response = patiently(sender.send_request(request)).await.unwrap();
                assert_eq!(response.status(), 201);
                assert_eq!(response.headers()["x-idempotency-stored"], "true");
                response.into_body().collect().await.unwrap();
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
        };
        futures_util::future::join_all((0..STREAMS).map(|_| stream())).await;
        assert!(!connection.is_finished(), "it was closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_dropped_however_often_the_configuration_changes() {
    let upstreams = [Upstream::start().await, Upstream::start().await];
    let text = |round: usize| {
        let sections = format!(
            "[upstream_connections]\nidle_timeout = \"{}s\"\n[server]\nmax_in_flight = {}\nmax_connections = {}\n[policy]\nretention = \"{}h\"\n[[route]]\nname = \"round-{round}\"\npath = \"/orders\"\n",
            5 + round / 2 % 2,
            1000 + round,
            100 + round,
            1 + round,
        );
        configuration(&upstreams[round / 4 % 2], &sections)
    };
    let file = File::new(&text(0));
    let flags = [("--config", file.path().to_str().unwrap())];
    let process = Process::with_flags(PROGRAM, &flags, &[]).await;
    let load = Arc::new(Load::default());
    let address = process.address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(load.clone().http1(address));
        clients.spawn(load.clone().http2(address));
    }
    load.answers(BETWEEN).await;
    for round in 1..=ROUNDS {
        file.write(&text(round));
        process.hang_up().await;
        patiently(async { while process.metric(APPLIED).await != round as f64 {} }).await;
        load.answers(BETWEEN).await;
    }
    load.over.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let answered = load.answered.load(Ordering::SeqCst);
    let executed = upstreams.each_ref().map(Upstream::executions);
    println!("{answered} answers over {ROUNDS} reloads, {executed:?} executions");
    assert_eq!(answered, load.number.load(Ordering::SeqCst));
    assert_eq!(executed[0] + executed[1], answered);
    assert!(answered >= (ROUNDS + 1) * BETWEEN && executed.iter().all(|count| *count >= BETWEEN));
    assert_eq!(process.metric(REFUSED).await, 0.0);
}

/// Of each protocol.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 4;
const ROUNDS: usize = 24;
/// Answers between two reloads, at least.
const BETWEEN: usize = 100;
