//! The beginning of a connection that is to be TLS.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::farewell::{SHORT_LINGER, farewell, last_message};
use crate::wire::Paced;
use crate::wire::{Code, Problem, Voice};

/// Why a connection did not become TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// Closed before its first byte, as the probes of load balancers are: nothing went wrong.
    #[error("the client left at once")]
    Left,
    /// The first byte is one of a request.
    #[error("the client speaks plain HTTP")]
    Plain,
    /// It took longer than it may.
    #[error("no handshake in time")]
    Late,
    /// What rustls, or the system, says of it.
    #[error("{0}")]
    Failed(io::Error),
}

/// Makes a connection TLS, by `deadline`. Where that fails the client was told so, as far as it can be, and the connection is closed.
pub(super) async fn handshake(
    tcp: Paced<TcpStream>,
    config: Arc<ServerConfig>,
    deadline: Instant,
    voice: &Voice,
) -> Result<Box<TlsStream<Paced<TcpStream>>>, HandshakeError> {
    let late = |_| HandshakeError::Late;
    let mut first = [0];
    let seen = timeout_at(deadline, tcp.inner.peek(&mut first)).await;
    match seen.map_err(late)? {
        Ok(0) | Err(_) => return Err(HandshakeError::Left),
        // A method, or HTTP/2's preface. A record of TLS begins with another byte.
        _ if first[0].is_ascii_alphabetic() => {
            let problem = Problem::new(Code::BadRequest, "this port is for HTTPS");
            farewell(tcp, &last_message(problem, voice), SHORT_LINGER).await;
            return Err(HandshakeError::Plain);
        }
        _ => (),
    }
    let accepting = TlsAcceptor::from(config).accept(tcp).into_fallible();
    match timeout_at(deadline, accepting).await.map_err(late)? {
        Ok(tls) => Ok(Box::new(tls)),
        Err((error, mut tcp)) => {
            // The alert was written, and a reset must not overtake it.
            let _ = tcp.flush().await;
            farewell(tcp, b"", SHORT_LINGER).await;
            Err(HandshakeError::Failed(error))
        }
    }
}
