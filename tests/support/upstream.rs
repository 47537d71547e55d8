//! An upstream that does to each request what it is told, and keeps a ledger of what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::eventually;

/// An upstream on 127.0.0.1. A request meets the next [`Act`] that was scripted, or else a plain `201`.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    /// Bound, so that the port is its own, and not listening: connections are refused.
    absent: Option<TcpSocket>,
    stop: CancellationToken,
}

/// Holds an act up until it is opened.
pub type Gate = CancellationToken;

/// What happens to one request.
#[derive(Clone, Debug)]
pub struct Act {
    reading: Reading,
    steps: Vec<Step>,
}

/// How much of a request is read before anything is done.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// All of it.
    Whole,
    /// The head, and this much of the body.
    Head(usize),
}

/// One thing that is done to a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes one by one.
    Trickle(Vec<u8>),
    /// Goes on when the gate opens.
    Wait(Gate),
    /// Reads what is left of the request.
    ReadOn,
    /// Closes in order.
    Fin,
    /// Resets.
    Reset,
    /// Does nothing, for ever.
    Never,
}

/// A request that came in.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// All of it was read: this is what counts as carried out.
    pub whole: bool,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Act>>,
    ledger: Mutex<Vec<Entry>>,
    connections: std::sync::atomic::AtomicUsize,
}

impl Upstream {
    /// One that listens.
    pub async fn start() -> Self {
        let mut upstream = Self::absent();
        upstream.listen();
        upstream
    }

