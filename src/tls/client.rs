//! The files of connections that this proxy makes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::error::BadTls;
use super::files::Named;
use super::{provider, validity};

/// How a server is recognised, and how it recognises us. Without files: by the system's roots, and not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM bundle of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate to show, with those that vouch for it; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM key of `cert_file`.
    pub key_file: Option<PathBuf>,
}

impl ClientFiles {
    /// Reads the files. Trusts `ca_file` alone where it is set, otherwise the system's roots. `alpn` are the protocols to offer, if any.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or a system without roots.
    pub fn load(&self, alpn: &[&str]) -> Result<ClientTls, BadTls> {
        let roots = match self.authorities()? {
            Some(roots) => roots,
            None => of_the_system()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites of both versions")
            .with_root_certificates(roots);
        let shown = Arc::new(Shown {
            identity: self.identity()?.map(SingleCertAndKey::from),
            asked: AtomicBool::new(false),
        });
        let mut config = builder.with_client_cert_resolver(shown.clone());
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(ClientTls {
            config: Arc::new(config),
            shown,
        })
    }

    /// Reads the files that are named, and only those; says what a person should know of them.
    ///
    /// # Errors
    ///
    /// A file that cannot be used.
    pub fn check(&self) -> Result<Option<String>, BadTls> {
        self.authorities()?;
        let identity = self.identity()?;
        Ok(identity.and_then(|identity| validity::told("cert_file", &identity)))
    }

    /// Whether none is named.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn authorities(&self) -> Result<Option<RootCertStore>, BadTls> {
        let named = self.ca_file.as_deref().map(|path| Named {
            setting: "ca_file",
            path,
        });
        named.map(Named::roots).transpose()
    }

    fn identity(&self) -> Result<Option<CertifiedKey>, BadTls> {
        let (certificate, key) = match (&self.cert_file, &self.key_file) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err(BadTls::Half("cert_file", "key_file")),
        };
        let certificate = Named {
            setting: "cert_file",
            path: certificate,
        };
        let key = Named {
            setting: "key_file",
            path: key,
        };
        certificate.with_key(key).map(Some)
    }
}

/// What connections are made with.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    shown: Arc<Shown>,
}

impl ClientTls {
    /// For a connection.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Whether a server has asked for a certificate so far, whether or not there is one.
    pub fn was_asked(&self) -> bool {
        self.shown.asked.load(Ordering::Relaxed)
    }
}

/// What is shown to servers that ask.
#[derive(Debug)]
struct Shown {
    identity: Option<SingleCertAndKey>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        ResolvesClientCert::resolve(self.identity.as_ref()?, authorities, schemes)
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

fn of_the_system() -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    // System stores hold oddities; what cannot be parsed is left out.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(BadTls::NoRoots);
    }
    Ok(roots)
}
