//! PEM files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::BadTls;
use super::provider;

/// A file, and the setting that names it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) setting: &'static str,
    pub(super) path: &'a Path,
}

impl Named<'_> {
    /// Certificates, the one that is shown before those that vouch for it.
    pub(super) fn certificates(self) -> Result<Vec<CertificateDer<'static>>, BadTls> {
        let text = self.text()?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.bad(format!("{CERTIFICATES}: {error:?}")))?;
        if certificates.is_empty() {
            return Err(self.bad(format!("{CERTIFICATES}; it holds none")));
        }
        Ok(certificates)
    }

    /// The authorities to trust.
    pub(super) fn roots(self) -> Result<RootCertStore, BadTls> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| self.bad(format!("{CERTIFICATES}: {error}")))?;
        }
        Ok(roots)
    }

    /// This certificate with its key.
    pub(super) fn with_key(self, key: Named<'_>) -> Result<CertifiedKey, BadTls> {
        let chain = self.certificates()?;
        let signing = provider()
            .key_provider
            .load_private_key(key.private_key()?)
            .map_err(|error| {
                key.bad(format!(
                    "expected a private key of a kind that TLS uses: {error}"
                ))
            })?;
        let identity = CertifiedKey::new(chain, signing);
        match identity.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(identity)
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(key.bad(format!(
                "expected the key of the first certificate in `{}`, and it is another one's",
                self.setting
            ))),
            Err(error) => Err(self.bad(format!("{CERTIFICATES}: {error}"))),
        }
    }

    fn private_key(self) -> Result<PrivateKeyDer<'static>, BadTls> {
        let text = self.text()?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let encrypted = text
                .windows(ENCRYPTED.len())
                .any(|window| window == ENCRYPTED);
            self.bad(match error {
                _ if encrypted => {
                    "expected a private key without a passphrase; this one has one".to_owned()
                }
                Error::NoItemsFound => format!("{KEY}; it holds none"),
                // Not quoted: it is a key.
                _ => format!("{KEY}; it cannot be read as PEM"),
            })
        })
    }

    fn text(self) -> Result<Vec<u8>, BadTls> {
        let read = || {
            let file = File::open(self.path)?;
            if !file.metadata()?.is_file() {
                return Err(std::io::Error::other("it is no file"));
            }
            let mut text = Vec::new();
            file.take(MAX + 1).read_to_end(&mut text)?;
            if text.len() as u64 > MAX {
                return Err(std::io::Error::other("it is too large"));
            }
            Ok(text)
        };
        read().map_err(|error| self.bad(format!("expected a file that can be read: {error}")))
    }

    pub(super) fn bad(self, why: String) -> BadTls {
        BadTls::file(self.setting, self.path, why)
    }
}

const CERTIFICATES: &str = "expected certificates in PEM (-----BEGIN CERTIFICATE-----)";
const KEY: &str = "expected a private key in PEM (-----BEGIN PRIVATE KEY-----)";
const ENCRYPTED: &[u8] = b"ENCRYPTED";
/// Every root there is takes a quarter of it.
const MAX: u64 = 1 << 20;
