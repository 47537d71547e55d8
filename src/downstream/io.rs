//! The socket as hyper sees it: every wait is bounded, and hyper's own answers are held back.
//!
//! **Waits.** A client gets `header_timeout` from the accept to the end of its first head, and from the first byte of each later
//! one to its end, or from the answer before if that byte had come with its request; between requests it may rest for [`KEEP_ALIVE`].
//! hyper's own header timeout is off, as it would begin with the rest. A write that moves nothing for `body_idle_timeout` fails ([`Paced`](crate::wire::Paced)). An upgraded connection has only the latter.
//! HTTP/2 has pings for its rests, so that only its first head is bounded here. While a request body is wanted nothing is bounded
//! here: who reads it knows best how long to wait.
//!
//! **Rests.** After [`SHORT_REST`] with no byte of a next request, [`BUSY_REST`] where the last one came sooner than that, and everything
//! sent, the link says that the connection rests: then
//! [`connection`](super::connection) takes it from hyper, and waits for the next request with [`poll_begun`](ClientIo::poll_begun).
//!
//! **hyper's own answers.** To a head that it cannot parse hyper writes a bare `HTTP/1.1 400`, 414 or 431 with no body,
//! shuts the socket down and lets the connection end with a parse error. A write that ends with such a head while no
//! exchange is open is not sent but held. If the connection then ends with a parse error, the held bytes were hyper's answer,
//! and [`connection`](super::connection) sends a problem document in their stead. If hyper reads, writes or ends in any other way,
//! they were an answer of the handler that only looked alike, and are sent as they are. So a new hyper that
//! words its answers differently shows a bare answer at worst, and nothing of the handler's is ever lost.

use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ServerSettings;
use super::head::HeadScan;
use super::link::Link;
use super::preface::{Protocol, Version};
use crate::fault::{self, Place};
use crate::lanes::now;
use crate::wire::Deadline;

/// A client's socket, with `P` released when it closes.
pub(super) struct ClientIo<T, P> {
    // Some until dropped.
    socket: Option<(T, P)>,
    hand_back: Option<oneshot::Sender<Leftover<T, P>>>,
    link: Arc<Link>,
    held: Bytes,
    /// Read already, and to be read again.
    ahead: Bytes,
    eof: bool,
    protocol: Protocol,
    head: Deadline,
    scan: HeadScan,
    served: usize,
    /// When a rest between two requests is over; none where a byte of the next one was read, or the first one is awaited.
    rest_ends: Option<Instant>,
    /// After how long a rest the connection is to do without hyper.
    short_rest: Duration,
    /// Whether everything that was written is sent, and more may be.
    flushed: bool,
    /// Whether no more may be.
    shut: bool,
    header_timeout: Duration,
}

/// What is left when hyper lets go of a socket.
pub(super) struct Leftover<T, P> {
    /// The socket.
    pub(super) socket: T,
    /// What its life stands for.
    pub(super) permit: P,
    /// Bytes that hyper took for written.
    pub(super) held: Bytes,
    /// Whether the client closed its sending half.
    pub(super) eof: bool,
}

