//! What Toxiproxy lacks. Skipped, and counted, with a real one.

use std::io::Write;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::line::{End, Line};
use crate::toxics::{Toxic, Toxics};

/// Makes a test of each function, for ours only.
macro_rules! extras {
    ($($name:ident),* $(,)?) => {
        mod ours {
            $(
                #[tokio::test]
                async fn $name() {
                    let line = super::Line::new().await;
                    if line.toxics.ours() {
                        super::$name(line).await;
                    }
                }
            )*
        }

        const EXTRAS: &[&str] = &[$(stringify!($name)),*];
    };
}

extras![
    a_silence_is_for_ever_and_both_ways_and_new_connections_pass,
    an_end_is_not_heard_in_a_silence,
    a_silence_that_met_no_byte_has_not_fired,
    a_cut_is_at_its_byte_and_all_before_it_arrive,
    a_cut_may_be_a_reset_and_all_before_it_arrive,
    a_cut_counts_from_when_it_was_added,
    a_cut_of_what_the_client_sends,
    a_swallowed_reply_leaves_the_connection_open_and_silent,
    a_swallowed_reply_may_close_the_connection,
    a_part_of_a_swallowed_reply_may_pass,
    swallowed_replies_are_counted_over_all_connections,
    a_reset_hits_an_open_connection,
    a_reset_of_one_side_reaches_the_other,
    what_a_half_closed_connection_is_answered_arrives,
    counts_outlive_the_toxic_and_a_reset,
    a_dropped_proxy_leaves_nothing,
];