    /// One that refuses every connection, until [`Upstream::listen`].
    pub fn absent() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            state: Arc::default(),
            absent: Some(socket),
            stop: CancellationToken::new(),
        }
    }

    /// Listens from now on.
    pub fn listen(&mut self) {
        let socket = self.absent.take().expect("it does not listen yet");
        let listener = socket.listen(1024).unwrap();
        let (state, stop) = (self.state.clone(), self.stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(accept(listener, state)).await });
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds what happens to a request that comes after those scripted before.
    pub fn next(&self, act: impl Into<Act>) -> &Self {
        self.state.script().push_back(act.into());
        self
    }

    /// Every request of which a head came.
    pub fn asked(&self) -> usize {
        self.state.ledger().len()
    }

    /// Every request that came whole: the effects.
    pub fn executions(&self) -> usize {
        self.state
            .ledger()
            .iter()
            .filter(|entry| entry.whole)
            .count()
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.state
            .connections
            .load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What came in, in order.
    pub fn ledger(&self) -> Vec<Entry> {
        self.state.ledger().clone()
    }

    /// The last request.
    pub fn last(&self) -> Entry {
        self.state.ledger().last().expect("a request came").clone()
    }

    /// Waits until so many heads came.
    #[track_caller]
    pub fn asked_for(&self, count: usize) -> impl Future<Output = ()> {
        let state = self.state.clone();
        eventually(move || state.ledger().len() >= count)
    }

    /// Waits until so many requests came whole.
    #[track_caller]
    pub fn executed(&self, count: usize) -> impl Future<Output = ()> {
        let state = self.state.clone();
        eventually(move || state.ledger().iter().filter(|entry| entry.whole).count() >= count)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl State {
    fn script(&self) -> MutexGuard<'_, VecDeque<Act>> {
        self.script.lock().unwrap()
    }

    fn ledger(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.ledger.lock().unwrap()
    }
}

impl Entry {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// An answer that is put together, and sent in one piece.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Head and body, with the length of the body.
    pub fn bytes(&self) -> Vec<u8> {
        let length = format!("Content-Length: {}", self.body.len());
        // RFC 9110, 8.6: no length in a 204.
        let framing = if self.status == 204 || self.status == 304 {
            ""
        } else {
            &length
        };
        [self.head(framing), self.body.clone()].concat()
    }

    /// The head alone, with a line that frames the body, or none.
    pub fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} As Told\r\n", self.status).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        if !framing.is_empty() {
            head.extend_from_slice(framing.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The head, for a body in chunks that further steps send.
    pub fn chunked(&self) -> Act {
        Act::new([Step::Send(self.head("Transfer-Encoding: chunked"))])
    }

    /// The same answer, when the gate opens.
    pub fn after(&self, gate: &Gate) -> Act {
        Act::new([Step::Wait(gate.clone()), Step::Send(self.bytes())])
    }

    /// The head of the answer and the first `count` bytes of its body, of which more are promised.
    pub fn cut_after(&self, count: usize) -> Act {
        let length = format!("Content-Length: {}", self.body.len());
        Act::new([
            Step::Send(self.head(&length)),
            Step::Send(self.body[..count].to_vec()),
        ])
    }
}

/// One chunk of a chunked body; the empty one ends it.
pub fn chunk(data: impl AsRef<[u8]>) -> Step {
    let data = data.as_ref();
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    Step::Send(bytes)
}

impl Act {
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            reading: Reading::Whole,
            steps: steps.into_iter().collect(),
        }
    }

    #[must_use]
    pub fn reading(mut self, reading: Reading) -> Self {
        self.reading = reading;
        self
    }

    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl From<Reply> for Act {
    fn from(reply: Reply) -> Self {
        Self::new([Step::Send(reply.bytes())])
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state
            .connections
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let connection = Connection {
            stream,
            unread: Vec::new(),
            state: state.clone(),
        };
        tokio::spawn(connection.serve());
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    state: Arc<State>,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    /// Until the client leaves, or an act ends the connection.
    async fn serve(mut self) -> Option<()> {
        loop {
            let head = self.until(b"\r\n\r\n").await?;
            let (entry, mut framing) = parse(&head);
            let (number, act) = {
                let mut ledger = self.state.ledger();
                ledger.push(entry);
                // Under the same lock, so that acts meet requests in the order of the ledger.
                let act = self.state.script().pop_front();
                (ledger.len(), act)
            };
            let plain = || {
                Reply::new(201)
                    .field("Content-Type", "text/plain")
                    .body(format!("made {number}"))
                    .into()
            };
            let act = act.unwrap_or_else(plain);
            let number = number - 1;
            match act.reading {
                Reading::Whole => self.body(number, &mut framing, usize::MAX).await?,
                Reading::Head(count) => self.body(number, &mut framing, count).await?,
            }
            for step in act.steps {
                match step {
                    Step::Send(bytes) => self.stream.write_all(&bytes).await.ok()?,
                    Step::Trickle(bytes) => {
                        for byte in bytes {
                            self.stream.write_all(&[byte]).await.ok()?;
                            tokio::task::yield_now().await;
                        }
                    }
                    Step::Wait(gate) => gate.cancelled().await,
                    Step::ReadOn => self.body(number, &mut framing, usize::MAX).await?,
                    Step::Fin => return None,
                    Step::Reset => {
                        socket2::SockRef::from(&self.stream)
                            .set_linger(Some(Duration::ZERO))
                            .unwrap();
                        return None;
                    }
                    Step::Never => std::future::pending().await,
                }
            }
        }
    }

    /// Reads on, until all of the body or `enough` of it is in the ledger.
    async fn body(&mut self, number: usize, framing: &mut Framing, enough: usize) -> Option<()> {
        loop {
            if let Framing::Length(0) = framing {
                self.state.ledger()[number].whole = true;
                return Some(());
            }
            if self.state.ledger()[number].body.len() >= enough {
                return Some(());
            }
            let data = match framing {
                Framing::Length(left) => {
                    if self.unread.is_empty() {
                        self.fill().await?;
                    }
                    let count = self.unread.len().min(*left);
                    *left -= count;
                    self.unread.drain(..count).collect()
                }
                Framing::Chunked => {
                    let line = self.until(b"\r\n").await?;
                    let size = usize::from_str_radix(lossy(&line).trim(), 16).ok()?;
                    if size == 0 {
                        loop {
                            let line = self.until(b"\r\n").await?;
                            if line == b"\r\n" {
                                break;
                            }
                            self.state.ledger()[number].trailers.push(field(&line));
                        }
                        *framing = Framing::Length(0);
                    }
                    let data = self.take(size).await?;
                    if size > 0 {
                        self.take(2).await?;
                    }
                    data
                }
            };
            self.state.ledger()[number].body.extend(data);
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|part| part == end) {
                return self.take(at + end.len()).await;
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            self.fill().await?;
        }
        Some(self.unread.drain(..count).collect())
    }

    async fn fill(&mut self) -> Option<()> {
        let count = self.stream.read_buf(&mut self.unread).await.ok()?;
        (count > 0).then_some(())
    }
}

fn parse(head: &[u8]) -> (Entry, Framing) {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() > 1);
    let first = lossy(lines.next().unwrap());
    let mut words = first.split(' ');
    let entry = Entry {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        fields: lines.map(field).collect(),
        ..Entry::default()
    };
    let framing = if entry.field("transfer-encoding").is_some() {
        Framing::Chunked
    } else {
        let length = entry.field("content-length");
        Framing::Length(length.map_or(0, |length| length.parse().unwrap()))
    };
    (entry, framing)
}

fn field(line: &[u8]) -> (String, String) {
    let line = lossy(line);
    let (name, value) = line.split_once(':').unwrap();
    (name.to_owned(), value.trim().to_owned())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
