//! Proxies that are disabled, enabled, led elsewhere, reset.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::line::{ALONE, End, Line, Peer, Upstream};
use crate::toxics::{Toxic, Toxics, call};

#[tokio::test]
async fn a_disabled_proxy_closes_and_refuses_and_listens_again_at_the_same_address() {
    let line = Line::new().await;
    for round in 1..=20 {
        let (mut client, mut server) = line.open().await;
        line.link.enable(false).await;
        assert_eq!(client.rest().await.0, b"");
        assert_eq!(server.rest().await.0, b"");
        assert!(TcpStream::connect(line.link.address()).await.is_err());
        line.has_fired("disabled", round).await;
        line.link.enable(true).await;
    }
    line.open().await;
}

/// A process that is being started has a copy of every socket of this one, for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_proxy_refuses_and_listens_again_while_programs_are_started() {
    let line = Line::new().await;
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    for over in [over.clone(), over] {
        tokio::task::spawn_blocking(move || {
            while !over.is_cancelled() {
                Command::new("true").status().unwrap();
            }
        });
    }
    for _ in 0..100 {
        line.link.enable(false).await;
        assert!(TcpStream::connect(line.link.address()).await.is_err());
        line.link.enable(true).await;
    }
    line.open().await;
}

#[tokio::test]
async fn a_disabled_proxy_keeps_its_toxics() {
    let line = Line::new().await;
    line.link.add(Toxic::limit_data(3)).await;
    line.link.enable(false).await;
    line.link.enable(true).await;
    let (mut client, mut server) = line.connect().await;
    server.send("four").await;
    assert_eq!(client.rest().await.0, b"fou");
    line.has_fired("limit_data", 1).await;
}

#[tokio::test]
async fn a_full_body_disables_and_enables_too() {
    let line = Line::new().await;
    for enabled in [false, true] {
        let body = json!({
            "name": line.link.name(),
            "listen": line.link.address().to_string(),
            "upstream": line.upstream.address().to_string(),
            "enabled": enabled,
        });
        for method in ["POST", "PATCH"] {
            let (status, proxy) = line.link.call(method, "", Some(&body)).await;
            assert_eq!((status, &proxy["enabled"]), (200, &json!(enabled)));
        }
    }
    line.open().await;
}

#[tokio::test]
async fn a_proxy_is_led_to_another_upstream() {
    let line = Line::new().await;
    let _former = line.open().await;
    let other = Upstream::start().await;
    line.link.lead_to(other.address()).await;
    let mut client = Peer::connect(line.link.address()).await;
    let mut server = other.accept().await;
    client.send("ping").await;
    assert_eq!(server.receive(4).await, b"ping");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_ends_the_connection() {
    let line = Line::new().await;
    let address = Upstream::start().await.address();
    line.link.lead_to(address).await;
    let mut client = Peer::connect(line.link.address()).await;
    assert_eq!(client.rest().await.0, b"");
}

#[tokio::test]
async fn the_end_of_either_side_reaches_the_other_after_the_last_byte() {
    let line = Line::new().await;
    let (mut client, mut server) = line.open().await;
    server.send("bye").await;
    drop(server);
    assert_eq!(client.rest().await, (b"bye".to_vec(), End::Closed));

    let (mut client, mut server) = line.open().await;
    client.send("bye").await;
    drop(client);
    assert_eq!(server.rest().await, (b"bye".to_vec(), End::Closed));
}

#[tokio::test]
async fn a_cleared_link_has_no_toxics() {
    let line = Line::new().await;
    line.link.add(Toxic::timeout(Duration::ZERO)).await;
    line.link
        .add(Toxic::latency(Duration::from_secs(600), Duration::ZERO).up())
        .await;
    line.link.clear().await;
    line.link.remove("never-there").await;
    assert_eq!(
        line.link.call("GET", "/toxics", None).await,
        (200, json!([]))
    );
    line.open().await;
}

#[tokio::test]
async fn a_reset_enables_all_proxies_and_removes_all_toxics() {
    let _alone = ALONE.write().await;
    let toxics = Toxics::start().await;
    let upstream = Upstream::start().await;
    let link = toxics.link("reset", upstream.address()).await;
    let other = toxics.link("reset", upstream.address()).await;
    link.add(Toxic::timeout(Duration::ZERO).up()).await;
    other.enable(false).await;
    toxics.reset().await;
    for link in [&link, &other] {
        let (_, proxy) = link.call("GET", "", None).await;
        assert_eq!(
            (&proxy["enabled"], &proxy["toxics"]),
            (&json!(true), &json!([]))
        );
        assert_eq!(proxy["listen"], link.address().to_string());
        let mut client = Peer::connect(link.address()).await;
        client.send("ping").await;
        assert_eq!(upstream.accept().await.receive(4).await, b"ping");
    }
}

#[tokio::test]
async fn populate_makes_keeps_and_replaces_proxies() {
    let line = Line::new().await;
    let (name, listen) = (
        format!("{}-populated", line.link.name()),
        line.link.address(),
    );
    line.link.enable(false).await;
    let asked = |upstream: &Upstream| json!([{"name": name, "listen": listen.to_string(), "upstream": upstream.address().to_string()}]);
    let url = line.toxics.url();
    let other = Upstream::start().await;
    for upstream in [&line.upstream, &line.upstream, &other] {
        let (status, made) = call(url, "POST", "/populate", Some(&asked(upstream))).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(made["proxies"][0]["name"], name);
        assert_eq!(made["proxies"][0]["enabled"], true);
        let mut client = Peer::connect(listen).await;
        client.send("ping").await;
        assert_eq!(upstream.accept().await.receive(4).await, b"ping");
    }
    let (status, refused) = call(url, "POST", "/populate", Some(&json!([{"name": "x"}]))).await;
    assert_eq!((status, &refused["status"]), (400, &json!(400)));
    assert_eq!(
        call(url, "DELETE", &format!("/proxies/{name}"), None)
            .await
            .0,
        204
    );
}
