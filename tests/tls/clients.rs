//! Clients over TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::World;
use crate::authority::Authority;
use crate::https::{Https, field, raw};
use crate::support::{Gate, Proxy, RedisServer, Reply, Upstream, patiently};

const H1: &[&str] = &["http/1.1"];
const H2: &[&str] = &["h2", "http/1.1"];
const FAILED: &str = "idemproxy_tls_handshakes_failed_total";

#[tokio::test]
async fn a_key_runs_once_over_https_whichever_protocol_is_agreed_on() {
    let authority = Authority::new();
    let world = World::https(&authority, "", "").await;
    for (first, then) in [(H1, H2), (H2, H1), (&[][..], H2)] {
        let key = format!("{first:?}").replace(['"', '[', ']', ',', ' '], "-");
        let executions = world.upstream.executions();
        let mut client = Https::connect(world.proxy.address(), authority.client(first, None)).await;
        assert_eq!(client.is_http2(), first == H2);
        let answer = client.post(&key, "x").await;
        assert_eq!(answer.status(), 201);
        assert_eq!(field(&answer, "x-idempotency-stored"), "true");
        let mut client = Https::connect(world.proxy.address(), authority.client(then, None)).await;
        assert_eq!(client.is_http2(), then == H2);
        for _ in 0..2 {
            let replayed = client.post(&key, "x").await;
            assert_eq!(replayed.status(), 201);
            assert_eq!(field(&replayed, "x-idempotency-replay"), "true");
            assert_eq!(replayed.body(), answer.body());
        }
        let reused = client.post(&key, "y").await;
        assert_eq!(field(&reused, "x-idempotency-error"), "key-reused");
        assert_eq!(world.upstream.executions(), executions + 1);
        let told = world.upstream.last();
        assert_eq!(told.all("x-forwarded-proto"), ["https"]);
        assert_eq!(told.field("host"), Some("api.example"));
    }
    // Probes and pages are in the clear all the same.
    assert_eq!(world.proxy.page("/livez").await.status, 200);
}

