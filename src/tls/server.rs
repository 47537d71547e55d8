//! What clients are shown, and asked for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;

use super::error::BadTls;
use super::files::Named;
use super::{provider, validity};

/// The files of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// PEM certificate to show, with those that vouch for it.
    pub cert: PathBuf,
    /// PEM key of `cert`.
    pub key: PathBuf,
    /// PEM bundle of the authorities whose certificates clients must show; without it they are asked for none.
    pub client_ca: Option<PathBuf>,
}

/// What clients are shown, and asked for, as read from files. A connection keeps what it began with.
///
/// Sessions are resumed only under what they were made under: an authority that is taken away is believed by no later connection.
pub struct ServerTls {
    files: ServerFiles,
    config: Arc<ServerConfig>,
    note: Option<String>,
}

impl ServerTls {
    /// Reads the files: at start, and for each reload.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or a key of another certificate.
    pub fn load(files: ServerFiles) -> Result<Self, BadTls> {
        let certificate = Named {
            setting: "tls_cert",
            path: &files.cert,
        };
        let identity = certificate.with_key(Named {
            setting: "tls_key",
            path: &files.key,
        })?;
        let note = validity::told("tls_cert", &identity);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites of both versions");
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let authorities = Named {
                    setting: "tls_client_ca",
                    path,
                };
                let roots = authorities.roots()?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                        .build()
                        .map_err(|error| authorities.bad(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files,
            config: Arc::new(config),
            note,
        })
    }

    /// What a connection begins with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Whether clients must show certificates.
    pub fn asks_for_certificates(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// What a person should know of the certificate: that it is not valid now.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// The same files, whatever is in them.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for ServerTls {}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}
