//! An authority whose certificates are good for the length of a test.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test fails by an unwrap"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// An authority, and the files that it wrote: its own certificate is `ca.pem`.
pub struct Authority {
    files: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two authorities of one name would be taken for each other, and their certificates for their own.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name = called(&format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { files, issuer }
    }

    /// One of its files; as text, for a configuration.
    pub fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, valid for these names and addresses.
    pub fn issue(&self, name: &str, valid_for: &[&str]) -> &Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = valid_for.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = called(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        self
    }

    /// A client that trusts this authority, offers these protocols, and shows the certificate of this name, if any.
    pub fn client(&self, alpn: &[&str], identity: Option<(&Self, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((authority, name)) => {
                let certificate =
                    CertificateDer::from_pem_file(authority.path(&format!("{name}.pem"))).unwrap();
                let key =
                    PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

static NUMBER: AtomicUsize = AtomicUsize::new(1);

/// Makes a connection to 127.0.0.1 TLS.
pub async fn secure(
    stream: TcpStream,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
