//! How clients ask.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Error};
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;

use super::authority::{Authority, secure};
use super::request::Request;

/// What is sent, on either side.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A body of known length.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed()
}

/// The same in pieces, without its length.
pub(crate) fn chunked(bytes: Bytes) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(PIECE)
        .map(|piece| Ok(Frame::data(bytes.slice_ref(piece))))
        .collect();
    StreamBody::new(stream::iter(pieces)).boxed()
}

/// Where a client comes in, and how.
#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    tls: Option<ClientConfig>,
    http2: bool,
}

/// A connection of a client. Two over HTTP/2 may be streams of one.
pub(crate) enum Wire {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Door {
    /// All that there are: over TLS, most agree on HTTP/2.
    pub(crate) fn all(address: SocketAddr, authority: Option<&Authority>) -> Vec<Self> {
        let door = |tls, http2| Self {
            address,
            tls,
            http2,
        };
        match authority {
            None => vec![door(None, false)],
            Some(authority) => [(false, "http/1.1"), (true, "h2")]
                .map(|(http2, name)| door(Some(authority.client(&[name], None)), http2))
                .into(),
        }
    }

    /// Opens as much as two requests at once need: two connections, or over HTTP/2 one.
    pub(crate) async fn open(&self) -> Result<[Wire; 2], String> {
        let opened = async {
            let first = self.connect().await?;
            let second = match &first {
                Wire::Http1(_) => self.connect().await?,
                Wire::Http2(sender) => Wire::Http2(sender.clone()),
            };
            Ok([first, second])
        };
        opened.await.map_err(|error: Error| error.to_string())
    }

    async fn connect(&self) -> io::Result<Wire> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Wire::over(stream, self.http2).await,
            Some(tls) => Wire::over(secure(stream, tls.clone()).await?, self.http2).await,
        }
    }
}

impl Wire {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        http2: bool,
    ) -> io::Result<Self> {
        let stream = TokioIo::new(stream);
        if http2 {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = handshake.map_err(Error::other)?;
            tokio::spawn(connection);
            return Ok(Self::Http2(sender));
        }
        let (sender, connection) = http1::handshake(stream).await.map_err(Error::other)?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    /// Asks, and waits for the whole answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        let asked = async {
            let answer = match self {
                Self::Http1(sender) => {
                    let mut request = request.to("").map_err(Error::other)?;
                    let host = HeaderValue::from_static(HOST);
                    request.headers_mut().insert(header::HOST, host);
                    sender.ready().await.map_err(Error::other)?;
                    sender.send_request(request).await
                }
                Self::Http2(sender) => {
                    let origin = format!("https://{HOST}");
                    let request = request.to(&origin).map_err(Error::other)?;
                    sender.ready().await.map_err(Error::other)?;
                    sender.send_request(request).await
                }
            };
            let (head, body) = answer.map_err(Error::other)?.into_parts();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await.map_err(Error::other)?.to_bytes(),
            })
        };
        asked.await.map_err(|error: Error| error.to_string())
    }
}

impl Answer {
    /// Whether it was kept, and given again.
    pub(crate) fn is_replay(&self) -> bool {
        self.header("x-idempotency-replay") == "true"
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.body[..self.body.len().min(300)];
        let start = String::from_utf8_lossy(start);
        write!(f, "answered {}, {:?}, {start}", self.status, self.headers)
    }
}

/// Whom clients ask.
const HOST: &str = "api.example.com";
/// How much of a body without a length is sent at once.
const PIECE: usize = 8 * 1024;