impl<T, P> ClientIo<T, P>
where
    T: AsyncRead + AsyncWrite + Unpin,
    P: Unpin,
{
    /// A socket that was accepted then. It is handed back to the receiver when hyper drops it, and closed if the receiver is gone.
    pub(super) fn new(
        socket: T,
        permit: P,
        accepted: Instant,
        link: Arc<Link>,
        settings: &ServerSettings,
    ) -> (Self, oneshot::Receiver<Leftover<T, P>>) {
        let (hand_back, handed_back) = oneshot::channel();
        let io = Self {
            socket: Some((socket, permit)),
            hand_back: Some(hand_back),
            link,
            held: Bytes::new(),
            ahead: Bytes::new(),
            eof: false,
            protocol: Protocol::Unknown { matched: 0 },
            head: Deadline::at(accepted + settings.header_timeout),
            scan: HeadScan::new(),
            served: 0,
            rest_ends: None,
            short_rest: SHORT_REST,
            flushed: true,
            shut: false,
            header_timeout: settings.header_timeout,
        };
        (io, handed_back)
    }

    /// Waits for the first bytes of a request, which are then read again; nothing where the client has closed instead.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Version>>> {
        loop {
            match self.protocol {
                Protocol::Http1 if !self.ahead.is_empty() => {
                    return Poll::Ready(Ok(Some(Version::Http1)));
                }
                Protocol::Http2 => return Poll::Ready(Ok(Some(Version::Http2))),
                Protocol::Http1 | Protocol::Unknown { .. } => (),
            }
            // On the stack: it is needed for as long as this call alone.
            let mut room = [MaybeUninit::uninit(); AHEAD];
            let mut bytes = ReadBuf::uninit(&mut room);
            ready!(self.poll_read_socket(cx, &mut bytes))?;
            if bytes.filled().is_empty() {
                let cut_short = !self.ahead.is_empty();
                return Poll::Ready(Ok(cut_short.then_some(Version::Http1)));
            }
            self.ahead = [&self.ahead, bytes.filled()].concat().into();
        }
    }

    /// Has these bytes, which were read of it, be read again.
    pub(super) fn take_back(&mut self, mut bytes: &[u8]) {
        // Some clients end a body with an empty line, which begins no request (RFC 9112, section 2.2).
        while let [b'\r' | b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        // A copy: the buffer that they are in is to go, and is large even where they are none.
        self.ahead = Bytes::copy_from_slice(bytes);
        self.link.set_rests(false);
        // A head that began with the request before could go on since that was answered.
        if !bytes.is_empty()
            && let Some(ends) = self.rest_ends.take()
        {
            self.head
                .set_at(Some(ends - KEEP_ALIVE + self.header_timeout));
        }
    }

    fn socket(&mut self) -> Pin<&mut T> {
        Pin::new(
            &mut self
                .socket
                .as_mut()
                .expect("the socket is taken out only in drop")
                .0,
        )
    }

    /// Sends what was held back: it was no answer of hyper's own.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = self.held.clone();
            let written = self.socket().poll_write(cx, &held);
            match ready!(seen(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a read now would be of a request head; sets its bound when a new wait begins.
    fn awaits_head(&mut self) -> bool {
        if self.link.is_upgraded() || !self.link.is_idle() {
            return false;
        }
        let served = self.link.served();
        if served != mem::replace(&mut self.served, served) {
            let rests_from = matches!(self.protocol, Protocol::Http1).then(now);
            self.rest_ends = rests_from.map(|now| now + KEEP_ALIVE);
            self.head
                .set_at(rests_from.map(|now| now + self.short_rest));
            self.scan = HeadScan::new();
        }
        true
    }

    /// Waits for as long as there may be no head. Whoever reads has not begun to close.
    fn poll_no_head(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.head.poll(cx));
        let Some(ends) = self.rest_ends.filter(|ends| Instant::now() < *ends) else {
            return Poll::Ready(());
        };
        let rests = self.flushed && !self.shut && self.held.is_empty();
        self.link.set_rests(rests);
        // What is not sent yet may be soon.
        let next = if rests {
            ends
        } else {
            ends.min(Instant::now() + SHORT_REST)
        };
        self.head.set_at(Some(next));
        self.head.poll(cx)
    }

    fn poll_read_socket(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let awaits_head = self.awaits_head();
        let before = buf.filled().len();
        match self.socket().poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let bytes = &buf.filled()[before..];
                self.eof |= bytes.is_empty();
                self.protocol.feed(bytes);
                // Bytes of a body are never looked at: while one is wanted the link is not idle.
                if awaits_head
                    && matches!(self.protocol, Protocol::Http1)
                    && !self.link.is_cut()
                    && self.scan.feed(bytes)
                {
                    self.link.repeated_length();
                }
                if awaits_head && let Some(ends) = self.rest_ends.take() {
                    let now = now();
                    let rested = KEEP_ALIVE.saturating_sub(ends.saturating_duration_since(now));
                    self.short_rest = if rested < BUSY_REST {
                        BUSY_REST
                    } else {
                        SHORT_REST
                    };
                    self.head.set_at(Some(now + self.header_timeout));
                    self.link.set_rests(false);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if awaits_head => self.poll_no_head(cx).map(|()| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no request in time",
                ))
            }),
            other => other,
        }
    }
}

