//! Thousands of broken requests, the same ones in every run.

use crate::pipe::*;
use crate::support::{Proxy, Upstream, patiently};

#[tokio::test]
async fn mutated_requests_get_one_document_or_one_effect_and_never_both() {
    let upstream = Upstream::start().await;
    let config = configuration(&upstream.url(), "[policy]\nkey_required = true");
    let proxy = Proxy::start(&config).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut passed) = (0, 0);
    for number in 0..MUTANTS {
        let seed = SEEDS[number % SEEDS.len()].replace("{}", &number.to_string());
        let mut mutant = bytes(&seed);
        for _ in 0..=random.below(3) {
            random.mutate(&mut mutant);
        }
        let before = upstream.asked();
        let answer = exchange(&proxy, &mutant).await;
        let sent = mutant.escape_ascii();
        let documents = answer.matches("urn:idemproxy:problem:").count();
        let heads = answer.matches("HTTP/1.1 4").count() + answer.matches("HTTP/1.0 4").count();
        let gone = answer.matches("HTTP/1.1 5").count() + answer.matches("HTTP/1.0 5").count();
        let asked = upstream.asked() - before;
        assert!(documents <= 1, "{sent}\n{answer}");
        assert_eq!(documents, heads + gone, "{sent}\n{answer}");
        // A cut or doubled request may hold another whole one before what is wrong.
        let answered =
            answer.matches(" As Told\r\n").count() + answer.matches("HTTP/1.1 201").count();
        assert!(
            asked <= answered.max(usize::from(gone > 0)),
            "asked {asked} times: {sent}\n{answer}"
        );
        refused += documents;
        passed += asked;
        for entry in upstream.ledger().drain(before..) {
            assert!(
                entry.all("host").len() == 1 && entry.all("idempotency-key").len() == 1,
                "{sent}\n{entry:?}"
            );
            assert!(
                entry.all("content-length").len() + entry.all("transfer-encoding").len() == 1,
                "{sent}\n{entry:?}"
            );
        }
    }
    println!("{refused} refused, {passed} passed");
    assert!(refused > MUTANTS / 5 && passed > MUTANTS / 20);
    proxy.reaches("idemproxy_in_flight", 0.0).await;
    assert_eq!(proxy.page("/livez").await.status, 200);
}

async fn exchange(proxy: &Proxy, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut client = tokio::net::TcpStream::connect(proxy.address())
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The proxy may be done with it before all is written.
    let _ = client.write_all(request).await;
    let _ = client.shutdown().await;
    patiently(client.read_to_end(&mut answer)).await.unwrap();
    text(answer)
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
const MUTANTS: usize = 3000;
