//! A client that sends bytes, and sees an answer as it is on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::patiently;

/// One connection of a client.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A request as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// A `POST` with a key and a body.
pub fn post(target: &str, key: &str, body: impl AsRef<[u8]>) -> Request {
    let request = Request::new("POST", target).body(body);
    if key.is_empty() {
        request
    } else {
        request.field("Idempotency-Key", key)
    }
}

/// A `GET`, which no policy covers.
pub fn get(target: &str) -> Request {
    Request::new("GET", target)
}

/// An answer, as it was on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// In order, names as they came.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    pub ending: Ending,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its framing says.
    Whole,
    /// The connection was closed, or reset, before that.
    Cut,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![("Host".to_owned(), b"api.example".to_vec())],
            body: Vec::new(),
        }
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Head and body, with the length of the body.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(self.body.len()), self.body.clone()].concat()
    }

    /// The head alone, for a body of `length`.
    pub fn head(&self, length: usize) -> Vec<u8> {
        self.head_with(&format!("Content-Length: {length}"))
    }

    /// The head alone, for a body in chunks.
    pub fn chunked_head(&self) -> Vec<u8> {
        self.head_with("Transfer-Encoding: chunked")
    }

    fn head_with(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(framing.as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        head
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends one request on a connection of its own, and reads the answer.
    pub async fn once(address: SocketAddr, request: &Request) -> Answer {
        let mut client = Self::connect(address).await;
        client.send(&request.bytes()).await;
        client.answer_to(&request.method).await
    }

    /// The same with a server that may be dying: its answer, as far as any came.
    pub async fn try_once(address: SocketAddr, request: &Request) -> Option<Answer> {
        let stream = patiently(TcpStream::connect(address)).await.ok()?;
        let mut client = Self {
            stream,
            unread: Vec::new(),
        };
        client.send(&request.bytes()).await;
        let head = patiently(client.until(b"\r\n\r\n")).await?;
        Some(client.rest_of(parse(&head)).await)
    }

    /// Sends bytes; a peer that does not take them any more is found at the answer.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = patiently(self.stream.write_all(bytes)).await;
    }

    /// Says that nothing more comes, and goes on reading.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves with a reset.
    pub fn abort(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Reads one answer to its end.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("POST").await
    }

    /// As [`Client::answer`], for a method whose answer may have no body.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let answer = self.head().await;
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return answer;
        }
        self.rest_of(answer).await
    }

    /// Reads the body of an answer whose head was read.
    pub async fn rest_of(&mut self, mut answer: Answer) -> Answer {
        let rest = patiently(self.rest(&mut answer)).await;
        answer.ending = if rest.is_some() {
            Ending::Whole
        } else {
            Ending::Cut
        };
        answer
    }

    /// Reads one answer; nothing if the connection ends before it is whole.
    pub async fn answer_before_the_end(&mut self) -> Option<Answer> {
        let head = patiently(self.until(b"\r\n\r\n")).await?;
        let answer = self.rest_of(parse(&head)).await;
        (answer.ending == Ending::Whole).then_some(answer)
    }

    /// Reads the head of an answer, those of interim answers left out.
    pub async fn head(&mut self) -> Answer {
        loop {
            let head = patiently(self.until(b"\r\n\r\n")).await.expect("an answer");
            let mut answer = parse(&head);
            if answer.status >= 200 {
                answer.ending = Ending::Whole;
                return answer;
            }
            answer.fields.clear();
        }
    }

    /// Reads until so many bytes of the body, framing included, have come.
    pub async fn peek_until(&mut self, text: &[u8]) {
        patiently(async {
            while !self.unread.windows(text.len()).any(|window| window == text) {
                assert!(self.fill().await, "closed before {:?}", lossy(text));
            }
        })
        .await;
    }

    /// Whether anything has come that was not read.
    pub async fn has_bytes(&mut self) -> bool {
        let soon = std::time::Duration::from_millis(20);
        !self.unread.is_empty() || matches!(tokio::time::timeout(soon, self.fill()).await, Ok(true))
    }

    /// Whether the connection ends without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !patiently(self.fill()).await
    }

    async fn rest(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.field("transfer-encoding").as_deref() == Some("chunked") {
            loop {
                let line = self.until(b"\r\n").await?;
                let size = usize::from_str_radix(lossy(&line).trim(), 16).unwrap();
                if size == 0 {
                    loop {
                        let line = self.until(b"\r\n").await?;
                        if line == b"\r\n" {
                            return Some(());
                        }
                        answer.trailers.push(field(&line));
                    }
                }
                answer.body.extend(self.take(size).await?);
                self.take(2).await?;
            }
        }
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap();
            while self.unread.len() < length {
                if !self.fill().await {
                    answer.body = std::mem::take(&mut self.unread);
                    return None;
                }
            }
            answer.body = self.take(length).await?;
            return Some(());
        }
        let mut ended = false;
        while !ended {
            match self.stream.read_buf(&mut self.unread).await {
                Ok(n) => ended = n == 0,
                Err(_) => return None,
            }
        }
        answer.body = std::mem::take(&mut self.unread);
        Some(())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|part| part == end) {
                return self.take(at + end.len()).await;
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.unread).await, Ok(n) if n > 0)
    }
}

impl Answer {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| lossy(value))
            .collect()
    }

    pub fn text(&self) -> String {
        lossy(&self.body)
    }

    /// The body, read as a problem document.
    pub fn document(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.status, self.ending)?;
        for (name, value) in &self.fields {
            write!(f, "\n{name}: {}", lossy(value))?;
        }
        let start = &self.body[..self.body.len().min(300)];
        write!(f, "\n\n{} ({} bytes)", lossy(start), self.body.len())
    }
}

fn parse(head: &[u8]) -> Answer {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() > 1);
    let first = lossy(lines.next().unwrap());
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        fields: lines.map(field).collect(),
        body: Vec::new(),
        trailers: Vec::new(),
        ending: Ending::Whole,
    }
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    (
        lossy(&line[..colon]),
        line[colon + 1..].trim_ascii().to_vec(),
    )
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
