//! A TCP connection that hyper reads and writes, and that the pool can look at meanwhile.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::fault::{self, Place};
use crate::wire::Bell;

/// The socket as the pool sees it.
#[derive(Debug)]
pub(super) struct Socket {
    /// Wakes what reads and writes it.
    pub(super) bell: Bell,
    tcp: Mutex<TcpStream>,
    /// The last field, so that it is left when the socket is closed.
    seat: Seat,
}

/// The place of a connection among those of its upstream.
#[derive(Debug)]
struct Seat {
    occupancy: Mutex<Occupancy>,
    /// Where the permit is from that it holds while it is busy.
    permits: Arc<Semaphore>,
}

/// What a connection is doing.
#[derive(Debug, PartialEq, Eq)]
enum Occupancy {
    /// Serving an exchange, or upgraded: it holds one of `max_connections` until the socket is gone.
    Busy,
    /// In the pool since then.
    Idle(Instant),
    /// Given up by us; how it ends says nothing about the upstream.
    Retired,
}

impl Socket {
    /// Of a connection that serves its first exchange, by a permit of these.
    pub(super) fn new(
        tcp: TcpStream,
        permits: Arc<Semaphore>,
        permit: SemaphorePermit<'_>,
    ) -> Arc<Self> {
        permit.forget();
        Arc::new(Self {
            bell: Bell::default(),
            tcp: Mutex::new(tcp),
            seat: Seat {
                occupancy: Mutex::new(Occupancy::Busy),
                permits,
            },
        })
    }

    /// It serves an exchange from now on, by this permit.
    pub(super) fn occupy(&self, permit: SemaphorePermit<'_>) {
        permit.forget();
        *self.occupancy() = Occupancy::Busy;
    }

    /// It serves none any more, and is in the pool since then. The permit is its caller's to give back.
    pub(super) fn rest(&self, since: Instant) {
        *self.occupancy() = Occupancy::Idle(since);
    }

    /// It rests, and is given up.
    pub(super) fn retire(&self) {
        *self.occupancy() = Occupancy::Retired;
    }

    /// Since when it is in the pool, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match *self.occupancy() {
            Occupancy::Idle(since) => Some(since),
            Occupancy::Busy | Occupancy::Retired => None,
        }
    }

    fn occupancy(&self) -> MutexGuard<'_, Occupancy> {
        let occupancy = &self.seat.occupancy;
        occupancy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tcp(&self) -> MutexGuard<'_, TcpStream> {
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing has arrived: neither an end, nor a reset, nor bytes that nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        would_block(&peek(&self.tcp()))
    }

    /// Whether nothing has arrived as far as the runtime was told; the system is asked only where it said that there was something.
    pub(super) fn was_quiet(&self) -> bool {
        let tcp = self.tcp();
        would_block(&tcp.try_io(Interest::READABLE, || peek(&tcp)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let occupancy = self.occupancy.get_mut();
        if *occupancy.unwrap_or_else(PoisonError::into_inner) == Occupancy::Busy {
            self.permits.add_permits(1);
        }
    }
}

fn peek(tcp: &TcpStream) -> io::Result<usize> {
    // Past the C library: in a program with threads each of its calls that may wait takes more steps, so that a thread can be cancelled.
    let (_, peeked) = rustix::net::recv(tcp, &mut [0], RecvFlags::PEEK)?;
    Ok(peeked)
}

fn would_block(peeked: &io::Result<usize>) -> bool {
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The socket as hyper sees it.
pub(super) struct SocketIo(pub(super) Arc<Socket>);

impl AsyncRead for SocketIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // Not by readiness and a try: that asks the system once more after the last byte.
        ready!(Pin::new(&mut *self.0.tcp()).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            fault::reach(Place::BeforeResponseHead);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.0.tcp()).poll_write(context, bytes));
        fault::reach(Place::AfterFirstByte);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.0.tcp()).poll_write_vectored(context, slices));
        fault::reach(Place::AfterFirstByte);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        fault::reach(Place::AfterLastByte);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp()).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    async fn connected() -> (Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.try_acquire().unwrap();
        let socket = Socket::new(near.unwrap(), permits.clone(), permit);
        (socket, far.unwrap().0)
    }

    /// Until the system has said that there is something.
    async fn heard(socket: &Socket) {
        let late = Instant::now() + std::time::Duration::from_secs(20);
        while socket.was_quiet() {
            assert!(Instant::now() < late, "nothing is heard");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_permit_is_held_while_it_is_busy_and_until_it_is_gone() {
        let (socket, _far) = connected().await;
        let permits = socket.seat.permits.clone();
        assert_eq!(permits.available_permits(), 0);
        socket.rest(Instant::now());
        permits.add_permits(1);
        socket.occupy(permits.try_acquire().unwrap());
        assert_eq!(permits.available_permits(), 0);
        drop(socket);
        assert_eq!(permits.available_permits(), 1);
        let (socket, _far) = connected().await;
        let permits = socket.seat.permits.clone();
        socket.rest(Instant::now());
        socket.retire();
        drop(socket);
        assert_eq!(permits.available_permits(), 0, "it was given back before");
    }

    #[tokio::test]
    async fn an_end_and_bytes_are_heard_of_without_being_asked_for() {
        for bytes in [&b""[..], b"x"] {
            let (socket, mut far) = connected().await;
            assert!(socket.is_quiet() && socket.was_quiet());
            far.write_all(bytes).await.unwrap();
            if bytes.is_empty() {
                drop(far);
            }
            heard(&socket).await;
            assert!(!socket.is_quiet() && !socket.was_quiet());
        }
    }
}
