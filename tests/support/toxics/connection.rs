//! A connection of a client, and the one to the upstream that belongs to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::direction::Direction;
use super::fired::Fired;
use super::plan::Plan;
use super::toxic::Stream;
use super::unsent::has_arrived;

/// What both directions of a connection know.
pub(super) struct Passage {
    /// Connections of a proxy are numbered as they are accepted.
    pub(super) number: u64,
    pub(super) seed: u64,
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    pub(super) fired: Arc<Fired>,
    silenced: AtomicBool,
}

/// How a connection ends, at both its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Reset,
}

impl Passage {
    pub(super) fn new(
        number: u64,
        seed: u64,
        plans: watch::Receiver<Arc<Plan>>,
        fired: Arc<Fired>,
    ) -> Self {
        Self {
            number,
            seed,
            plans,
            fired,
            silenced: AtomicBool::new(false),
        }
    }

    /// Leads a client to its upstream, until both have ended or a fault ends them.
    pub(super) async fn run(self, mut client: TcpStream, upstream: String) {
        let Ok(mut server) = TcpStream::connect(&upstream).await else {
            return;
        };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let ended = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let up = Direction::new(Stream::Upstream, &self, from_client, to_server);
            let down = Direction::new(Stream::Downstream, &self, from_server, to_client);
            tokio::try_join!(up.run(), down.run())
        };
        if let Err(ending) = ended {
            tokio::join!(end(client, ending), end(server, ending));
        }
    }

    /// Counts a connection that lost something in silence, once.
    pub(super) fn count_silence(&self) {
        if !self.silenced.swap(true, Ordering::Relaxed) {
            self.fired.count("silence", 1);
        }
    }
}

/// Ends a connection, when what was written to it has arrived.
async fn end(mut stream: TcpStream, ending: Ending) {
    if ending == Ending::Close {
        let _ = stream.shutdown().await;
    }
    for _ in 0..PATIENCE {
        let since = Instant::now();
        // Others that end now come to share the look.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if has_arrived(&stream, since) {
            break;
        }
    }
    if ending == Ending::Reset {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// Looks, one every five milliseconds, at whether all has arrived.
const PATIENCE: u32 = 1000;