#[tokio::test]
async fn with_a_real_toxiproxy_these_are_skipped() {
    let skipped = match Toxics::start().await.ours() {
        true => 0,
        false => EXTRAS.len(),
    };
    // Past the capture of the test's output.
    let line = format!("skipped: {skipped} tests of what Toxiproxy lacks\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

async fn a_silence_is_for_ever_and_both_ways_and_new_connections_pass(line: Line) {
    let (mut client, mut server) = line.open().await;
    let toxic = line.link.add(Toxic::silence()).await;
    line.open().await;
    for _ in 0..2 {
        client.send("lost").await;
        server.send("lost").await;
        assert!(client.is_silent().await);
        assert!(server.is_silent().await);
        line.link.remove(&toxic).await;
    }
    line.open().await;
    line.has_fired("silence", 1).await;
}

async fn an_end_is_not_heard_in_a_silence(line: Line) {
    let (client, mut server) = line.open().await;
    line.link.add(Toxic::silence()).await;
    drop(client);
    assert!(server.is_silent().await);
    line.has_fired("silence", 1).await;
}

async fn a_silence_that_met_no_byte_has_not_fired(line: Line) {
    let (_client, _server) = line.open().await;
    line.link.add(Toxic::silence()).await;
    line.open().await;
    line.has_fired("silence", 0).await;
}

async fn a_cut_is_at_its_byte_and_all_before_it_arrive(line: Line) {
    for bytes in [0, 1, 999, 16_384, 100_000] {
        let toxic = line.link.add(Toxic::cut(bytes)).await;
        let (mut client, mut server) = line.connect().await;
        let sent: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let _ = server.0.write_all(&sent).await;
        let (received, end) = client.rest().await;
        assert!(received == sent[..bytes as usize], "{}", received.len());
        assert_eq!(end, End::Closed);
        line.link.remove(&toxic).await;
    }
    line.has_fired("cut", 5).await;
}

async fn a_cut_may_be_a_reset_and_all_before_it_arrive(line: Line) {
    line.link.add(Toxic::cut_by_reset(2_000_000)).await;
    let (mut client, mut server) = line.connect().await;
    let sent: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let expected = sent[..2_000_000].to_vec();
    let sending = tokio::spawn(async move {
        let _ = server.0.write_all(&sent).await;
        server.rest().await.1
    });
    let (received, end) = client.rest().await;
    assert!(received == expected, "{}", received.len());
    assert_eq!(end, End::Reset);
    sending.await.unwrap();
    line.has_fired("cut", 1).await;
}

async fn a_cut_counts_from_when_it_was_added(line: Line) {
    let (mut client, mut server) = line.open().await;
    line.link.add(Toxic::cut(6)).await;
    server.send("0123").await;
    assert_eq!(client.receive(4).await, b"0123");
    server.send("4567").await;
    assert_eq!(client.rest().await, (b"45".to_vec(), End::Closed));
    line.has_fired("cut", 1).await;
}

async fn a_cut_of_what_the_client_sends(line: Line) {
    line.link.add(Toxic::cut(3).up()).await;
    let (mut client, mut server) = line.connect().await;
    client.send("0123").await;
    assert_eq!(server.rest().await, (b"012".to_vec(), End::Closed));
    assert_eq!(client.rest().await.0, b"");
    line.has_fired("cut", 1).await;
}

async fn a_swallowed_reply_leaves_the_connection_open_and_silent(line: Line) {
    let (mut client, mut server) = line.open().await;
    line.link.add(Toxic::swallow(1)).await;
    for _ in 0..2 {
        client.send("ping").await;
        assert_eq!(server.receive(4).await, b"ping");
        server.send("lost").await;
        assert!(client.is_silent().await);
    }
    drop(server);
    assert!(client.is_silent().await);
    line.has_fired("swallow", 1).await;
    line.has_fired("silence", 0).await;
    line.open().await;
}

async fn a_swallowed_reply_may_close_the_connection(line: Line) {
    line.link.add(Toxic::swallow_and_close(1)).await;
    let (mut client, mut server) = line.connect().await;
    client.send("ping").await;
    assert_eq!(server.receive(4).await, b"ping");
    server.send("lost").await;
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
    line.has_fired("swallow", 1).await;
    line.open().await;
}

async fn a_part_of_a_swallowed_reply_may_pass(line: Line) {
    line.link.add(Toxic::swallow(1).with("bytes", 3)).await;
    let (mut client, mut server) = line.connect().await;
    server.send("pong").await;
    assert_eq!(client.receive(3).await, b"pon");
    assert!(client.is_silent().await);
    line.has_fired("swallow", 1).await;
}

async fn swallowed_replies_are_counted_over_all_connections(line: Line) {
    let mut connections = Vec::new();
    for _ in 0..5 {
        connections.push(line.open().await);
    }
    line.link.add(Toxic::swallow(3)).await;
    for (_, server) in &mut connections {
        server.send("!").await;
    }
    let mut lost = 0;
    for (client, _) in &mut connections {
        match client.is_silent().await {
            true => lost += 1,
            false => client.send("on").await,
        }
    }
    assert_eq!(lost, 3);
    line.has_fired("swallow", 3).await;
}

async fn a_reset_hits_an_open_connection(line: Line) {
    let (mut client, mut server) = line.open().await;
    line.link.add(Toxic::reset_peer(Duration::ZERO)).await;
    server.send("lost").await;
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
    assert_eq!(server.rest().await.1, End::Reset);
    line.has_fired("reset_peer", 1).await;
}

async fn a_reset_of_one_side_reaches_the_other(line: Line) {
    let (mut client, mut server) = line.open().await;
    server.send("part").await;
    assert_eq!(client.receive(4).await, b"part");
    server.reset();
    assert_eq!(client.rest().await, (Vec::new(), End::Reset));
}

async fn what_a_half_closed_connection_is_answered_arrives(line: Line) {
    let (mut client, mut server) = line.open().await;
    client.0.shutdown().await.unwrap();
    assert_eq!(server.rest().await, (Vec::new(), End::Closed));
    server.send("still").await;
    drop(server);
    assert_eq!(client.rest().await, (b"still".to_vec(), End::Closed));
}

async fn counts_outlive_the_toxic_and_a_reset(line: Line) {
    let toxic = line.link.add(Toxic::cut(1)).await;
    let (mut client, mut server) = line.connect().await;
    server.send("two").await;
    assert_eq!(client.rest().await.0, b"t");
    line.link.remove(&toxic).await;
    line.toxics.reset().await;
    line.link.enable(false).await;
    line.link.enable(true).await;
    line.open().await;
    line.has_fired("cut", 1).await;
}

async fn a_dropped_proxy_leaves_nothing(line: Line) {
    let (mut client, mut server) = line.open().await;
    let Line { toxics, link, .. } = line;
    drop(toxics);
    assert_eq!(client.rest().await.0, b"");
    assert_eq!(server.rest().await.0, b"");
    while tokio::net::TcpStream::connect(link.address()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
