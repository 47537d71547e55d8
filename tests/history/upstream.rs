//! A naive API that knows nothing of keys, keeps a ledger, and misbehaves by a seeded plan.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::history::now;
use super::ledger::{Act, Ledger, Sent};
use super::options::{Dice, digest};

/// An API: each request that it receives whole has an effect, unless its plan for this request is another.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    ledger: Ledger,
    /// Nothing but good answers.
    calm: AtomicBool,
    /// For keys of their own.
    told: Mutex<HashMap<String, Act>>,
}

struct Head {
    key: String,
    caller: String,
    request: u64,
    length: usize,
}

impl Upstream {
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seed,
            ledger: Ledger::default(),
            calm: AtomicBool::new(false),
            told: Mutex::default(),
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let shared = accepting.clone();
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Whether it behaves from now on.
    pub fn behave(&self, calm: bool) {
        self.shared.calm.store(calm, Ordering::Relaxed);
    }

    /// Does this with the first request of a key.
    pub fn tell(&self, key: &str, act: Act) {
        self.shared.told.lock().unwrap().insert(key.to_owned(), act);
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut unread = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = unread.windows(4).position(|part| part == b"\r\n\r\n") {
                    break at + 4;
                }
                if stream.read_buf(&mut unread).await.ok()? == 0 {
                    return None;
                }
            };
            let head = Head::parse(&unread[..end]);
            unread.drain(..end);
            while unread.len() < head.length {
                if stream.read_buf(&mut unread).await.ok()? == 0 {
                    return None;
                }
            }
            let body: Vec<u8> = unread.drain(..head.length).collect();
            self.carry_out(&mut stream, &head, &body).await?;
        }
    }

    /// None when the connection is over.
    async fn carry_out(&self, stream: &mut TcpStream, head: &Head, body: &[u8]) -> Option<()> {
        let plan = |before| self.plan(head, before);
        let (number, act) =
            self.ledger
                .receive(&head.key, &head.caller, head.request, digest(body), plan);
        let effect = || self.ledger.effect(number);
        match act {
            Act::Do => effect(),
            Act::Slow(before, after) => {
                sleep(Duration::from_millis(before)).await;
                effect();
                sleep(Duration::from_millis(after)).await;
            }
            Act::Decline(status) | Act::NotDone(status) => {
                return self.answer(stream, head, number, status).await;
            }
            Act::Gateway(status, done) => {
                if done {
                    effect();
                }
                return self.answer(stream, head, number, status).await;
            }
            Act::Close {
                effect: done,
                reset,
            } => {
                if done {
                    effect();
                }
                if reset {
                    let socket = socket2::SockRef::from(&*stream);
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
                return None;
            }
            Act::Cut(length) => {
                effect();
                let (bytes, _) = answer(self.seed, head, number, 201);
                let length = length.min(bytes.len() - 1);
                let _ = stream.write_all(&bytes[..length]).await;
                return None;
            }
            Act::Silent { effect: done } => {
                if done {
                    effect();
                }
                // Until the proxy leaves.
                while stream.read_u8().await.is_ok() {}
                return None;
            }
        }
        self.answer(stream, head, number, 201).await
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        head: &Head,
        number: u64,
        status: u16,
    ) -> Option<()> {
        let (bytes, sent) = answer(self.seed, head, number, status);
        self.ledger.answer(number, sent);
        stream.write_all(&bytes).await.ok()
    }

    fn plan(&self, head: &Head, before: u64) -> Act {
        let told = self.told.lock().unwrap().remove(&head.key);
        if let Some(act) = told {
            return act;
        }
        let names = [
            head.key.as_bytes(),
            head.caller.as_bytes(),
            &before.to_be_bytes(),
        ];
        let mut dice = Dice::new(self.seed, &names);
        let roll = dice.below(100);
        let effect = dice.percent(50);
        if self.calm.load(Ordering::Relaxed) {
            return if roll < 20 { Act::Slow(2, 3) } else { Act::Do };
        }
        match roll {
            0..=8 => Act::Slow(dice.between(5, 150), dice.between(5, 150)),
            9..=11 => Act::Slow(dice.between(200, 700), dice.between(0, 700)),
            12..=15 => Act::Decline([402, 404, 422][dice.below(3)]),
            16..=21 => Act::NotDone([500, 503, 401, 429, 501][dice.below(5)]),
            22..=23 => Act::Gateway([502, 504][dice.below(2)], effect),
            24..=26 => Act::Close {
                effect,
                reset: dice.percent(50),
            },
            27 => Act::Cut(dice.below(400)),
            28 => Act::Silent { effect },
            _ => Act::Do,
        }
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let mut head = Self {
            key: String::new(),
            caller: "nobody".to_owned(),
            request: 0,
            length: 0,
        };
        for line in String::from_utf8_lossy(bytes).split("\r\n").skip(1) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => head.key = value.to_owned(),
                "authorization" => head.caller = value.to_owned(),
                "x-request" => head.request = value.parse().unwrap(),
                "content-length" => head.length = value.parse().unwrap(),
                "transfer-encoding" => {
                    panic!("bodies of these clients are small, and have a length")
                }
                _ => {}
            }
        }
        head
    }
}

/// An answer that names its visit, and holds what is easily lost: NUL, bytes that are no text, repeated headers.
fn answer(seed: u64, head: &Head, number: u64, status: u16) -> (Vec<u8>, Sent) {
    let mut dice = Dice::new(seed, &[b"answer", &number.to_be_bytes()]);
    let length = dice.below(2_000);
    let body = [
        format!("{}\0{}\0{number}\0", head.key, head.caller).into_bytes(),
        vec![0xff, 0xfe, 0, 0xc3],
        dice.bytes(length),
    ]
    .concat();
    let fields = [
        ("content-type", b"application/octet-stream".to_vec()),
        ("x-visit", number.to_string().into_bytes()),
        ("x-part", format!("b{}", dice.below(9)).into_bytes()),
        ("x-part", format!("a{}", dice.below(9)).into_bytes()),
        ("x-raw", b"caf\xe9 \"\xff\"".to_vec()),
    ];
    let mut bytes = format!("HTTP/1.1 {status} Said\r\n").into_bytes();
    for (name, value) in &fields {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    let sent = Sent {
        at: now(),
        status,
        body: digest(&body),
        headers: headers_digest(fields.iter().map(|(name, value)| (*name, value.as_slice()))),
    };
    (bytes, sent)
}

/// Of end-to-end headers: the order of names means nothing, that of one name's values does.
pub fn headers_digest<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> u64 {
    let mut fields: Vec<_> = fields
        .filter(|(name, _)| !name.starts_with("x-idempotency-") && !PER_HOP.contains(name))
        .collect();
    fields.sort_by_key(|(name, _)| *name);
    let mut text = Vec::new();
    for (name, value) in fields {
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        text.extend_from_slice(value);
        text.push(0);
    }
    digest(&text)
}

const PER_HOP: [&str; 5] = ["connection", "content-length", "date", "keep-alive", "via"];
