//! One connection, from the accept to the last byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::Service;

use super::body::ClientBody;
use super::exchange::Exchange;
use super::farewell::{LINGER, SHORT_LINGER, farewell, last_message};
use super::handshake::{HandshakeError, handshake};
use super::io::{ClientIo, Leftover};
use super::link::Link;
use super::socket::Socket;
use super::streams::Streams;
use super::{Phase, ServerSettings, SharedSettings, Shutdown};
use crate::telemetry::{Limit, Metrics, Outcome};
use crate::wire::Paced;
use crate::wire::{BoxError, Code, Peer, Problem, Voice};

/// What every connection of a listener is served with.
#[derive(Clone)]
pub(super) struct Connections<S> {
    service: S,
    /// As they were last caught up with.
    settings: Arc<ServerSettings>,
    present: SharedSettings,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    protocol: Arc<Builder<Streams>>,
}

impl<S, B> Connections<S>
where
    S: Service<Request<ClientBody>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(
        service: S,
        present: SharedSettings,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        let settings = present.load_full();
        Self {
            service,
            protocol: Arc::new(protocol(&settings)),
            settings,
            present,
            metrics,
            shutdown,
        }
    }

    /// Has the connections from now on go by the present settings.
    pub(super) fn catch_up(&mut self) {
        let present = self.present.load();
        if !Arc::ptr_eq(&present, &self.settings) {
            self.protocol = Arc::new(protocol(&present));
            self.settings = present.clone();
        }
    }

    /// Serves a connection to its end. `permit` is dropped with the socket, which outlives this where it is upgraded.
    pub(super) async fn run<P>(self, tcp: TcpStream, addr: SocketAddr, permit: P)
    where
        P: Send + Unpin + 'static,
    {
        let accepted = Instant::now();
        let deadline = accepted + self.settings.header_timeout;
        let begun = tokio::select! {
            biased;
            begun = begin(tcp, addr, deadline, &self.settings, &self.metrics) => begun,
            () = self.shutdown.reached(Phase::Draining) => None,
        };
        let Some(socket) = begun else {
            return;
        };
        let link = Arc::new(Link::default());
        let present = self.present.clone();
        let (io, mut handed_back) =
            ClientIo::new(socket, permit, accepted, link.clone(), &self.settings);
        let scheme = match self.settings.tls {
            Some(_) => "https",
            None => "http",
        };
        let exchange = Exchange {
            inner: self.service,
            peer: Peer::new(addr, scheme),
            settings: self.settings,
            present: self.present,
            metrics: self.metrics.clone(),
            link: link.clone(),
        };
        let end = {
            let mut connection = pin!(
                self.protocol
                    .serve_connection_with_upgrades(TokioIo::new(io), exchange)
            );
            let idle_at_drain = tokio::select! {
                ended = connection.as_mut() => Err(ended),
                () = self.shutdown.reached(Phase::Draining) => Ok(link.is_idle().then(|| link.served())),
            };
            match idle_at_drain {
                Err(ended) => End::of(ended),
                Ok(idle_at_drain) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => match End::of(ended) {
                            // Also one whose first byte never came: hyper has no other word for it.
                            End::Done | End::Lost if idle_at_drain == Some(link.served()) => End::Idle,
                            end => end,
                        },
                        () = self.shutdown.reached(Phase::Closed) => End::Aborted,
                    }
                }
            }
        };
        // Nothing comes back of an upgraded connection.
        let Ok(leftover) = handed_back.try_recv() else {
            return;
        };
        let voice = present.load().voice.clone();
        tokio::select! {
            () = finish(end, leftover, &voice, &self.metrics) => (),
            () = self.shutdown.reached(Phase::Closed) => (),
        }
    }
}

/// The socket as it is spoken over; nothing where it did not come to that.
async fn begin(
    tcp: TcpStream,
    addr: SocketAddr,
    deadline: Instant,
    settings: &ServerSettings,
    metrics: &Metrics,
) -> Option<Socket> {
    let tcp = Paced::new(tcp, settings.body_idle_timeout);
    let Some(tls) = &settings.tls else {
        return Some(Socket::Plain(tcp));
    };
    match Box::pin(handshake(tcp, tls.config(), deadline, &settings.voice)).await {
        Ok(tls) => Some(Socket::Tls(tls)),
        Err(HandshakeError::Left) => None,
        Err(error) => {
            metrics.tls_handshakes_failed.inc();
            tracing::debug!(client = %addr, %error, "no TLS");
            None
        }
    }
}

/// How a connection ended, as far as hyper tells.
enum End {
    /// After its last exchange.
    Done,
    /// Closed between two exchanges, since the listener stops.
    Idle,
    /// With bytes that are no request.
    Unparsable,
    /// In the middle of an answer.
    Aborted,
    /// By the client, or by a timeout.
    Lost,
}

impl End {
    fn of(ended: Result<(), BoxError>) -> Self {
        match ended.map_err(|error| error.downcast::<hyper::Error>()) {
            Ok(()) => Self::Done,
            Err(Ok(error)) if error.is_parse() => Self::Unparsable,
            Err(Ok(error)) if error.is_user() => Self::Aborted,
            Err(_) => Self::Lost,
        }
    }
}

async fn finish<P>(end: End, leftover: Leftover<Socket, P>, voice: &Voice, metrics: &Metrics) {
    let Leftover {
        mut socket,
        permit: _permit,
        held,
        eof,
    } = leftover;
    match end {
        End::Unparsable if !held.is_empty() => {
            let problem = if held.get(9..12) == Some(b"400") {
                Problem::new(Code::BadRequest, "the request is malformed")
            } else {
                metrics.limit_reached(Limit::MaxHeaderBytes);
                Problem::new(Code::HeaderTooLarge, "the request head is too large")
            };
            metrics.request("", Outcome::BadRequest);
            farewell(socket, &last_message(problem, voice), LINGER).await;
        }
        End::Done if !eof || !held.is_empty() => farewell(socket, &held, LINGER).await,
        // An orderly close would make a cut answer without a length look whole.
        End::Aborted => socket.reset_when_closed(),
        End::Idle => {
            // Over TLS a mere close is no orderly end.
            let _ = timeout(SHORT_LINGER, socket.shutdown()).await;
        }
        End::Done | End::Unparsable | End::Lost => (),
    }
}

fn protocol(settings: &ServerSettings) -> Builder<Streams> {
    let mut builder = Builder::new(Streams {
        patience: settings.body_idle_timeout,
    });
    builder
        .http1()
        .timer(TokioTimer::new())
        // See `io`, which tells a rest between requests from a slow head.
        .header_read_timeout(None)
        .max_buf_size(
            settings
                .max_header_bytes
                .saturating_add(SEPARATORS)
                .max(MIN_BUFFER),
        );
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(
            u32::try_from(settings.max_header_bytes.saturating_add(SEPARATORS)).unwrap_or(u32::MAX),
        )
        .max_concurrent_streams(200)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Room for what a head holds beside names, values and target, so that our own measure decides; of header lines hyper takes 100, and with
/// another number it would make a table of that many for each request.
const SEPARATORS: usize = 256 * 32;
/// hyper takes no smaller one.
const MIN_BUFFER: usize = 8192;
