//! A TCP connection that hyper reads and writes, and that the pool can look at meanwhile.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::fault::{self, Place};

/// The socket as the pool sees it.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    occupancy: Mutex<Occupancy>,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum Occupancy {
    /// Serving an exchange, or upgraded: it holds one of `max_connections` until the socket is gone.
    Busy { _permit: OwnedSemaphorePermit },
    /// In the pool since then.
    Idle(Instant),
    /// Given up by us; how it ends says nothing about the upstream.
    Retired,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, permit: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self {
            tcp,
            occupancy: Mutex::new(Occupancy::Busy { _permit: permit }),
        })
    }

    /// Sets what the connection is doing; the previous answer holds the permit, if there was one.
    pub(super) fn set(&self, occupancy: Occupancy) -> Occupancy {
        std::mem::replace(
            &mut *self
                .occupancy
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            occupancy,
        )
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        match *self
            .occupancy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Occupancy::Idle(since) => Some(since),
            Occupancy::Busy { .. } | Occupancy::Retired => None,
        }
    }

    /// Whether nothing has arrived: neither an end, nor a reset, nor bytes that nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked = SockRef::from(&self.tcp).peek(&mut [MaybeUninit::uninit()]);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The socket as hyper sees it.
pub(super) struct SocketIo(pub(super) Arc<Socket>);

impl AsyncRead for SocketIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tcp = &self.0.tcp;
        loop {
            ready!(tcp.poll_read_ready(context))?;
            match tcp.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    if matches!(read, Ok(1..)) {
                        fault::reach(Place::BeforeResponseHead);
                    }
                    return Poll::Ready(read.map(|_| ()));
                }
            }
        }
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tcp = &self.0.tcp;
        loop {
            ready!(tcp.poll_write_ready(context))?;
            match tcp.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    fault::reach(Place::AfterFirstByte);
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tcp = &self.0.tcp;
        loop {
            ready!(tcp.poll_write_ready(context))?;
            match tcp.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    fault::reach(Place::AfterFirstByte);
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        fault::reach(Place::AfterLastByte);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.0.tcp).shutdown(std::net::Shutdown::Write))
    }
}
