//! The client against upstreams that behave, and mostly ones that do not.

#![allow(clippy::unwrap_used)]

mod idle_race;
mod misbehaving;
mod pooling;
mod tls;
mod unheard;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::ClientFiles;
use crate::wire::{self, BoxError};

pub(super) fn settings(scheme: &str, address: SocketAddr) -> UpstreamSettings {
    UpstreamSettings {
        origin: format!("{scheme}://{address}").parse().unwrap(),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        max_idle: 16,
        max_connections: 32,
        tls: ClientFiles::default(),
    }
}

fn upstream_at(address: SocketAddr) -> Upstream {
    Upstream::new(&settings("http", address)).unwrap()
}

/// Listens, and runs `serve` for each connection, numbered from 0.
async fn listen<F, Serving>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> Serving + Send + 'static,
    Serving: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(number, stream));
        }
    });
    address
}

/// An upstream that answers every request with the number of the connection.
async fn numbering(number: usize, mut stream: TcpStream) {
    while read_request(&mut stream).await.is_some() {
        answer(&mut stream, &number.to_string()).await;
    }
}

async fn answer(stream: &mut TcpStream, body: &str) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Reads a head and a body of stated length; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut received = Vec::new();
    loop {
        if let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if received.len() >= head + 4 + length {
                return Some(String::from_utf8_lossy(&received).into_owned());
            }
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn body(bytes: impl Into<Bytes>) -> wire::Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn get() -> Request<wire::Body> {
    Request::get("/thing?a=b")
        .header("host", "api.example")
        .body(body(""))
        .unwrap()
}

fn post(text: &'static str) -> Request<wire::Body> {
    Request::post("/things")
        .header("host", "api.example")
        .body(body(text))
        .unwrap()
}

async fn text(response: Response<ResponseBody>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits for something that happens soon or never.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
