//! The program while it starts: its store is still being looked for.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/harness.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use support::*;

#[tokio::test]
async fn a_stop_while_the_store_is_looked_for_is_an_orderly_end() {
    for signal in ["-TERM", "-INT"] {
        let upstream = Upstream::start().await;
        let store = RedisServer::absent(&[]);
        let (code, log) = while_starting(&upstream, &store.url(), async |program| {
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
    let absent = RedisServer::absent(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}", silent.local_addr().unwrap());
    for store in [&absent.url(), &silent] {
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
    let mut program = Program::start(&upstream, &store.url());
    patiently(async { while program.page("/livez").await.is_none() {} }).await;
    // Until it ends, each of these is refused or finds nobody.
    let mut refused = 0;
    while program.child.try_wait().unwrap().is_none() {
        if let Some(answer) = program.try_ask(&post("/orders", "k", "a")).await {
            assert_eq!(answer.status, 503);
            refused += 1;
        }
    }
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
        let program = Program::start(upstream, store);
        patiently(async { while program.page("/livez").await != Some(200) {} }).await;
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
}

impl Program {
    fn start(upstream: &Upstream, store: &str) -> Self {
        let (clients, operators) = (free_address(), free_address());
        let child = Command::new(env!("CARGO_BIN_EXE_idemproxy"))
            .args(["run", "--service", "s", "--log-format", "json"])
            .args(["--listen", &clients.to_string()])
            .args(["--admin", &operators.to_string()])
            .args(["--upstream", &upstream.url(), "--store", store])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            clients,
            operators,
            child,
        }
    }

    /// What a client is answered, if it finds anybody.
    async fn try_ask(&self, request: &Request) -> Option<Answer> {
        TcpStream::connect(self.clients).await.ok()?;
        Client::try_once(self.clients, request).await
    }

    /// Status of a page of the operators' listener, once that is there.
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
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        patiently(stderr.read_to_string(&mut log)).await.unwrap();
        let status = patiently(self.child.wait()).await.unwrap();
        (status.code(), log)
    }
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, RedisServer::absent(&[]).port()).into()
}
