//! Bodies of any size in constant memory: the program as a process of its own, so that its memory is its own.
//!
//! The download is 256 MiB, so that the suite stays short; with `IDEMPROXY_TEST_FULL_BODIES=1` it is the full 1 GiB.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/harness.rs"]
mod support;

use std::net::SocketAddr;

use ring::digest::{Context, SHA256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use self::support::{Process, patiently};

#[tokio::test]
async fn a_large_upload_is_streamed_and_its_duplicate_hashed_and_neither_is_kept() {
    let (proxy, upstream) = between().await;
    let memory = Memory::of(&proxy).await;
    let first = tokio::spawn(upload(proxy.address(), UPLOAD, 1));
    let mut asked = Peer::accept(&upstream).await;
    let head = asked.head().await;
    assert!(
        head.contains(&format!("content-length: {UPLOAD}\r\n")),
        "{head}"
    );
    assert_eq!(
        asked.hash(UPLOAD).await,
        hash(UPLOAD, 1),
        "it arrived changed"
    );
    asked
        .send(b"HTTP/1.1 201 Made\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmade")
        .await;
    assert!(patiently(first).await.unwrap().starts_with("HTTP/1.1 201 "));
    memory.assert_steady("an upload of 64 MiB");

    let replay = upload(proxy.address(), UPLOAD, 1).await;
    assert!(
        replay.starts_with("HTTP/1.1 201 ") && replay.ends_with("\r\n\r\nmade"),
        "{replay}"
    );
    assert!(
        replay.contains("\r\nx-idempotency-replay: true\r\n"),
        "{replay}"
    );
    memory.assert_steady("its duplicate");

    let other = upload(proxy.address(), UPLOAD, 2).await;
    assert!(
        other.contains("\r\nx-idempotency-error: key-reused\r\n"),
        "{other}"
    );
    memory.assert_steady("another upload under its key");
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, upstream.accept()).await;
    assert!(nobody.is_err(), "a duplicate reached the upstream");
}

#[tokio::test]
async fn a_large_download_is_streamed_and_not_kept() {
    let size = if std::env::var_os("IDEMPROXY_TEST_FULL_BODIES").is_some() {
        1 << 30
    } else {
        256 << 20
    };
    let (proxy, upstream) = between().await;
    let memory = Memory::of(&proxy).await;
    let request = b"POST /export HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut client = Peer::connect(proxy.address()).await;
    client.send(request).await;
    let sending = tokio::spawn(async move {
        let mut asked = Peer::accept(&upstream).await;
        asked.head().await;
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
        asked.send(head.as_bytes()).await;
        asked.send_body(size, 3).await;
        upstream
    });
    let head = client.head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("x-idempotency-stored: false"),
        "{head}"
    );
    assert_eq!(client.hash(size).await, hash(size, 3), "it arrived changed");
    assert_eq!(client.rest().await, "");
    memory.assert_steady(&format!("a download of {} MiB", size >> 20));

    let upstream = sending.await.unwrap();
    let mut again = Peer::connect(proxy.address()).await;
    again.send(request).await;
    let answer = again.rest().await;
    assert!(
        answer.contains("\r\nx-idempotency-error: response-not-stored\r\n"),
        "{answer}"
    );
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, upstream.accept()).await;
    assert!(nobody.is_err(), "a duplicate reached the upstream");
}

#[tokio::test]
async fn clients_that_do_not_read_cost_little_each() {
    let (proxy, upstream) = between().await;
    let memory = Memory::of(&proxy).await;
    let mut held = Vec::new();
    for at in 0..STUCK {
        let mut client = Peer::connect(proxy.address()).await;
        let key = if at % 2 == 0 { "X" } else { "Idempotency-Key" };
        let request =
            format!("POST /export HTTP/1.1\r\nHost: a\r\n{key}: {at}\r\nContent-Length: 0\r\n\r\n");
        client.send(request.as_bytes()).await;
        let mut asked = Peer::accept(&upstream).await;
        asked.head().await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30);
        asked.send(head.as_bytes()).await;
        // As much as all the sockets take.
        while let Ok(sent) = tokio::time::timeout(QUIET, asked.stream.write(&PIECE)).await {
            assert!(sent.unwrap() > 0);
        }
        held.push((client, asked));
    }
    memory.assert_steady(&format!("{STUCK} answers that nobody reads"));
}

