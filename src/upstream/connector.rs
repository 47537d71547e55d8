//! Opens connections: name lookup, TCP, TLS.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::client::Reuse;
use super::connection::Connection;
use super::error::{NotSentReason, UpstreamSetupError};
use super::pool::Pool;
use super::settings::UpstreamSettings;
use super::socket::{Socket, SocketIo};
use super::verdict::verdict;
use crate::fault::{self, Place};
use crate::tls::ClientTls;

/// Knows the way to one upstream.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Option<(ClientTls, ServerName<'static>)>,
    http: http1::Builder,
}

impl Connector {
    pub(super) fn new(settings: &UpstreamSettings) -> Result<Self, UpstreamSetupError> {
        let refused = || UpstreamSetupError::Origin(settings.origin.clone());
        let host = settings
            .origin
            .host()
            .ok_or_else(refused)?
            .trim_matches(['[', ']'])
            .to_owned();
        let (default_port, tls) = match settings.origin.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| refused())?;
                (443, Some((settings.tls.load(&["http/1.1"])?, name)))
            }
            _ => return Err(refused()),
        };
        let mut http = http1::Builder::new();
        // Of header lines hyper takes 100, and for more of them it would make a table for each answer.
        http.max_buf_size(MAX_HEAD_BYTES);
        Ok(Self {
            port: settings.origin.port_u16().unwrap_or(default_port),
            host,
            tls,
            http,
        })
    }

    /// Opens a connection that holds `permit` for such a request, and spawns its driver.
    pub(super) async fn connect(
        &self,
        permit: SemaphorePermit<'_>,
        deadline: Instant,
        pool: &Arc<Pool>,
        reuse: Reuse,
    ) -> Result<Connection, NotSentReason> {
        fault::reach(Place::BeforeConnection);
        let tcp = self.dial(deadline).await?;
        let socket = Socket::new(tcp, Arc::clone(pool.permits()), permit);
        let io = SocketIo(Arc::clone(&socket));
        let connected = match &self.tls {
            None => self.handshake(io, socket, pool, reuse).await,
            Some((tls, name)) => {
                let begun = Instant::now();
                let connector = TlsConnector::from(tls.config());
                let mut io = timeout_at(deadline, connector.connect(name.clone(), io))
                    .await
                    .map_err(|_| NotSentReason::ConnectTimeout)?
                    .map_err(NotSentReason::Tls)?;
                if tls.was_asked() {
                    let verdict = verdict(&mut io, begun, deadline).await;
                    verdict.map_err(NotSentReason::Tls)?;
                }
                self.handshake(io, socket, pool, reuse).await
            }
        };
        fault::reach(Place::AfterConnection);
        connected
    }

    /// Tries the addresses in turn; one that hangs leaves the others their share of the time.
    async fn dial(&self, deadline: Instant) -> Result<TcpStream, NotSentReason> {
        let addresses: Vec<_> = timeout_at(deadline, lookup_host((self.host.as_str(), self.port)))
            .await
            .map_err(|_| NotSentReason::ConnectTimeout)?
            .map_err(NotSentReason::Resolve)?
            .collect();
        let mut failure = NotSentReason::Resolve(std::io::ErrorKind::NotFound.into());
        for (index, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let now = Instant::now();
            let share = now + deadline.saturating_duration_since(now) / left;
            failure = match timeout_at(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(NotSentReason::Connect)?;
                    notice_death(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => NotSentReason::Connect(error),
                Err(_) => NotSentReason::ConnectTimeout,
            };
        }
        Err(failure)
    }

    async fn handshake<T>(
        &self,
        io: T,
        socket: Arc<Socket>,
        pool: &Arc<Pool>,
        reuse: Reuse,
    ) -> Result<Connection, NotSentReason>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The upstream has taken it, and its buffers come next: those of another one can go.
        pool.make_way(reuse);
        let (sender, driver) = self
            .http
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_| NotSentReason::Closed)?;
        let (pool, observed) = (Arc::downgrade(pool), Arc::clone(&socket));
        let mut driver = driver.with_upgrades();
        let driver = tokio::spawn(async move {
            // Its errors reach whoever waits for the answer.
            let _ = poll_fn(|cx| observed.bell.poll(cx, |cx| driver.poll_unpin(cx))).await;
            if let (Some(since), Some(pool)) = (observed.idle_since(), pool.upgrade()) {
                pool.closed_while_idle(since);
            }
        });
        Ok(Connection::new(sender, socket, driver.abort_handle()))
    }
}

/// Has the system ask an upstream that is silent in the middle of an answer whether it is still there.
fn notice_death(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(PROBED_AFTER)
        .with_interval(PROBED_EVERY)
        .with_retries(PROBES);
    // Without them a machine that lost its power is waited for longer, nothing worse.
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// An answer whose head is larger cannot be read, and is lost.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// Silence after which the system asks, how often, and how many questions may go unanswered.
const PROBED_AFTER: Duration = Duration::from_secs(15);
const PROBED_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[tokio::test]
    async fn an_upstream_that_loses_its_power_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = Connector::new(&settings("http", listener.local_addr().unwrap())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let stream = connector.dial(deadline).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBED_AFTER);
    }
}
