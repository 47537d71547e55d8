//! The operator's listener, over real sockets.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    clippy::duplicate_mod
)]

#[path = "../support/harness.rs"]
mod support;

mod command;
mod desk;
mod guarded;
mod literal;
mod page;
mod paged;
mod unread;
mod world;

/// What holds in every store.
macro_rules! suite {
    ($name:ident, $backing:ident) => {
        #[path = "."]
        mod $name {
            const STORE: crate::world::Backing = crate::world::Backing::$backing;

            mod changed;
            mod listed;
            mod settled;
        }
    };
}

suite!(memory, Memory);
suite!(embedded, Embedded);
suite!(redis, Redis);

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idemproxy::admin::{Admin, Handling, Operated, Report, serve_admin};
use idemproxy::idempotency::digest::Digest;
use idemproxy::idempotency::{Key, Terms};
use idemproxy::store::AnyStore;
use idemproxy::telemetry::{Metrics, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Program {
    ready: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Report for Program {
    fn ready(&self) -> Result<(), &'static str> {
        if self.ready.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err("draining")
        }
    }

    fn details(&self) -> Vec<String> {
        vec!["store: up".to_owned(), "upstream: up".to_owned()]
    }

    fn observe(&self) {
        self.metrics.request("orders", Outcome::Replayed);
    }
}

/// Before the store is open.
struct Nothing;

impl Operated for Nothing {
    fn store(&self) -> Option<Arc<AnyStore>> {
        None
    }

    fn terms(&self, _: &str) -> Terms {
        unreachable!("there is no record")
    }

    fn handling(&self, _: &str) -> Option<Handling> {
        None
    }

    fn digest(&self, _: &Key) -> Digest {
        unreachable!("nothing is listed")
    }

    fn max_response(&self) -> u64 {
        0
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({})
    }
}

struct Running {
    addr: SocketAddr,
    program: Arc<Program>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    metrics.request("orders", Outcome::Executed);
    let program = Arc::new(Program {
        ready: AtomicBool::new(true),
        metrics: metrics.clone(),
    });
    let admin = Admin {
        report: program.clone(),
        metrics,
        reload: Arc::default(),
        operated: Arc::new(Nothing),
        hosts: Arc::new(["admin.internal".to_owned()]),
        token: None,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_admin(
        listener,
        admin,
        async move { drop(stopped.await) },
    ));
    Running {
        addr,
        program,
        stop,
        serving,
    }
}

impl Running {
    async fn ask(&self, head: &str) -> String {
        let mut client = TcpStream::connect(self.addr).await.unwrap();
        client
            .write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn probes_tell_life_and_readiness() {
    let running = start().await;
    let answer = running.ask("GET /livez HTTP/1.1\r\nHost: localhost").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok\n"),
        "{answer}"
    );
    let answer = running
        .ask("GET /readyz HTTP/1.1\r\nHost: admin.internal")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nready\n"),
        "{answer}"
    );
    running.program.ready.store(false, Ordering::SeqCst);
    let answer = running
        .ask("GET /readyz?verbose HTTP/1.1\r\nHost: 127.0.0.1")
        .await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nnot ready: draining\nstore: up\nupstream: up\n"),
        "{answer}"
    );
    let answer = running.ask("HEAD /livez HTTP/1.0").await;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_metrics_are_brought_up_to_date_before_they_are_shown() {
    let running = start().await;
    for times in 1..=2 {
        let answer = running
            .ask("GET /metrics HTTP/1.1\r\nHost: localhost")
            .await;
        let line =
            format!("idemproxy_requests_total{{route=\"orders\",outcome=\"replayed\"}} {times}\n");
        assert!(answer.contains(&line), "{answer}");
    }
}

#[tokio::test]
async fn the_metrics_page_is_openmetrics() {
    let answer = start()
        .await
        .ask("GET /metrics HTTP/1.1\r\nHost: [::1]:9090")
        .await;
    assert!(
        answer.contains(
            "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{answer}"
    );
    assert!(
        answer.contains("\nidemproxy_requests_total{route=\"orders\",outcome=\"executed\"} 1\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"));
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_refused() {
    let running = start().await;
    for (head, status) in [
        ("GET /v2 HTTP/1.1\r\nHost: localhost", 404),
        ("GET /v1/ HTTP/1.1\r\nHost: localhost", 404),
        ("GET /v1/keys HTTP/1.1\r\nHost: localhost", 503),
        ("POST /livez HTTP/1.1\r\nHost: localhost", 405),
        ("GET /livez HTTP/1.1\r\nHost: rebound.example", 421),
        (
            "GET /livez HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example",
            403,
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site",
            403,
        ),
    ] {
        let answer = running.ask(head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}\n{answer}"
        );
        assert!(answer.contains(&format!("\"status\":{status}")), "{answer}");
        assert_eq!(answer.contains("\r\nallow: GET, HEAD\r\n"), status == 405);
    }
}

#[tokio::test]
async fn it_stops_when_told_so() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.addr).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'H');
    running.stop.send(()).unwrap();
    running.serving.await.unwrap();
}
