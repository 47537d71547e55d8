//! One connection, from the accept to the last byte.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::exchange::Exchange;
use super::farewell::{LINGER, SHORT_LINGER, farewell, last_message};
use super::handshake::{HandshakeError, handshake};
use super::io::{ClientIo, Leftover};
use super::link::Link;
use super::preface::Version;
use super::protocols::Protocols;
use super::socket::Socket;
use super::{ServerSettings, SharedSettings, Shutdown};
use crate::lanes::turn;
use crate::telemetry::{Limit, Metrics, Outcome};
use crate::wire::Paced;
use crate::wire::{Code, Handler, Peer, Problem, Voice};

/// What every connection of a listener is served with.
#[derive(Clone)]
pub(super) struct Connections<H> {
    handler: H,
    /// As they were last caught up with.
    settings: Arc<ServerSettings>,
    present: SharedSettings,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    protocols: Arc<Protocols>,
}

impl<H: Handler> Connections<H> {
    pub(super) fn new(
        handler: H,
        present: SharedSettings,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Self {
        let settings = present.load_full();
        Self {
            handler,
            protocols: Arc::new(Protocols::new(&settings)),
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
            self.protocols = Arc::new(Protocols::new(&present));
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
            () = self.shutdown.draining() => None,
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
            handler: self.handler,
            peer: Arc::new(Peer::new(addr, scheme)),
            settings: self.settings,
            present: self.present,
            metrics: self.metrics.clone(),
            link: link.clone(),
        };
        let end = speak(io, exchange, &self.protocols, &self.shutdown).await;
        // Nothing comes back of an upgraded connection.
        let Ok(leftover) = handed_back.try_recv() else {
            return;
        };
        let voice = present.load().voice.clone();
        tokio::select! {
            () = finish(end, leftover, &voice, &self.metrics) => (),
            () = self.shutdown.closed() => (),
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

/// Speaks HTTP until one of the two sides ends it.
///
/// hyper keeps some 24 KiB of buffers for a connection, with or without a request. One that rests is taken from hyper, and given back
/// with the first bytes of its next request. What hyper has is in a box, so that the task of one that rests is small.
async fn speak<H, T, P>(
    mut io: ClientIo<T, P>,
    mut exchange: Exchange<H>,
    protocols: &Protocols,
    shutdown: &Shutdown,
) -> End
where
    H: Handler,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    P: Send + Unpin + 'static,
{
    let link = exchange.link.clone();
    let mut draining = pin!(shutdown.draining());
    loop {
        let begun = tokio::select! {
            begun = poll_fn(|cx| io.poll_begun(cx)) => begun,
            () = draining.as_mut() => return End::Idle,
        };
        match begun {
            Ok(Some(Version::Http1)) => {
                let served = link.served();
                let talk = protocols.http1.serve_connection(TokioIo::new(io), exchange);
                let mut talk = Box::new(talk.with_upgrades());
                tokio::select! {
                    // What rests was polled just before.
                    biased;
                    ended = poll_fn(|cx| link.bell.poll(cx, |cx| turn(|| Pin::new(&mut *talk).poll(cx)))) => return End::of(ended),
                    () = draining.as_mut() => {
                        // All that there is of another request is its beginning.
                        if served > 0 && link.served() == served {
                            return End::Idle;
                        }
                        let before = Before::of(&link);
                        Pin::new(&mut *talk).graceful_shutdown();
                        return before.until(talk, &link, shutdown).await;
                    }
                    () = poll_fn(|_| if link.rests() { Poll::Ready(()) } else { Poll::Pending }) => (),
                }
                let Some(parts) = talk.into_parts() else {
                    return End::Done;
                };
                io = parts.io.into_inner();
                io.take_back(&parts.read_buf);
                exchange = parts.service;
            }
            Ok(Some(Version::Http2)) => {
                let io = TokioIo::new(io);
                let mut talk = Box::pin(protocols.http2.serve_connection(io, exchange));
                tokio::select! {
                    ended = talk.as_mut() => return End::of(ended),
                    () = draining.as_mut() => {
                        let before = Before::of(&link);
                        talk.as_mut().graceful_shutdown();
                        return before.until(talk, &link, shutdown).await;
                    }
                }
            }
            Ok(None) => return End::Idle,
            Err(error) if error.kind() == ErrorKind::TimedOut => return End::Done,
            Err(_) => return End::Lost,
        }
    }
}

/// What a connection was in when the listener began to stop.
struct Before {
    /// How many requests there had been, if none was going on.
    idle_after: Option<usize>,
}

impl Before {
    fn of(link: &Link) -> Self {
        Self {
            idle_after: link.is_idle().then(|| link.served()),
        }
    }

    /// Waits for the end of a connection that was told to come to it.
    async fn until(
        self,
        talk: impl Future<Output = hyper::Result<()>> + Unpin,
        link: &Link,
        shutdown: &Shutdown,
    ) -> End {
        tokio::select! {
            ended = talk => match End::of(ended) {
                // Also one whose first byte never came: hyper has no other word for it.
                End::Done | End::Lost if self.idle_after == Some(link.served()) => End::Idle,
                end => end,
            },
            () = shutdown.closed() => End::Aborted,
        }
    }
}

/// How a connection ended, as far as hyper tells.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// After its last exchange, or a rest that took too long.
    Done,
    /// Between two exchanges, since the listener stops or the client has nothing more to ask.
    Idle,
    /// With bytes that are no request.
    Unparsable,
    /// In the middle of an answer.
    Aborted,
    /// By the client, or by a timeout.
    Lost,
}

impl End {
    fn of(ended: hyper::Result<()>) -> Self {
        match ended {
            Ok(()) => Self::Done,
            Err(error) if error.is_parse() => Self::Unparsable,
            Err(error) if error.is_user() => Self::Aborted,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
