//! Whether a certificate is valid now.

use std::time::{Duration, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::UnixTime;

use super::provider;

/// Says so where the certificate of `setting` is not valid now, by this machine's clock.
pub(super) fn told(setting: &str, identity: &CertifiedKey) -> Option<String> {
    let certificate = ParsedCertificate::try_from(identity.cert.first()?).ok()?;
    // Nobody vouches for it here; its dates are looked at first.
    let verified = verify_server_cert_signed_by_trust_anchor(
        &certificate,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        provider().signature_verification_algorithms.all,
    );
    let Err(Error::InvalidCertificate(error)) = verified else {
        return None;
    };
    let date =
        |time: UnixTime| httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match error {
        CertificateError::ExpiredContext { not_after, .. } => Some(format!(
            "{setting} expired on {}: whoever checks it refuses the connection",
            date(not_after)
        )),
        CertificateError::NotValidYetContext { not_before, .. } => Some(format!(
            "{setting} is not valid before {}: whoever checks it refuses the connection",
            date(not_before)
        )),
        _ => None,
    }
}
