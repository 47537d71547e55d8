//! A link with both its ends in the hands of the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::toxics::{ToxicLink, Toxics};

/// A link to an upstream that accepts when it is told to.
pub(crate) struct Line {
    pub(crate) toxics: Toxics,
    pub(crate) link: ToxicLink,
    pub(crate) upstream: Upstream,
    _shared: RwLockReadGuard<'static, ()>,
}

/// An upstream.
pub(crate) struct Upstream(TcpListener);

/// One end of a connection.
pub(crate) struct Peer(pub(crate) TcpStream);

/// How a stream went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Line {
    pub(crate) async fn new() -> Self {
        let shared = ALONE.read().await;
        let toxics = Toxics::start().await;
        let upstream = Upstream::start().await;
        Self {
            link: toxics.link("line", upstream.address()).await,
            toxics,
            upstream,
            _shared: shared,
        }
    }

    /// A connection: its client's end, its upstream's end. Bytes have passed both ways.
    pub(crate) async fn open(&self) -> (Peer, Peer) {
        let mut client = Peer::connect(self.link.address()).await;
        let mut server = self.upstream.accept().await;
        client.send("ping").await;
        assert_eq!(server.receive(4).await, b"ping");
        server.send("pong").await;
        assert_eq!(client.receive(4).await, b"pong");
        (client, server)
    }

    /// A connection on which nothing has passed.
    pub(crate) async fn connect(&self) -> (Peer, Peer) {
        let client = Peer::connect(self.link.address()).await;
        (client, self.upstream.accept().await)
    }

    /// How often a fault has fired; `None` where nobody counts.
    pub(crate) async fn fired(&self, fault: &str) -> Option<u64> {
        let fired = self.link.fired().await;
        self.toxics
            .ours()
            .then(|| fired.get(fault).copied().unwrap_or(0))
    }

    /// Asserts how often a fault has fired, where that is counted.
    pub(crate) async fn has_fired(&self, fault: &str, times: u64) {
        if let Some(fired) = self.fired(fault).await {
            assert_eq!(fired, times, "{fault}");
        }
    }
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = patiently(self.0.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer(stream)
    }
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patiently(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The next `count` bytes.
    pub(crate) async fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        patiently(self.0.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// All there is until the end, and which end.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        loop {
            match patiently(self.0.read_buf(&mut bytes)).await {
                Ok(0) => return (bytes, End::Closed),
                Ok(_) => {}
                Err(_) => return (bytes, End::Reset),
            }
        }
    }

    /// Ends it with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.0)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Whether nothing comes, neither bytes nor an end, for as long as something that is there takes to come.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let soon = Duration::from_millis(200);
        tokio::time::timeout(soon, self.0.read(&mut byte))
            .await
            .is_err()
    }
}

/// Waits for what happens soon or never.
#[track_caller]
pub(crate) fn patiently<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(Duration::from_secs(30), future)
            .await
            .unwrap_or_else(|_| panic!("it never came to this, at {place}"))
    }
}

/// A reset is of all links of a real Toxiproxy: who resets writes, all others read.
pub(crate) static ALONE: RwLock<()> = RwLock::const_new(());
