//! Both ends of a proxy, held by the test: every byte in and out, in the order of the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Proxy, patiently};

/// A proxy before an upstream that does what the test does.
pub struct Between {
    pub proxy: Proxy,
    upstream: Option<TcpListener>,
}

impl Between {
    pub async fn start() -> Self {
        Self::config("").await
    }

    /// With whole sections of the configuration.
    pub async fn config(sections: &str) -> Self {
        // Small buffers, so that a peer that does not read is felt soon. Inherited by what is accepted.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.set_send_buffer_size(SMALL).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let upstream = socket.listen(1024).unwrap();
        let url = format!("http://{}", upstream.local_addr().unwrap());
        Self {
            proxy: Proxy::start(&configuration(&url, sections)).await,
            upstream: Some(upstream),
        }
    }

    /// From now on nobody listens where the upstream was.
    pub fn without_upstream(mut self) -> Self {
        self.upstream = None;
        self
    }

    /// A client's connection.
    pub async fn connect(&self) -> Pipe {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.set_send_buffer_size(SMALL).unwrap();
        let stream = patiently(socket.connect(self.proxy.address())).await;
        Pipe::new(stream.unwrap())
    }

    /// A client that has sent these bytes.
    pub async fn sent(&self, bytes: impl AsRef<[u8]>) -> Pipe {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client
    }

    /// The next connection that the proxy opens.
    pub async fn accept(&self) -> Pipe {
        let upstream = self.upstream.as_ref().expect("it listens");
        Pipe::new(patiently(upstream.accept()).await.unwrap().0)
    }

    /// Whether the proxy has opened no further connection.
    pub fn nobody_came(&self) -> bool {
        let upstream = self.upstream.as_ref().expect("it listens");
        futures_util::FutureExt::now_or_never(upstream.accept()).is_none()
    }
}

/// The text of a configuration: memory store, free ports.
pub fn configuration(upstream: &str, sections: &str) -> String {
    let sections = if sections.contains("[admin]") {
        sections.to_owned()
    } else {
        format!("[admin]\nlisten = \"127.0.0.1:0\"\n{sections}")
    };
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\n[store]\nurl = \"memory:\"\n{sections}"
    )
}

/// One end of a connection. Bytes are shown as the Latin-1 characters of the same numbers, so that none is lost.
pub struct Pipe {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Pipe {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends bytes; a peer that takes no more is found when its answer is read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = patiently(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends `piece` again and again until nothing moves any more; how many bytes went.
    pub async fn stuff(&mut self, piece: &[u8], most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            // Told too early that nothing moves, a test passes that it should pass.
            match tokio::time::timeout(STUCK, self.stream.write(&piece[sent % piece.len()..])).await
            {
                Ok(written) => sent += written.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    /// Reads up to and with `end`.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> impl Future<Output = String> {
        let end = bytes(end);
        patiently(async move {
            let mut searched = 0;
            loop {
                let found = self.unread[searched..]
                    .windows(end.len())
                    .position(|window| window == end);
                if let Some(at) = found {
                    let read = self.unread.drain(..searched + at + end.len()).collect();
                    return text(read);
                }
                searched = self.unread.len().saturating_sub(end.len() - 1);
                let count = self.stream.read_buf(&mut self.unread).await.unwrap();
                assert!(count > 0, "it ended after {:?}", text(self.unread.clone()));
            }
        })
    }

    /// Reads a head.
    #[track_caller]
    pub fn head(&mut self) -> impl Future<Output = String> {
        self.until("\r\n\r\n")
    }

    /// Reads so many bytes.
    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> impl Future<Output = String> {
        let body = self.body(count);
        async move { text(body.await) }
    }

    /// Reads so many bytes, as they are.
    #[track_caller]
    pub fn body(&mut self, count: usize) -> impl Future<Output = Vec<u8>> {
        patiently(async move {
            while self.unread.len() < count {
                let read = self.stream.read_buf(&mut self.unread).await.unwrap();
                assert!(read > 0, "it ended after {} bytes", self.unread.len());
            }
            let rest = self.unread.split_off(count);
            std::mem::replace(&mut self.unread, rest)
        })
    }

    /// Reads to the end, which is orderly.
    #[track_caller]
    pub fn rest(&mut self) -> impl Future<Output = String> {
        patiently(async move {
            while self.stream.read_buf(&mut self.unread).await.unwrap() > 0 {}
            text(std::mem::take(&mut self.unread))
        })
    }

    /// Waits for the end, orderly or not.
    pub async fn gone(&mut self) {
        patiently(async {
            while matches!(self.stream.read_buf(&mut self.unread).await, Ok(n) if n > 0) {}
        })
        .await;
    }

    /// Whether nothing has arrived.
    pub fn is_silent(&mut self) -> bool {
        self.unread.is_empty() && self.stream.try_read_buf(&mut self.unread).is_err()
    }

    /// Says that nothing more comes, and goes on reading.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// The values of a field in a head, in order.
pub fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// Asserts that these bytes are one problem document, and nothing else.
#[track_caller]
pub fn assert_problem(answer: &str, status: u16, error: &str) {
    let (head, document) = answer.split_once("\r\n\r\n").expect(answer);
    assert!(head[9..].starts_with(&status.to_string()), "{answer}");
    assert_eq!(values(head, "x-idempotency-error"), [error], "{answer}");
    assert_eq!(
        values(head, "content-length"),
        [document.len().to_string()],
        "{answer}"
    );
    let document: serde_json::Value = serde_json::from_str(document).expect(answer);
    assert_eq!(document["status"], status);
}

pub fn text(bytes: Vec<u8>) -> String {
    bytes.into_iter().map(char::from).collect()
}

pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

const SMALL: u32 = 64 * 1024;
const STUCK: std::time::Duration = std::time::Duration::from_millis(700);
