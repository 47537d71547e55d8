//! An https upstream.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::BadTls;

struct Authority {
    files: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { files, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, valid for 127.0.0.1.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    /// A server that wants a client certificate of this authority, and answers with the number of the connection.
    async fn serve(&self, version: &'static SupportedProtocolVersion) -> SocketAddr {
        let (certificate, key) = self.issue("server");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        listen(move |number, stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                let mut request = [0; 512];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await
    }

    async fn settings(&self, version: &'static SupportedProtocolVersion) -> UpstreamSettings {
        let mut settings = settings("https", self.serve(version).await);
        settings.tls.ca_file = Some(self.file("ca.pem"));
        settings.tls.cert_file = Some(self.file("client.pem"));
        settings.tls.key_file = Some(self.file("client.key"));
        settings
    }
}

#[tokio::test]
async fn both_sides_show_certificates_and_the_connection_is_used_again() {
    let authority = Authority::new();
    authority.issue("client");
    for version in [&TLS12, &TLS13] {
        let upstream = Upstream::new(&authority.settings(version).await).unwrap();
        for _ in 0..3 {
            let response = upstream.send(get(), Reuse::Any).await.unwrap();
            assert_eq!(text(response).await, "0");
        }
    }
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_not_sent_to() {
    let authority = Authority::new();
    authority.issue("client");
    let mut settings = authority.settings(&TLS12).await;
    let stranger = Authority::new();
    settings.tls.ca_file = Some(stranger.file("ca.pem"));
    let outcome = Upstream::new(&settings)
        .unwrap()
        .send(post("x"), Reuse::OnlyYoung)
        .await;
    assert!(
        matches!(
            outcome,
            Err(SendError::NotSent {
                reason: NotSentReason::Tls(_),
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn without_its_client_certificate_nothing_is_sent() {
    let authority = Authority::new();
    let mut settings = authority.settings(&TLS12).await;
    settings.tls.cert_file = None;
    settings.tls.key_file = None;
    let outcome = Upstream::new(&settings)
        .unwrap()
        .send(post("x"), Reuse::OnlyYoung)
        .await;
    assert!(
        matches!(
            outcome,
            Err(SendError::NotSent {
                reason: NotSentReason::Tls(_),
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let authority = Authority::new();
    let (_, _) = authority.issue("client");
    let good = authority.settings(&TLS12).await;
    let refused = |change: fn(&mut UpstreamSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        Upstream::new(&settings).unwrap_err()
    };
    assert!(matches!(
        refused(|s| s.tls.key_file = None),
        UpstreamSetupError::Tls(BadTls::Half(..))
    ));
    assert!(matches!(
        refused(|s| s.tls.ca_file = Some("/nowhere.pem".into())),
        UpstreamSetupError::Tls(BadTls::File { .. })
    ));
    assert!(matches!(
        refused(|s| s.tls.ca_file = s.tls.key_file.clone()),
        UpstreamSetupError::Tls(BadTls::File { .. })
    ));
    assert!(matches!(
        refused(|s| s.tls.key_file = s.tls.ca_file.clone()),
        UpstreamSetupError::Tls(BadTls::File { .. })
    ));
    assert!(matches!(
        refused(|s| s.origin = "/path".parse().unwrap()),
        UpstreamSetupError::Origin(_)
    ));
    assert!(matches!(
        refused(|s| s.origin = "ftp://a".parse().unwrap()),
        UpstreamSetupError::Origin(_)
    ));
}
