//! One end of an HTTP/1.1 connection.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Sends and receives whole messages; one that is received has its length in its head.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer was the message before.
    done: usize,
}

impl Wire {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    /// Connects from this address of ours, which has ports of its own.
    pub(crate) async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        Self::new(socket.connect(address).await?)
    }

    /// On a connection that was accepted.
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
            done: 0,
        })
    }

    /// Sends all of it.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<()> {
        self.stream.write_all(message).await
    }

    /// Receives the next message whole, and shows its head; nothing where the other side has closed between two.
    pub(crate) async fn receive(&mut self) -> Result<Option<&[u8]>> {
        self.buffer.drain(..self.done);
        self.done = 0;
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            }
        };
        let whole = head + length(&self.buffer[..head])?;
        while self.buffer.len() < whole {
            if !self.more().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.done = whole;
        Ok(Some(&self.buffer[..head]))
    }

    /// Sends a request and receives the whole answer; its status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.send(request).await?;
        let head = self.receive().await?.ok_or(ErrorKind::UnexpectedEof)?;
        let status = head.get(9..12).and_then(|three| text(three).parse().ok());
        status.ok_or_else(|| Error::other("an answer without a status"))
    }

    async fn more(&mut self) -> Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn length(head: &[u8]) -> Result<usize> {
    let named = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then(|| text(value).trim().parse().ok())?
    });
    named.ok_or_else(|| Error::other(format!("a message without a length:\n{}", text(head))))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
