//! What each type of toxic does to a connection.

use std::time::{Duration, Instant};

use crate::line::{End, Line};
use crate::toxics::Toxic;

const NONE: Duration = Duration::ZERO;

#[tokio::test]
async fn latency_lets_replies_arrive_later() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(300), NONE)).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    client.send("ping").await;
    server.receive(4).await;
    server.send("pong").await;
    assert_eq!(client.receive(4).await, b"pong");
    assert!(start.elapsed() >= ms(300), "{:?}", start.elapsed());
    line.has_fired("latency", 1).await;
}

#[tokio::test]
async fn latency_lets_requests_arrive_later() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(300), NONE).up()).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    client.send("ping").await;
    assert_eq!(server.receive(4).await, b"ping");
    assert!(start.elapsed() >= ms(300), "{:?}", start.elapsed());
    line.has_fired("latency", 1).await;
}

#[tokio::test]
async fn jitter_may_be_more_than_the_latency() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(5), ms(50))).await;
    let (mut client, mut server) = line.connect().await;
    for round in 0..20u8 {
        server.send([round]).await;
        assert_eq!(client.receive(1).await, [round]);
    }
    // Some were on time.
    if let Some(fired) = line.fired("latency").await {
        assert!((1..=20).contains(&fired), "{fired}");
    }
}

#[tokio::test]
async fn jitter_leaves_at_least_the_rest_of_the_latency() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(300), ms(50))).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    server.send("late").await;
    assert_eq!(client.receive(4).await, b"late");
    assert!(start.elapsed() >= ms(250), "{:?}", start.elapsed());
    line.has_fired("latency", 1).await;
}

#[tokio::test]
async fn latency_does_not_slow_down_what_follows() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(500), NONE)).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    for round in 0..100u8 {
        server.send([round]).await;
        tokio::time::sleep(ms(1)).await;
    }
    assert_eq!(client.receive(100).await, (0..100).collect::<Vec<u8>>());
    // One after the other would take fifty seconds.
    assert!((ms(500)..ms(25_000)).contains(&start.elapsed()));
}

#[tokio::test]
async fn bandwidth_lets_so_many_bytes_pass_in_a_second() {
    let line = Line::new().await;
    line.link.add(Toxic::bandwidth(100)).await;
    let (mut client, mut server) = line.connect().await;
    let sent: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    let start = Instant::now();
    server.send(&sent).await;
    assert!(client.receive(sent.len()).await == sent);
    assert!(start.elapsed() >= ms(950), "{:?}", start.elapsed());
    assert!(line.fired("bandwidth").await.is_none_or(|fired| fired > 0));
}

#[tokio::test]
async fn slow_close_delays_the_end_and_no_byte() {
    let line = Line::new().await;
    line.link.add(Toxic::slow_close(ms(500))).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    server.send("bye\n").await;
    drop(server);
    assert_eq!(client.rest().await, (b"bye\n".to_vec(), End::Closed));
    assert!(start.elapsed() >= ms(500), "{:?}", start.elapsed());
    line.has_fired("slow_close", 1).await;
}

#[tokio::test]
async fn timeout_loses_bytes_and_closes_after_its_time() {
    let line = Line::new().await;
    line.link.add(Toxic::timeout(ms(500))).await;
    let start = Instant::now();
    let (mut client, mut server) = line.connect().await;
    server.send("lost").await;
    let (bytes, _) = client.rest().await;
    assert_eq!(bytes, b"");
    assert!(start.elapsed() >= ms(500), "{:?}", start.elapsed());
    line.has_fired("timeout", 1).await;
}

#[tokio::test]
async fn timeout_of_zero_loses_bytes_until_it_is_removed() {
    let line = Line::new().await;
    let toxic = line.link.add(Toxic::timeout(NONE)).await;
    let (mut client, mut server) = line.connect().await;
    server.send("lost").await;
    assert!(client.is_silent().await);
    // The other direction is free.
    client.send("ping").await;
    assert_eq!(server.receive(4).await, b"ping");
    line.has_fired("timeout", 1).await;
    line.link.remove(&toxic).await;
    // It must not go on without what was lost.
    assert_eq!(client.rest().await.0, b"");
    line.open().await;
}