#[tokio::test]
async fn with_an_authority_for_clients_only_those_it_vouches_for_are_served() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    clients.issue("shop", &["shop"]);
    strangers.issue("shop", &["shop"]);
    let ca = format!("tls_client_ca = \"{}\"", clients.file("ca.pem"));
    let world = World::https(&authority, &ca, "").await;
    for alpn in [H1, H2] {
        for identity in [None, Some((&strangers, "shop"))] {
            // Under TLS 1.3 the refusal comes when the client has its handshake behind it.
            let config = authority.client(alpn, identity);
            if let Ok(mut refused) = raw(world.proxy.address(), config).await {
                let _ = refused.write_all(b"POST / HTTP/1.1\r\n").await;
                let error = patiently(refused.read_u8()).await.unwrap_err();
                assert!(error.to_string().contains("alert"), "{error}");
            }
        }
        let config = authority.client(alpn, Some((&clients, "shop")));
        let mut known = Https::connect(world.proxy.address(), config).await;
        assert_eq!(
            known.post(&format!("{}", alpn.len()), "x").await.status(),
            201
        );
    }
    world.proxy.reaches(FAILED, 4.0).await;
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_answer_at_the_retry() {
    let authority = Authority::new();
    let world = World::https(&authority, "", "").await;
    for (number, alpn, orderly) in [(0, H1, true), (1, H1, false), (2, H2, false)] {
        let gate = Gate::new();
        world
            .upstream
            .next(Reply::new(201).body("made").after(&gate));
        let key = format!("k{number}");
        let config = || authority.client(alpn, None);
        if alpn == H1 {
            let mut client = raw(world.proxy.address(), config()).await.unwrap();
            let request = format!(
                "POST /orders HTTP/1.1\r\nHost: api.example\r\nIdempotency-Key: {key}\r\nContent-Length: 1\r\n\r\nx"
            );
            client.write_all(request.as_bytes()).await.unwrap();
            world.upstream.executed(number + 1).await;
            if orderly {
                client.shutdown().await.unwrap();
            }
        } else {
            let mut client = Https::connect(world.proxy.address(), config()).await;
            let post = client.try_post(&key, "x");
            tokio::select! {
                _ = post => panic!("answered"),
                () = world.upstream.executed(number + 1) => (),
            }
        }
        // It is gone, and the exchange goes on.
        world.proxy.reaches("idemproxy_connections", 0.0).await;
        world.proxy.reaches("idemproxy_in_flight", 1.0).await;
        gate.cancel();
        let mut again = Https::connect(world.proxy.address(), config()).await;
        let answer = again.settled(&key, "x").await;
        assert_eq!(answer.body(), "made");
        assert_eq!(field(&answer, "x-idempotency-replay"), "true");
        drop(again);
    }
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn a_drain_lets_an_open_stream_finish_and_closes_the_idle() {
    let authority = Authority::new();
    let world = World::https(&authority, "", "").await;
    let (busy, idle) = (authority.client(H2, None), authority.client(H2, None));
    let mut idle = Https::connect(world.proxy.address(), idle).await;
    assert_eq!(idle.post("idle", "x").await.status(), 201);
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(201).body("made").after(&gate));
    let mut busy = Https::connect(world.proxy.address(), busy).await;
    let answer = tokio::spawn(async move { busy.post("busy", "x").await });
    world.upstream.executed(2).await;
    world.proxy.stop();
    patiently(async {
        while idle
            .try_post("late", "x")
            .await
            .is_ok_and(|a| a.status() != 503)
        {}
    })
    .await;
    gate.cancel();
    let answer = patiently(answer).await.unwrap();
    assert_eq!(answer.body(), "made");
    assert_eq!(field(&answer, "x-idempotency-stored"), "true");
    world.proxy.stopped().await;
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_through_tls() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let proxy = Proxy::start(&crate::with_certificate(&authority, &url, "", "")).await;
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
        stream.write_all(switch).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        stream.write_all(b"the last word").await.unwrap();
        heard
    });
    let mut client = raw(proxy.address(), authority.client(H1, None))
        .await
        .unwrap();
    let ask = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(ask).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"hello") {
        came.push(patiently(client.read_u8()).await.unwrap());
    }
    assert!(
        came.starts_with(b"HTTP/1.1 101 "),
        "{}",
        came.escape_ascii()
    );
    client.write_all(b"ping").await.unwrap();
    // Its own half only, which the upstream sees as such.
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    patiently(client.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "the last word");
    assert_eq!(patiently(upstream).await.unwrap(), "ping");
}

#[tokio::test]
async fn records_may_be_kept_in_a_redis_over_tls() {
    let authority = Authority::new();
    authority
        .issue("redis", &["127.0.0.1"])
        .issue("proxy", &["proxy"]);
    let [ca, certificate, key] = ["ca.pem", "redis.pem", "redis.key"].map(|f| authority.file(f));
    let arguments = [
        ["--tls-ca-cert-file", &ca],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
    ];
    let redis = RedisServer::on_two_ports("--tls-port", arguments.as_flattened());
    redis.command(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let upstream = Upstream::start().await;
    let url = format!("rediss://:hunter2@127.0.0.1:{}", redis.second_port());
    let lines = format!(
        "ca_file = \"{ca}\"\ncert_file = \"{}\"\nkey_file = \"{}\"",
        authority.file("proxy.pem"),
        authority.file("proxy.key")
    );
    let config = crate::configuration(&upstream.url(), &url, &lines);
    // Two, which know of each other's keys by the store alone.
    let proxies = [Proxy::start(&config).await, Proxy::start(&config).await];
    let request = crate::support::post("/orders", "k", "x");
    let first = proxies[0].send(&request).await;
    assert_eq!(
        first.field("x-idempotency-stored").as_deref(),
        Some("true"),
        "{first:?}"
    );
    let second = proxies[1].send(&request).await;
    assert_eq!(
        second.field("x-idempotency-replay").as_deref(),
        Some("true"),
        "{second:?}"
    );
    assert_eq!(upstream.asked(), 1);
    let page = proxies[0].page("/readyz?verbose").await.text();
    assert!(
        page.contains("store: up") && !page.contains("hunter2"),
        "{page}"
    );
}
