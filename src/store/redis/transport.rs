//! In the clear, or over TLS.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SetupError;
use crate::tls::ClientFiles;

/// In the clear, or over TLS; the same for all servers that a URL leads to.
#[derive(Clone)]
pub(super) enum Transport {
    Plain,
    Tls(TlsConnector),
}

impl Transport {
    /// What `url` asks for: `rediss://…`, `rediss+sentinel://…` and `rediss+cluster://…` are the same as without the second s, over TLS.
    pub(super) fn of(url: &str, files: &ClientFiles) -> Result<Self, SetupError> {
        if !is_tls(url) {
            return Ok(Self::Plain);
        }
        let config = files
            .load(&[])
            .map_err(|error| SetupError::Tls(error.to_string()))?;
        Ok(Self::Tls(TlsConnector::from(Arc::new(config))))
    }
}

/// Makes a connection TLS. The server has to show a certificate for `host`, as it was named: by the URL, by sentinels, or by the cluster.
pub(super) async fn secure<T>(
    tls: &TlsConnector,
    host: &str,
    stream: T,
) -> std::io::Result<TlsStream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| std::io::Error::other("its name is none that a certificate has"))?;
    tls.connect(name, stream).await
}

/// Whether a URL asks for TLS.
pub(super) fn is_tls(url: &str) -> bool {
    url.starts_with("rediss:") || url.starts_with("rediss+")
}

/// The same URL, in the clear.
pub(super) fn in_the_clear(url: &str) -> String {
    match is_tls(url) {
        true => url.replacen("rediss", "redis", 1),
        false => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_asks_for_tls_and_changes_nothing_else() {
        for (url, plain) in [
            ("rediss://h", "redis://h"),
            (
                "rediss+sentinel://rediss:p@h/p",
                "redis+sentinel://rediss:p@h/p",
            ),
            ("rediss+cluster://h,rediss", "redis+cluster://h,rediss"),
        ] {
            assert!(is_tls(url), "{url}");
            assert_eq!(in_the_clear(url), plain);
            assert!(!is_tls(plain), "{plain}");
            assert_eq!(in_the_clear(plain), plain);
        }
        assert!(!is_tls("redissx://h"));
    }
}
