//! One request on a connection of its own, whatever becomes of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::history::{Answer, Said};
use super::options::digest;
use super::upstream::headers_digest;

/// Sends a request, and waits for the whole answer as long as `patience` lasts. Leaves by closing the connection.
pub async fn ask(address: SocketAddr, request: Request<Full<Bytes>>, patience: Duration) -> Said {
    match timeout(patience, exchange(address, request)).await {
        Ok(Ok(answer)) => Said::Answer(answer),
        Ok(Err(error)) => Said::Broken(error),
        Err(_) => Said::Nothing,
    }
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|e| text(&e))?;
    stream.set_nodelay(true).map_err(|e| text(&e))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| text(&e))?;
    // Ends with this future.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| text(&e))?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| text(&e))?.to_bytes();
    let one = |name: &str| field(&head.headers, name);
    Ok(Answer {
        status: head.status.as_u16(),
        body: digest(&body),
        headers: headers_digest(
            head.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        ),
        visit: one("x-visit").and_then(|visit| visit.parse().ok()),
        stored: one("x-idempotency-stored").map(|stored| stored == "true"),
        replay: one("x-idempotency-replay").is_some(),
        state: one("x-idempotency-state"),
        error: one("x-idempotency-error"),
        id: one("x-idempotency-id"),
    })
}

fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
