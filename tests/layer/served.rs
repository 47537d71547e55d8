//! A program with the layer in it, on real connections.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::IntoResponse;
use axum::routing::{get, post as posted};
use http::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use idemproxy::IdempotencyLayer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Layer;

use crate::world::{PATIENCE, layer, settings, store};

/// Sends this, and reads until the other side closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(PATIENCE, exchanged).await.unwrap()
}

#[tokio::test]
async fn a_server_with_the_layer_round_its_router_knows_its_clients() {
    async fn whom(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        peer.to_string()
    }
    let text = "[policy]\nscope = ['path', 'client-ip']";
    let layer = IdempotencyLayer::builder(store().await, settings(text))
        .client_address(|extensions| {
            let info = extensions.get::<ConnectInfo<SocketAddr>>();
            info.map(|info| info.0)
        })
        .build()
        .unwrap();
    let router = Router::new().route("/", posted(whom));
    let app = Router::new().fallback_service(layer.layer(router));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let request = "POST / HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (first, second) = (
        exchange(address, request).await,
        exchange(address, request).await,
    );
    let body = |answer: &str| answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned();
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(
        second.contains("x-idempotency-replay: true\r\n"),
        "{second}"
    );
    assert!(body(&first).starts_with("127.0.0.1:"));
    assert_eq!(body(&first), body(&second));
    server.abort();
}

#[tokio::test]
async fn an_upgrade_is_the_services_own_matter() {
    async fn upgrade(mut request: Request) -> impl IntoResponse {
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let headers = [("connection", "upgrade"), ("upgrade", "echo")];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    }
    let app = Router::new()
        .route("/", get(upgrade))
        .layer(layer("").await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nping";
    let answer = exchange(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nping"), "{answer}");
    server.abort();
}
