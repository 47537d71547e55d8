//! A network with faults, between a client and a server on this machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Stands between a client and a server on this machine, and does to their bytes what it is told, from the next byte on.
///
/// A connection that lost bytes is dead for ever, in silence, also when all passes again: as it is behind a firewall that forgot it.
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Late(Duration),
    Vanish,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    requests: Fate,
    replies: Fate,
    /// Bytes a second over all connections, in each direction.
    rate: Option<u64>,
    rewrite: Option<(&'static str, &'static str)>,
}

struct Shared {
    plan: watch::Sender<Plan>,
    cuts: watch::Sender<u64>,
    accepted: AtomicU64,
    /// When the wire is free again: of requests, of replies.
    wires: [Mutex<Instant>; 2],
}

impl Link {
    /// A link to `127.0.0.1:server`, through which all passes.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            plan: watch::Sender::new(PASS),
            cuts: watch::Sender::new(0),
            accepted: AtomicU64::new(0),
            wires: [Mutex::new(Instant::now()), Mutex::new(Instant::now())],
        });
        let accepting = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepting.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(Arc::clone(&accepting).connect(client, server));
            }
        });
        Self {
            port,
            shared,
            accepting: accepting.abort_handle(),
        }
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, for a Redis behind it.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Connections made so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// All passes, at once.
    pub fn pass(&self) {
        self.shared.plan.send_replace(PASS);
    }

    /// Connections are accepted, bytes taken, and none arrives, either way.
    pub fn blackhole(&self) {
        self.shared.plan.send_modify(|plan| {
            plan.requests = Fate::Vanish;
            plan.replies = Fate::Vanish;
        });
    }

    /// Requests arrive, and their replies vanish.
    pub fn swallow_replies(&self) {
        self.shared
            .plan
            .send_modify(|plan| plan.replies = Fate::Vanish);
    }

    /// Requests arrive this much later.
    pub fn delay_requests(&self, by: Duration) {
        self.shared
            .plan
            .send_modify(|plan| plan.requests = Fate::Late(by));
    }

    /// Replies arrive this much later.
    pub fn delay_replies(&self, by: Duration) {
        self.shared
            .plan
            .send_modify(|plan| plan.replies = Fate::Late(by));
    }

    /// So many bytes a second in each direction, shared fairly by all connections.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared
            .plan
            .send_modify(|plan| plan.rate = Some(bytes_per_second));
    }

    /// Replies that hold `from` arrive with `to` in its place, which must be as long.
    pub fn rewrite_replies(&self, from: &'static str, to: &'static str) {
        assert_eq!(from.len(), to.len());
        self.shared
            .plan
            .send_modify(|plan| plan.rewrite = Some((from, to)));
    }

    /// Ends every connection there is; new ones pass.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    async fn connect(self: Arc<Self>, client: TcpStream, server: u16) {
        let mut cuts = self.cuts.subscribe();
        cuts.mark_unchanged();
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            return;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let requests = self.pump(from_client, to_server, 0);
        let replies = self.pump(from_server, to_client, 1);
        tokio::select! {
            _ = cuts.changed() => {}
            _ = requests => {}
            _ = replies => {}
        }
    }

    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        direction: usize,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut dead = false;
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let plan = *self.plan.borrow();
            match [plan.requests, plan.replies][direction] {
                Fate::Vanish => dead = true,
                Fate::Late(by) => sleep_until(Instant::now() + by).await,
                Fate::Pass => {}
            }
            if dead {
                continue;
            }
            if let Some(rate) = plan.rate {
                let mut wire = self.wires[direction].lock().await;
                *wire = (*wire).max(Instant::now())
                    + Duration::from_secs_f64(length as f64 / rate as f64);
                let free = *wire;
                drop(wire);
                sleep_until(free).await;
            }
            if let (1, Some((from, to))) = (direction, plan.rewrite) {
                let found = buffer[..length]
                    .windows(from.len())
                    .position(|window| window == from.as_bytes());
                if let Some(at) = found {
                    buffer[at..at + to.len()].copy_from_slice(to.as_bytes());
                }
            }
            to.write_all(&buffer[..length]).await?;
        }
    }
}

const PASS: Plan = Plan {
    requests: Fate::Pass,
    replies: Fate::Pass,
    rate: None,
    rewrite: None,
};
const CHUNK: usize = 16 * 1024;
