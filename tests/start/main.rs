//! The program while it starts: its store is still being looked for.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/harness.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

use support::*;

#[tokio::test]
async fn a_stop_while_the_store_is_looked_for_is_an_orderly_end() {
    for signal in ["-TERM", "-INT"] {
        let upstream = Upstream::start().await;
        let absent = Upstream::absent();
        let store = format!("redis://{}", absent.address());
        let (code, log) = while_starting(&upstream, &store, async |program| {
            program.signal(signal).await;
            true
        })
        .await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[tokio::test]
async fn while_the_store_is_looked_for_the_rest_flows_and_claims_are_refused() {
    let upstream = Upstream::start().await;
    let absent = Upstream::absent();
    let refusing = format!("redis://{}", absent.address());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}", silent.local_addr().unwrap());
    for store in [&refusing, &silent] {
        let (code, log) = while_starting(&upstream, store, async |program| {
            let plain = Client::once(program.clients, &get("/orders")).await;
            assert_eq!(plain.status, 201);
            let plain = Client::once(program.clients, &post("/orders", "", "a")).await;
            assert_eq!(plain.status, 201);
            let asked = upstream.asked();
            let keyed = Client::once(program.clients, &post("/orders", "k", "a")).await;
            assert_eq!(keyed.status, 503);
            let error = keyed.field("X-Idempotency-Error");
            assert_eq!(error.as_deref(), Some("store-unavailable"));
            assert_eq!(upstream.asked(), asked);
            let still = program.starting().await;
            program.signal("-TERM").await;
            still
        })
        .await;
        assert_eq!(code, Some(0), "{log}");
    }
}

#[tokio::test]
async fn a_store_that_may_drop_records_ends_the_start_and_takes_no_claim_before() {
    let upstream = Upstream::start().await;
    let store = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut program = Program::start(&upstream, &store.url()).await;
    // Until it ends, each of these is refused or finds nobody.
    let mut refused = 0;
    let looked = async {
        while program.child.try_wait().unwrap().is_none() {
            if let Some(answer) = program.try_ask(&post("/orders", "k", "a")).await {
                assert_eq!(answer.status, 503);
                refused += 1;
            }
        }
    };
    patiently(looked).await;
    println!("{refused} claims were refused before the end");
    let (code, log) = program.ended().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("maxmemory-policy is allkeys-lru"), "{log}");
    assert_eq!(upstream.asked(), 0);
    assert_eq!(store.get("idemproxy:probe"), None);
}

/// Does this with a program that has not finished its start, and waits until it ended; again from the beginning where the start
/// was over too early.
async fn while_starting(
    upstream: &Upstream,
    store: &str,
    act: impl AsyncFn(&Program) -> bool,
) -> (Option<i32>, String) {
    for _ in 0..20 {
        let program = Program::start(upstream, store).await;
        if program.starting().await && act(&program).await {
            let (code, log) = program.ended().await;
            if !log.contains("store: redis at") {
                return (code, log);
            }
        }
    }
    panic!("its start was over each time");
}

struct Program {
    clients: SocketAddr,
    operators: SocketAddr,
    child: Child,
    /// Its log up to here, and the rest.
    log: String,
    stderr: BufReader<ChildStderr>,
}

impl Program {
    /// Runs it until it listens.
    async fn start(upstream: &Upstream, store: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_idemproxy"))
            .args(["run", "--service", "s", "--log-format", "json"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--upstream", &upstream.url(), "--store", store])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut log = String::new();
        let mut listener = async |name: &str| loop {
            let mut line = String::new();
            let read = patiently(stderr.read_line(&mut line)).await.unwrap();
            assert!(read > 0, "it ended:\n{log}");
            log.push_str(&line);
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["message"] == name {
                break event["address"].as_str().unwrap().parse().unwrap();
            }
        };
        Self {
            clients: listener("listening").await,
            operators: listener("listening for operators").await,
            child,
            log,
            stderr,
        }
    }

    /// What a client is answered, if it finds anybody.
    async fn try_ask(&self, request: &Request) -> Option<Answer> {
        TcpStream::connect(self.clients).await.ok()?;
        Client::try_once(self.clients, request).await
    }

    /// Status of a page of the operators' listener.
    async fn page(&self, path: &str) -> Option<u16> {
        let mut page = get(path);
        let host = self.operators.to_string().into_bytes();
        page.fields = vec![("Host".to_owned(), host)];
        let answer = Client::try_once(self.operators, &page).await?;
        Some(answer.status)
    }

    async fn starting(&self) -> bool {
        self.page("/readyz").await == Some(503)
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let kill = Command::new("/bin/kill").args([signal, &pid]).status();
        assert!(kill.await.unwrap().success());
    }

    /// Its exit code and its log, once it has ended by itself.
    async fn ended(mut self) -> (Option<i32>, String) {
        patiently(self.stderr.read_to_string(&mut self.log))
            .await
            .unwrap();
        let status = patiently(self.child.wait()).await.unwrap();
        (status.code(), self.log)
    }
}
