//! A call of the HTTP API.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Calls the API at `url`. Returns status and document; [`Value::Null`] where there is none.
pub async fn call(url: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let (status, text) = call_text(url, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// As [`call`], with any text as the body. Returns status and text.
pub async fn call_text(url: &str, method: &str, path: &str, body: String) -> (u16, String) {
    let exchange = async {
        let authority = authority(url);
        let stream = TcpStream::connect(authority).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        connection.abort();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| panic!("{method} {url}{path} is not answered"))
}

/// Deletes what is at `path`, if it can be, for when nothing can be awaited.
pub(super) fn delete_now(url: &str, path: &str) {
    let authority = authority(url);
    if let Ok(mut stream) = std::net::TcpStream::connect(authority) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let request =
            format!("DELETE {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn authority(url: &str) -> &str {
    url.strip_prefix("http://")
        .unwrap_or_else(|| panic!("{url} does not begin with http://"))
}

const PATIENCE: Duration = Duration::from_secs(30);
