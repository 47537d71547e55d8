//! A client over TLS that speaks what was agreed on.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use crate::authority::secure;
use crate::support::patiently;

/// One connection.
pub struct Https {
    sender: Sender,
    driver: AbortHandle,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

pub type Answer = Response<Bytes>;

/// A connection over which nothing was said yet.
pub async fn raw(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = patiently(TcpStream::connect(address)).await?;
    tcp.set_nodelay(true)?;
    patiently(secure(tcp, config)).await
}

impl Https {
    pub async fn connect(address: SocketAddr, config: ClientConfig) -> Self {
        let tls = raw(address, config).await.unwrap();
        match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => {
                let io = TokioIo::new(tls);
                let handshake = http2::handshake(TokioExecutor::new(), io);
                let (sender, connection) = patiently(handshake).await.unwrap();
                Self {
                    sender: Sender::Http2(sender),
                    driver: tokio::spawn(connection).abort_handle(),
                }
            }
            other => {
                assert!(matches!(other, None | Some(b"http/1.1")), "{other:?}");
                let handshake = http1::handshake(TokioIo::new(tls));
                let (sender, connection) = patiently(handshake).await.unwrap();
                Self {
                    sender: Sender::Http1(sender),
                    driver: tokio::spawn(connection).abort_handle(),
                }
            }
        }
    }

    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// `POST /orders` with a key and a body.
    pub async fn post(&mut self, key: &str, body: &str) -> Answer {
        self.try_post(key, body).await.unwrap()
    }

    pub async fn try_post(&mut self, key: &str, body: &str) -> hyper::Result<Answer> {
        let request = Request::post("https://api.example/orders")
            .header("host", "api.example")
            .header("idempotency-key", key)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = match &mut self.sender {
            Sender::Http1(sender) => patiently(sender.send_request(request)).await,
            Sender::Http2(sender) => patiently(sender.send_request(request)).await,
        }?;
        let (head, body) = answer.into_parts();
        let body = patiently(body.collect()).await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }

    /// Posts until the answer is not that the first is still running.
    pub async fn settled(&mut self, key: &str, body: &str) -> Answer {
        patiently(async {
            loop {
                let answer = self.post(key, body).await;
                if field(&answer, "x-idempotency-error") != "in-progress" {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

/// The connection ends without a word.
impl Drop for Https {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub fn field(answer: &Answer, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}
