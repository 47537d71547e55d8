//! Toxics that come and go while a connection is open.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::line::Line;
use crate::toxics::Toxic;

#[tokio::test]
async fn a_toxic_acts_on_an_open_connection_and_its_removal_too() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    let toxic = line.link.add(Toxic::latency(ms(300), ms(0))).await;
    let start = Instant::now();
    server.send("late").await;
    assert_eq!(client.receive(4).await, b"late");
    assert!(start.elapsed() >= ms(300), "{:?}", start.elapsed());
    line.has_fired("latency", 1).await;

    line.link.remove(&toxic).await;
    server.send("soon").await;
    assert_eq!(client.receive(4).await, b"soon");
    line.has_fired("latency", 1).await;
}

#[tokio::test]
async fn a_removed_toxic_lets_go_of_what_it_held_back() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    let toxic = line.link.add(Toxic::latency(ms(600_000), ms(0))).await;
    server.send("held").await;
    assert!(client.is_silent().await);
    line.link.remove(&toxic).await;
    assert_eq!(client.receive(4).await, b"held");
    line.has_fired("latency", 1).await;
}

#[tokio::test]
async fn a_changed_toxic_acts_on_what_comes_next() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    let toxic = line.link.add(Toxic::latency(ms(1), ms(0))).await;
    server.send("soon").await;
    assert_eq!(client.receive(4).await, b"soon");

    let path = format!("/toxics/{toxic}");
    let change = json!({"attributes": {"latency": 300}});
    let (status, changed) = line.link.call("POST", &path, Some(&change)).await;
    assert_eq!(
        (status, &changed["attributes"]),
        (200, &json!({"latency": 300, "jitter": 0}))
    );
    let start = Instant::now();
    server.send("late").await;
    assert_eq!(client.receive(4).await, b"late");
    assert!(start.elapsed() >= ms(300), "{:?}", start.elapsed());
    line.has_fired("latency", 2).await;
}

#[tokio::test]
async fn no_byte_is_lost_or_moved_while_toxics_come_and_go() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    let sent: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        server.send(&sent).await;
        server
    });
    let mut received = Vec::new();
    for round in 0..10 {
        let slow = line.link.add(Toxic::bandwidth(2_000)).await;
        let late = line.link.add(Toxic::latency(ms(5), ms(5))).await;
        received.extend(client.receive(90_000).await);
        let sliced = line.link.add(Toxic::slicer(500, 100, ms(0))).await;
        received.extend(client.receive(90_000).await);
        for toxic in [slow, late, sliced] {
            line.link.remove(&toxic).await;
        }
        received.extend(client.receive(10_000 + round).await);
    }
    let rest = expected.len() - received.len();
    received.extend(client.receive(rest).await);
    assert!(received == expected);
    sending.await.unwrap();
    for fault in ["bandwidth", "latency", "slicer"] {
        assert!(line.fired(fault).await.is_none_or(|fired| fired > 0));
    }
}

#[tokio::test]
async fn limit_data_counts_from_when_it_was_added() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    line.link.add(Toxic::limit_data(5)).await;
    server.send("0123456789").await;
    assert_eq!(client.rest().await.0, b"01234");
    line.has_fired("limit_data", 1).await;
}

#[tokio::test]
async fn a_blackhole_opens_under_an_open_connection() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    line.link.add(Toxic::timeout(ms(0)).up()).await;
    client.send("lost").await;
    assert!(server.is_silent().await);
    server.send("pong").await;
    assert_eq!(client.receive(4).await, b"pong");
    line.has_fired("timeout", 1).await;
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
