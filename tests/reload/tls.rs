//! Certificates that are exchanged under their names.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;
use crate::world::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An https API with a certificate of this authority.
async fn serve(authority: &Authority) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    return;
                };
                let mut read = Vec::new();
                while !read.ends_with(b"body") {
                    stream.read_buf(&mut read).await.unwrap();
                }
                let answer = b"HTTP/1.1 201 Made\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_authority_that_is_exchanged_in_its_file_is_trusted_from_the_next_reload_on() {
    let (old, new) = (authority(), authority());
    let address = serve(&new).await;
    let upstream = Upstream::start().await;
    let file = File::new("");
    let ca = file.beside("ca.pem", &old.pem());
    let text = configuration(
        &upstream,
        &format!("[reload]\nwatch = true\n[upstream_connections]\nca_file = {ca:?}\n"),
    );
    file.write(&text.replace(&upstream.url(), &format!("https://{address}")));
    let proxy = Proxy::of_file(file.path()).await;
    let request = post("/orders", "k", "body");
    assert_eq!(proxy.send(&request).await.status, 502);
    std::fs::write(&ca, new.pem()).unwrap();
    proxy.reaches(APPLIED, 1.0).await;
    assert_eq!(proxy.send(&request).await.status, 201);
}

#[tokio::test]
async fn tls_for_clients_neither_comes_nor_goes_by_a_reload() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let upstream = Upstream::start().await;
    let file = File::new("");
    let (cert, key) = (
        file.beside("server.pem", &certificate),
        file.beside("server.key", &key.serialize_pem()),
    );
    let tls = format!("[server]\ntls_cert = {cert:?}\ntls_key = {key:?}\n");
    let clear = configuration(&upstream, "");
    file.write(&clear);
    let proxy = Proxy::of_file(file.path()).await;
    file.write(&configuration(&upstream, &tls));
    let refused = reload(&proxy, "").await;
    assert_eq!(refused.status, 409);
    let told = "`server.tls_cert` is changed, which needs a restart";
    assert!(refused.text().contains(told), "{refused:?}");
    assert_eq!(proxy.send(&post("/orders", "k", "body")).await.status, 201);
}