/// The program, before an upstream that the test plays.
async fn between() -> (Process, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    let config = format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{url}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"memory:\"\n"
    );
    let proxy = Process::start(env!("CARGO_BIN_EXE_idemproxy"), &config).await;
    (proxy, upstream)
}

/// The most memory that a process had at once.
struct Memory {
    process: u32,
    idle: u64,
}

impl Memory {
    async fn of(proxy: &Process) -> Self {
        // Whatever is made once is made by now.
        proxy.page("/metrics").await;
        let process = proxy.id();
        let idle = peak(process);
        Self { process, idle }
    }

    #[track_caller]
    fn assert_steady(&self, after: &str) {
        let grown = peak(self.process) - self.idle;
        println!("{after}: {grown} KiB over {} KiB when idle", self.idle);
        assert!(grown < MOST_KIB, "{after} took {grown} KiB");
    }
}

/// KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Sends a keyed upload; the answer.
async fn upload(proxy: SocketAddr, size: usize, seed: u8) -> String {
    let mut client = Peer::connect(proxy).await;
    let head = format!(
        "POST /import HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
    client.send_body(size, seed).await;
    client.rest().await
}

/// One end of a connection.
struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        Self { stream }
    }

    async fn accept(listener: &TcpListener) -> Self {
        let stream = BufReader::new(patiently(listener.accept()).await.unwrap().0);
        Self { stream }
    }

    async fn send(&mut self, bytes: &[u8]) {
        patiently(self.stream.write_all(bytes)).await.unwrap();
    }

    async fn send_body(&mut self, size: usize, seed: u8) {
        for piece in pieces(size, seed) {
            self.send(&piece).await;
        }
    }

    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = patiently(self.stream.read_line(&mut head)).await.unwrap();
            assert!(read > 0, "it ended after {head:?}");
        }
        head
    }

    async fn hash(&mut self, size: usize) -> Vec<u8> {
        let (mut left, mut hash) = (size, Context::new(&SHA256));
        let mut buffer = vec![0; PIECE.len()];
        while left > 0 {
            let wanted = left.min(buffer.len());
            let read = patiently(self.stream.read(&mut buffer[..wanted]))
                .await
                .unwrap();
            assert!(read > 0, "it ended {left} bytes early");
            hash.update(&buffer[..read]);
            left -= read;
        }
        hash.finish().as_ref().to_vec()
    }

    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        patiently(self.stream.read_to_string(&mut rest))
            .await
            .unwrap();
        rest
    }
}

/// A body of this size, each piece with a number of its own, so that one lost or doubled shows.
fn pieces(size: usize, seed: u8) -> impl Iterator<Item = Vec<u8>> {
    (0..size.div_ceil(PIECE.len())).map(move |at| {
        let mut piece = PIECE[..PIECE.len().min(size - at * PIECE.len())].to_vec();
        piece[0] = seed;
        piece[1..9].copy_from_slice(&at.to_be_bytes());
        piece
    })
}

fn hash(size: usize, seed: u8) -> Vec<u8> {
    let mut hash = Context::new(&SHA256);
    pieces(size, seed).for_each(|piece| hash.update(&piece));
    hash.finish().as_ref().to_vec()
}

static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];
const UPLOAD: usize = 64 << 20;
/// What the program may take over what it has when idle.
const MOST_KIB: u64 = 32 << 10;
const STUCK: usize = 20;
const QUIET: std::time::Duration = std::time::Duration::from_millis(150);
