//! A connection of a client, and the one to the upstream that belongs to it.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::direction::Direction;
use super::fired::Fired;
use super::plan::Plan;
use super::toxic::Stream;

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
        if has_arrived(&stream) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if ending == Ending::Reset {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// Whether the kernel at the other end has all that was written; a close with a reset would throw it away.
///
/// As far as the system tells: Linux does, of IPv4.
fn has_arrived(stream: &TcpStream) -> bool {
    let (Ok(SocketAddr::V4(here)), Ok(SocketAddr::V4(there))) =
        (stream.local_addr(), stream.peer_addr())
    else {
        return true;
    };
    let in_table = |address: std::net::SocketAddrV4| {
        let ip = u32::from_ne_bytes(address.ip().octets());
        format!("{ip:08X}:{:04X}", address.port())
    };
    let (here, there) = (in_table(here), in_table(there));
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else {
        return true;
    };
    table
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .find(|columns| columns.get(1..3) == Some(&[here.as_str(), there.as_str()]))
        .and_then(|columns| columns.get(4)?.split(':').next().map(str::to_owned))
        .is_none_or(|unsent| unsent == "00000000")
}

/// Looks at what has arrived, each after five milliseconds.
const PATIENCE: u32 = 1000;