#[tokio::test]
async fn slicer_sends_small_pieces_one_after_the_other() {
    let line = Line::new().await;
    line.link.add(Toxic::slicer(20, 10, ms(2))).await;
    let (mut client, mut server) = line.connect().await;
    let sent: Vec<u8> = (0..1000u32).map(|at| (at % 251) as u8).collect();
    let start = Instant::now();
    server.send(&sent).await;
    assert_eq!(client.receive(sent.len()).await, sent);
    // Pieces of at most 30.
    assert!(
        start.elapsed() >= ms(2) * (1000 / 30),
        "{:?}",
        start.elapsed()
    );
    line.has_fired("slicer", 1).await;
}

#[tokio::test]
async fn limit_data_closes_after_so_many_bytes() {
    for limit in [300, 5] {
        let line = Line::new().await;
        line.link.add(Toxic::limit_data(limit)).await;
        let (mut client, mut server) = line.connect().await;
        let sent: Vec<u8> = (0..1000u32).map(|at| (at % 251) as u8).collect();
        server.send(&sent).await;
        let (bytes, end) = client.rest().await;
        assert_eq!(bytes, sent[..limit as usize]);
        assert_eq!(end, End::Closed);
        line.has_fired("limit_data", 1).await;
    }
}

#[tokio::test]
async fn limit_data_leaves_a_shorter_reply_alone() {
    let line = Line::new().await;
    line.link.add(Toxic::limit_data(300)).await;
    let (mut client, mut server) = line.connect().await;
    server.send("short").await;
    drop(server);
    assert_eq!(client.rest().await, (b"short".to_vec(), End::Closed));
    line.has_fired("limit_data", 0).await;
}

#[tokio::test]
async fn reset_peer_resets() {
    let line = Line::new().await;
    line.link.add(Toxic::reset_peer(NONE)).await;
    let (mut client, mut server) = line.connect().await;
    server.send("lost").await;
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
    line.has_fired("reset_peer", 1).await;
}

#[tokio::test]
async fn reset_peer_resets_after_its_time() {
    let line = Line::new().await;
    line.link.add(Toxic::reset_peer(ms(300))).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    server.send("lost").await;
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
    assert!(start.elapsed() >= ms(300), "{:?}", start.elapsed());
    line.has_fired("reset_peer", 1).await;
}

#[tokio::test]
async fn toxics_of_one_stream_act_together() {
    let line = Line::new().await;
    line.link.add(Toxic::latency(ms(200), NONE)).await;
    line.link.add(Toxic::slicer(20, 10, ms(1))).await;
    line.link.add(Toxic::limit_data(100)).await;
    let (mut client, mut server) = line.connect().await;
    let start = Instant::now();
    server.send([b'x'; 500]).await;
    assert_eq!(client.rest().await.0, [b'x'; 100]);
    assert!(start.elapsed() >= ms(200), "{:?}", start.elapsed());
    for fault in ["latency", "slicer", "limit_data"] {
        line.has_fired(fault, 1).await;
    }
}

#[tokio::test]
async fn toxicity_hits_a_part_of_the_connections() {
    let line = Line::new().await;
    line.link.add(Toxic::limit_data(1).toxicity(0.5)).await;
    let mut hit = 0;
    for _ in 0..40 {
        let (mut client, mut server) = line.connect().await;
        server.send("two").await;
        drop(server);
        match client.rest().await.0.len() {
            1 => hit += 1,
            length => assert_eq!(length, 3),
        }
    }
    assert!((1..40).contains(&hit), "{hit} of 40");
    line.has_fired("limit_data", hit).await;
}

#[tokio::test]
async fn toxicity_of_none_hits_nobody() {
    let line = Line::new().await;
    line.link.add(Toxic::limit_data(1).toxicity(0.0)).await;
    for _ in 0..20 {
        line.open().await;
    }
    line.has_fired("limit_data", 0).await;
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
