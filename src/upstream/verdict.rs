//! The server's word on our certificate.
//!
//! Under TLS 1.3 a handshake is over for the client before the server has looked at the client's certificate. A refusal that comes after the first byte of a
//! request cannot be told from a connection that was lost, and leaves its outcome unknown. So where a server asks for certificates a new connection
//! first waits as long as such a refusal takes; session tickets, which most servers send once they are content, end the wait.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

/// Waits for a refusal on a connection whose handshake began then; not beyond `deadline`. Silence is consent, and no more than that.
///
/// # Errors
///
/// The refusal, or that the connection was closed. Nothing was sent.
pub(super) async fn verdict<T>(
    tls: &mut TlsStream<T>,
    begun: Instant,
    deadline: Instant,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let session = tls.get_ref().1;
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3)
        || session.handshake_kind() == Some(HandshakeKind::Resumed)
    {
        return Ok(());
    }
    let wait = (begun.elapsed() * 2).max(LEAST_WAIT);
    let heard = poll_fn(|cx| {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut *tls).poll_read(cx, &mut buffer) {
            // Whatever it says, nobody has asked it anything.
            Poll::Ready(read) => Poll::Ready(read.and(Err(io::ErrorKind::UnexpectedEof.into()))),
            Poll::Pending if tls.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    });
    timeout_at((Instant::now() + wait).min(deadline), heard)
        .await
        .unwrap_or(Ok(()))
}

/// For a server next door, which may be busy.
const LEAST_WAIT: Duration = Duration::from_millis(10);