impl<T, P> AsyncRead for ClientIo<T, P>
where
    T: AsyncRead + AsyncWrite + Unpin,
    P: Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_release(cx))?;
        if self.ahead.is_empty() {
            return self.poll_read_socket(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<T, P> AsyncWrite for ClientIo<T, P>
where
    T: AsyncRead + AsyncWrite + Unpin,
    P: Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_release(cx))?;
        self.flushed = false;
        let own = if self.link.is_idle() && !self.link.is_upgraded() {
            own_answer(buf)
        } else {
            None
        };
        let written = match own {
            Some(0) => {
                self.held = Bytes::copy_from_slice(buf);
                return Poll::Ready(Ok(buf.len()));
            }
            Some(at) => self.socket().poll_write(cx, &buf[..at]),
            None => self.socket().poll_write(cx, buf),
        };
        seen(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper's own answers stand alone: a head without a body.
        if let [buf] = bufs {
            return self.poll_write(cx, buf);
        }
        ready!(self.poll_release(cx))?;
        self.flushed = false;
        let written = self.socket().poll_write_vectored(cx, bufs);
        seen(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|(socket, _)| socket.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper may wait for a read it began before the answer, so this wait has to begin here, and what is held to
        // be seen to: woken, hyper reads if it goes on.
        if !self.held.is_empty() {
            cx.waker().wake_by_ref();
        }
        if self.awaits_head() {
            let _ = self.head.poll(cx);
        }
        let flushed = self.socket().poll_flush(cx);
        self.flushed = matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        // Whoever is handed the socket sends what is held, or something better, and shuts it down.
        if !self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.socket().poll_shutdown(cx)
    }
}

impl<T, P> Drop for ClientIo<T, P> {
    fn drop(&mut self) {
        if let (Some((socket, permit)), Some(hand_back)) =
            (self.socket.take(), self.hand_back.take())
        {
            // Fails when nobody waits for it, and then closes the socket.
            let _ = hand_back.send(Leftover {
                socket,
                permit,
                held: mem::take(&mut self.held),
                eof: self.eof,
            });
        }
    }
}

/// A write, as it was.
fn seen(written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    if written.is_ready() {
        fault::reach(Place::AfterAnswer);
    }
    written
}

/// Where in `written` an answer begins that hyper made itself, if it ends with one.
fn own_answer(written: &[u8]) -> Option<usize> {
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = written.len().saturating_sub(OWN_ANSWER_MAX);
    let at = from
        + written[from..]
            .windows(7)
            .rposition(|window| window == b"HTTP/1.")?;
    let head = &written[at..];
    let status = head.get(8..13)?;
    let refuses = [b" 400 ", b" 414 ", b" 431 "]
        .iter()
        .any(|refusal| status == *refusal);
    let empty = head
        .windows(19)
        .any(|window| window == b"content-length: 0\r\n");
    (refuses && empty).then_some(at)
}

/// How long a connection may rest between requests; longer than the minute after which load balancers let go.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// After so long a rest a connection does without hyper.
const SHORT_REST: Duration = Duration::from_millis(100);
/// After so long where its rest before was shorter. To come back to hyper costs some microseconds: one that is asked several times a second
/// shall not have to each time, and there may be thousands of them.
const BUSY_REST: Duration = Duration::from_millis(500);
/// How much is read of a request before hyper has its connection.
const AHEAD: usize = 2048;
const OWN_ANSWER_MAX: usize = 256;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
