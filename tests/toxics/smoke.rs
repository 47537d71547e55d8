use crate::peer::{Peer, Upstream};
use crate::toxics::{Toxic, Toxics};
use std::time::{Duration, Instant};

#[tokio::test]
async fn bytes_pass_and_are_late() {
    let toxics = Toxics::start().await;
    let upstream = Upstream::start().await;
    let link = toxics.link("smoke", upstream.address()).await;
    let mut client = Peer::connect(link.address()).await;
    let mut server = upstream.accept().await;
    client.send("ping").await;
    assert_eq!(server.receive(4).await, b"ping");
    link.add(Toxic::latency(Duration::from_millis(300), Duration::ZERO))
        .await;
    let start = Instant::now();
    server.send("pong").await;
    assert_eq!(client.receive(4).await, b"pong");
    assert!(start.elapsed() >= Duration::from_millis(300));
    println!("{:?}", link.fired().await);
    link.enable(false).await;
    println!("{:?}", client.rest().await);
    link.enable(true).await;
    let _ = Peer::connect(link.address()).await;
}
