//! `idemproxy keys list`, where pages end before they are full.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::support::patiently;

#[tokio::test]
async fn a_list_goes_on_after_pages_whose_time_was_up() {
    let id = |digit: char| String::from_iter([digit; 32]);
    let (address, asked) = answering(vec![
        json!({"keys": [], "cursor": id('1')}),
        json!({"keys": [{"id": id('2'), "state": "unknown"}], "cursor": id('3')}),
        json!({"keys": [], "cursor": id('4'), "unreadable": 1}),
        json!({"keys": [{"id": id('5'), "state": "unknown"}]}),
    ])
    .await;
    let output = Command::new(env!("CARGO_BIN_EXE_idemproxy"))
        .args(["keys", "list", "--state", "unknown", "--limit", "3"])
        .args(["--admin", &format!("http://{address}")])
        .env_remove("IDEMPROXY_TOKEN_FILE")
        .output();
    let output = patiently(output).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = text.lines().skip(1).map(|line| &line[..32]).collect();
    assert_eq!(listed, [id('2'), id('5')]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "1 more cannot be read: made by a newer version, or damaged\n"
    );

    let asked = asked.await.unwrap();
    let limits = ["limit=3", "limit=3", "limit=2", "limit=2"];
    for (target, limit) in asked.iter().zip(limits) {
        assert!(target.contains(limit), "{asked:?}");
    }
    for (target, cursor) in asked[1..].iter().zip(['1', '3', '4']) {
        let cursor = format!("cursor={}", id(cursor));
        assert!(target.contains(&cursor), "{asked:?}");
    }
}

/// A listener that gives these answers, one after another; then it tells what it was asked.
async fn answering(pages: Vec<Value>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = async move {
        let mut asked = Vec::new();
        for page in pages {
            let (mut client, _) = patiently(listener.accept()).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            asked.push(request.lines().next().unwrap().to_owned());
            let body = page.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    };
    (address, tokio::spawn(answering))
}
