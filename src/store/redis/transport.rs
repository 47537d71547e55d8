//! In the clear, or over TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
        Ok(Self::Tls(TlsConnector::from(config.config())))
    }
}

/// Makes a connection TLS. The server has to show a certificate for `host`, as it was named: by the URL, by sentinels, or by the cluster.
pub(super) async fn secure<T>(tls: &TlsConnector, host: &str, stream: T) -> io::Result<TlsStream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other("its name is none that a certificate has"))?;
    tls.connect(name, stream).await
}

/// Why a connection broke, where it broke. A server of TLS 1.3 refuses a certificate after the handshake is over for the client, and the crate does
/// not tell what was wrong with a connection.
#[derive(Clone, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<io::Error>>>);

impl Refusal {
    /// The stream, whose errors are kept here as well.
    pub(super) fn overheard<T>(&self, stream: T) -> Overheard<T> {
        Overheard {
            stream,
            refusal: self.clone(),
        }
    }

    /// What was heard first.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream whose errors are kept.
pub(super) struct Overheard<T> {
    stream: T,
    refusal: Refusal,
}

impl<T: AsyncRead + Unpin> AsyncRead for Overheard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &polled {
            let copy = io::Error::new(error.kind(), error.to_string());
            let mut kept = self
                .refusal
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            kept.get_or_insert(copy);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Overheard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
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
