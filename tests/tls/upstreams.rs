//! An upstream over TLS that asks for certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::authority::Authority;
use crate::configuration;
use crate::support::{Answer, Proxy, Upstream, post};

const UNREACHABLE: &str = "upstream-unreachable";

/// Before an upstream: shows the certificate `api`, and lets in whom the same authority vouches for.
async fn front(
    authority: &Authority,
    upstream: &Upstream,
    version: &'static SupportedProtocolVersion,
) -> SocketAddr {
    let certificates = |name| {
        let certificates = CertificateDer::pem_file_iter(authority.path(name)).unwrap();
        certificates.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_file(authority.path("api.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(certificates("api.pem"), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let upstream = upstream.address();
    listen(move |client| {
        let acceptor = acceptor.clone();
        async move {
            let accepted = acceptor.accept(client).into_fallible().await;
            match accepted {
                Ok(mut client) => {
                    let mut server = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
                // So that no reset overtakes its alert.
                Err((_, mut client)) => {
                    let _ = client.shutdown().await;
                    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                }
            }
        }
    })
    .await
}

async fn listen<F, S>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// What happens on the way to a server.
#[derive(Clone, Copy)]
enum Way {
    /// Every piece is late by so much.
    Late(Duration),
    /// What follows the server's first flight waits for so many bytes of the client.
    HeldUntil(usize),
}

async fn relay(server: SocketAddr, way: Way) -> SocketAddr {
    listen(move |client| async move {
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (sent, more) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, told) = (sent.clone(), more.clone());
        let up = tokio::spawn(async move {
            let mut piece = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                if let Way::Late(by) = way {
                    tokio::time::sleep(by).await;
                }
                let _ = to_server.write_all(&piece[..length]).await;
                counted.fetch_add(length, Ordering::SeqCst);
                told.notify_one();
            }
            let _ = to_server.shutdown().await;
        });
        let mut piece = vec![0; 1 << 16];
        let mut pieces = 0;
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            match way {
                Way::Late(by) => tokio::time::sleep(by).await,
                Way::HeldUntil(bytes) if pieces > 0 => {
                    while sent.load(Ordering::SeqCst) < bytes {
                        more.notified().await;
                    }
                }
                Way::HeldUntil(_) => (),
            }
            pieces += 1;
            if to_client.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
        let _ = to_client.shutdown().await;
        up.abort();
    })
    .await
}

/// The configuration of a proxy before an upstream at `address`, with the certificate of this name, if any.
fn config(
    authority: &Authority,
    address: SocketAddr,
    identity: Option<(&Authority, &str)>,
) -> String {
    let mut config = configuration(&format!("https://{address}"), "memory:", "");
    config += &format!(
        "[upstream_connections]\nconnect_timeout = \"20s\"\nca_file = \"{}\"\n",
        authority.file("ca.pem")
    );
    if let Some((authority, name)) = identity {
        for (setting, end) in [("cert_file", "pem"), ("key_file", "key")] {
            config += &format!(
                "{setting} = \"{}\"\n",
                authority.file(&format!("{name}.{end}"))
            );
        }
    }
    config + "[policy]\nretry = { attempts = 1 }\n"
}

fn error(answer: &Answer) -> String {
    answer.field("x-idempotency-error").unwrap_or_default()
}

fn state(answer: &Answer) -> String {
    answer.field("x-idempotency-state").unwrap_or_default()
}

#[tokio::test]
async fn an_upstream_lets_in_whom_it_knows_and_a_refusal_frees_the_key() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority
        .issue("api", &["127.0.0.1"])
        .issue("proxy", &["proxy"]);
    stranger.issue("proxy", &["proxy"]);
    let upstream = Upstream::start().await;
    for version in [&TLS12, &TLS13] {
        let direct = front(&authority, &upstream, version).await;
        // A refusal is waited for in proportion to what the handshake took, so that a busy machine does not matter.
        let address = relay(direct, Way::Late(Duration::from_millis(60))).await;
        let executions = upstream.executions();
        for identity in [None, Some((&stranger, "proxy"))] {
            let proxy = Proxy::start(&config(&authority, address, identity)).await;
            let request = post("/orders", "k", "x");
            for _ in 0..2 {
                let answer = proxy.send(&request).await;
                assert_eq!(
                    (answer.status, error(&answer).as_str()),
                    (502, UNREACHABLE),
                    "{answer:?}"
                );
                assert_eq!(state(&answer), "released");
            }
        }
        assert_eq!(upstream.executions(), executions);
        let known = config(&authority, address, Some((&authority, "proxy")));
        let proxy = Proxy::start(&known).await;
        for number in 0..3 {
            let answer = proxy
                .send(&post("/orders", &format!("k{number}"), "x"))
                .await;
            assert_eq!(answer.status, 201, "{answer:?}");
            assert_eq!(
                answer.field("x-idempotency-stored").as_deref(),
                Some("true")
            );
        }
        assert_eq!(upstream.executions(), executions + 3);
    }
}

#[tokio::test]
async fn a_refusal_that_comes_after_the_first_byte_leaves_the_outcome_unknown() {
    let authority = Authority::new();
    authority.issue("api", &["127.0.0.1"]);
    let upstream = Upstream::start().await;
    let direct = front(&authority, &upstream, &TLS13).await;
    let address = relay(direct, Way::HeldUntil(6000)).await;
    let proxy = Proxy::start(&config(&authority, address, None)).await;
    let request = post("/orders", "k", "x".repeat(20_000));
    let answer = proxy.send(&request).await;
    assert_eq!(
        (answer.status, error(&answer).as_str()),
        (502, "upstream-failed"),
        "{answer:?}"
    );
    assert_eq!(state(&answer), "unknown");
    let again = proxy.send(&request).await;
    assert_eq!(
        (again.status, error(&again).as_str()),
        (409, "outcome-unknown"),
        "{again:?}"
    );
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn an_upstream_is_believed_by_its_authority_and_its_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority
        .issue("api", &["other.example"])
        .issue("proxy", &["proxy"]);
    let upstream = Upstream::start().await;
    let misnamed = front(&authority, &upstream, &TLS13).await;
    authority.issue("api", &["127.0.0.1"]);
    let named = front(&authority, &upstream, &TLS13).await;
    let identity = Some((&authority, "proxy"));
    for config in [
        config(&authority, misnamed, identity),
        config(&stranger, named, identity),
    ] {
        let proxy = Proxy::start(&config).await;
        let answer = proxy.send(&post("/orders", "k", "x")).await;
        assert_eq!(
            (answer.status, error(&answer).as_str()),
            (502, UNREACHABLE),
            "{answer:?}"
        );
        assert_eq!(state(&answer), "released");
    }
    assert_eq!(upstream.asked(), 0);
    let proxy = Proxy::start(&config(&authority, named, identity)).await;
    assert_eq!(proxy.send(&post("/orders", "k", "x")).await.status, 201);
}
