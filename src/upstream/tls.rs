//! How an `https` upstream is recognised, and how it recognises us.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::UpstreamSetupError;
use super::settings::UpstreamSettings;

/// Reads the files of `settings`. Trusts `ca_file` alone where it is set, otherwise the system's roots.
pub(super) fn client_config(
    settings: &UpstreamSettings,
) -> Result<ClientConfig, UpstreamSetupError> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(settings.ca_file.as_deref())?);
    let mut config = match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|source| pem(key, source))?;
            builder.with_client_auth_cert(certificates(certificate)?, key_der)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(UpstreamSetupError::HalfAnIdentity),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, UpstreamSetupError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    } else {
        // System stores hold oddities; what cannot be parsed is left out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(UpstreamSetupError::NoRoots);
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamSetupError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| pem(path, source))?;
    if certificates.is_empty() {
        return Err(pem(path, rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn pem(path: &Path, source: rustls_pki_types::pem::Error) -> UpstreamSetupError {
    UpstreamSetupError::Pem {
        path: path.to_owned(),
        source,
    }
}
