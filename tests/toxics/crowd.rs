//! Many connections at once.

use futures_util::future::join_all;

use crate::line::{Line, Peer, patiently};
use crate::toxics::Toxic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_connections_pass_and_are_closed() {
    let line = Line::new().await;
    line.link.add(Toxic::limit_data(8)).await;
    let mut peers = Vec::new();
    for _ in 0..CROWD / 100 {
        let clients = join_all((0..100).map(|_| Peer::connect(line.link.address())));
        let servers = async {
            let mut servers = Vec::new();
            for _ in 0..100 {
                servers.push(line.upstream.accept().await);
            }
            servers
        };
        let (clients, servers) = tokio::join!(clients, servers);
        peers.extend(clients.into_iter().zip(servers));
    }
    let (mut clients, servers): (Vec<_>, Vec<_>) = peers.into_iter().unzip();
    // Each answers what it was asked; the proxy pairs them as it likes.
    let answering = servers.into_iter().map(|mut server| {
        tokio::spawn(async move {
            for _ in 0..2 {
                let asked = server.receive(4).await;
                server.send(asked).await;
            }
            server.rest().await
        })
    });
    let answering: Vec<_> = answering.collect();
    for round in 0..2u32 {
        join_all(
            clients
                .iter_mut()
                .enumerate()
                .map(|(number, client)| async move {
                    let asked = (number as u32 * 2 + round).to_be_bytes();
                    client.send(asked).await;
                    assert_eq!(client.receive(4).await, asked);
                }),
        )
        .await;
    }
    let ends = join_all(clients.iter_mut().map(Peer::rest)).await;
    assert!(ends.iter().all(|(bytes, _)| bytes.is_empty()));
    patiently(join_all(answering)).await;
    line.has_fired("limit_data", CROWD).await;
}

const CROWD: u64 = 2000;
