//! Thousands of broken requests, the same ones in every run.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::pipe::*;
use crate::support::{Proxy, Upstream, patiently};

#[tokio::test]
async fn mutated_requests_get_one_document_or_one_effect_and_never_both() {
    let upstream = Upstream::start().await;
    let impatient = "[server]\nheader_timeout = \"500ms\"\nbody_idle_timeout = \"500ms\"\n[policy]\nkey_required = true";
    let proxy = Proxy::start(&configuration(&upstream.url(), impatient)).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut passed) = (0, 0);
    for batch in 0..BATCHES {
        let before = upstream.asked();
        let mutants: Vec<_> = (0..MUTANTS)
            .map(|at| {
                let seed = SEEDS[at % SEEDS.len()].replace("{}", &format!("{batch}-{at}"));
                let mut mutant = bytes(&seed);
                for _ in 0..=random.below(3) {
                    random.mutate(&mut mutant);
                }
                mutant
            })
            .collect();
        let talks = mutants.into_iter().map(|mutant| talk(&proxy, mutant));
        let mut made = 0;
        for (sent, answer) in futures_util::future::join_all(talks).await {
            let documents = answer.matches("urn:idemproxy:problem:").count();
            let (made_now, refusals) = (
                heads(&answer, "201"),
                heads(&answer, "4") + heads(&answer, "5"),
            );
            let replays = answer.matches("x-idempotency-replay: true").count();
            // A mutant may be two requests, but only one answer is the last.
            let closes = answer.matches("\r\nconnection: close\r\n").count();
            assert!(closes <= 1, "{sent}\n{answer}");
            assert_eq!(documents, refusals, "{sent}\n{answer}");
            refused += documents;
            made += made_now - replays;
        }
        let entries = upstream.ledger().split_off(before);
        // Whoever got no answer of the upstream was not sent to it.
        assert_eq!(entries.len(), made);
        passed += made;
        for entry in entries {
            let framings = entry.all("content-length").len() + entry.all("transfer-encoding").len();
            assert!(entry.whole && framings <= 1, "{entry:?}");
            assert_eq!(entry.all("host").len(), 1, "{entry:?}");
            let covered = ["POST", "PUT", "PATCH", "DELETE"].contains(&&*entry.method);
            let keys = entry.all("idempotency-key").len();
            assert!(keys == 1 || keys == 0 && !covered, "{entry:?}");
        }
    }
    println!("{refused} refused, {passed} passed");
    assert!(refused > BATCHES * MUTANTS / 5 && passed > BATCHES * MUTANTS / 20);
    proxy.reaches("idemproxy_in_flight", 0.0).await;
    proxy.reaches("idemproxy_connections", 0.0).await;
    assert_eq!(proxy.page("/livez").await.status, 200);
}

/// Answers whose status begins so.
fn heads(answer: &str, status: &str) -> usize {
    ["1.0", "1.1"]
        .iter()
        .map(|version| answer.matches(&format!("HTTP/{version} {status}")).count())
        .sum()
}

async fn talk(proxy: &Proxy, request: Vec<u8>) -> (String, String) {
    let mut client = tokio::net::TcpStream::connect(proxy.address())
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The proxy may be done with it before all is written, and ends what never becomes a request.
    let _ = client.write_all(&request).await;
    while let Ok(read) = timeout(QUIET, client.read_buf(&mut answer)).await {
        if ended(read) {
            return (request.escape_ascii().to_string(), text(answer));
        }
    }
    // Some lost their `Connection: close`.
    patiently(async {
        while answer.is_empty() || proxy.metric("idemproxy_in_flight") > 0.0 {
            if let Ok(read) = timeout(QUIET, client.read_buf(&mut answer)).await
                && ended(read)
            {
                return;
            }
        }
        let _ = client.shutdown().await;
        while !ended(client.read_buf(&mut answer).await) {}
    })
    .await;
    (request.escape_ascii().to_string(), text(answer))
}

/// xorshift64.
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
        match self.below(6) {
            0 => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"\r\n \t:,\0;\xff0"[self.below(10)]),
            3 => bytes.truncate(at.max(1)),
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            _ => {
                let line = bytes[at..].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, line);
            }
        }
    }
}

const SEEDS: [&str; 4] = [
    "POST /a?b=c HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k{}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    "POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"k{}\"\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "PUT http://a/b HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k{}\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    "DELETE /c HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nCookie: c=d\r\nIdempotency-Key: k{}\r\nConnection: close\r\n\r\n",
];
const WORDS: [&str; 8] = [
    "\r\nTransfer-Encoding: chunked",
    "\r\nContent-Length: 3",
    "\r\nHost: b",
    "\r\nIdempotency-Key: k",
    "\r\n\r\n",
    "Connection: Idempotency-Key\r\n",
    "/../",
    "99999999999999999999",
];
const QUIET: Duration = Duration::from_millis(250);
const BATCHES: usize = 6;
const MUTANTS: usize = 500;

/// Nothing more comes. What was refused before all of it was read may end in a reset.
fn ended(read: std::io::Result<usize>) -> bool {
    match read {
        Ok(count) => count == 0,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    }
}
