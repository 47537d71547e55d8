//! The listener.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::connection::Connections;
use super::farewell::{SHORT_LINGER, farewell, last_message};
use super::{SharedSettings, Shutdown};
use crate::lanes::{Lanes, PerLane};
use crate::telemetry::{Limit, Metrics};
use crate::wire::{Code, Handler, Problem, Unaccepted, Voice};

/// Answers every request that comes in at `listener` with `handler`, each connection on one of these lanes.
///
/// Returns when `shutdown` is draining and every connection is finished, or dropped once it is closed.
/// Upgraded connections belong to the handler: they are not waited for, and count as connections until they close.
pub async fn serve<H>(
    lanes: &Lanes,
    listener: TcpListener,
    settings: SharedSettings,
    handler: H,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
) where
    H: Handler,
{
    let open: Open = PerLane::new(lanes.count(), |_| AtomicUsize::new(0));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut connections =
        Connections::new(handler, settings.clone(), metrics.clone(), shutdown.clone());
    let tasks = TaskTracker::new();
    let mut unaccepted = Unaccepted::new("clients");
    let mut stopped = pin!(shutdown.draining());
    loop {
        let (socket, addr) = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    unaccepted.rest_after(&error).await;
                    continue;
                }
            },
        };
        tune(&socket);
        connections.catch_up();
        let present = settings.load();
        // Nobody else adds to them.
        if total(&open) < present.max_connections {
            let counted = Counted::new(open.clone(), metrics.clone());
            let runtime = lanes.runtime(counted.lane);
            let connections = connections.clone();
            let Some(runtime) = runtime else {
                tasks.spawn(connections.run(socket, addr, counted));
                continue;
            };
            // One that cannot be handed over is closed.
            if let Ok(socket) = socket.into_std() {
                let served = async move {
                    if let Ok(socket) = TcpStream::from_std(socket) {
                        connections.run(socket, addr, counted).await;
                    }
                };
                tasks.spawn_on(served, runtime);
            }
        } else {
            metrics.limit_reached(Limit::MaxConnections);
            // Over TLS it could be told only after a handshake, and that costs more than it is worth: closed before it, nothing was sent.
            let in_clear = present.tls.is_none();
            if in_clear && let Ok(refusal) = refusals.clone().try_acquire_owned() {
                tasks.spawn(refuse(socket, present.voice.clone(), refusal));
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Has answers leave at once, and the system ask a silent client whether it is still there.
fn tune(socket: &TcpStream) {
    // Without the one answers are late, and without the other places are held longer; nothing is wrong.
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(PROBED_AFTER)
        .with_interval(PROBED_EVERY)
        .with_retries(PROBES);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

async fn refuse(socket: TcpStream, voice: Arc<Voice>, _refusal: OwnedSemaphorePermit) {
    let problem = Problem::new(
        Code::Overloaded,
        "this proxy has as many connections as it may",
    );
    farewell(socket, &last_message(problem, &voice), SHORT_LINGER).await;
}

/// How many connections each lane has.
type Open = PerLane<AtomicUsize>;

fn total(open: &Open) -> usize {
    open.iter().map(|lane| lane.load(Ordering::Acquire)).sum()
}

/// A place among the connections, seen on the metrics page.
struct Counted {
    open: Open,
    /// The one that has fewest.
    lane: usize,
    metrics: Arc<Metrics>,
}

impl Counted {
    fn new(open: Open, metrics: Arc<Metrics>) -> Self {
        let fewest = |(_, connections): &(usize, &AtomicUsize)| connections.load(Ordering::Acquire);
        let (lane, connections) = open
            .iter()
            .enumerate()
            .min_by_key(fewest)
            .expect("there is one lane at least");
        connections.fetch_add(1, Ordering::AcqRel);
        metrics.connections.inc();
        Self {
            lane,
            open,
            metrics,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(connections) = self.open.iter().nth(self.lane) {
            connections.fetch_sub(1, Ordering::AcqRel);
        }
        self.metrics.connections.dec();
    }
}

/// Connections beyond the limit that are told so at once; more of them are only closed.
const REFUSALS: usize = 128;
/// Silence after which the system asks, how often, and how many questions may go unanswered.
const PROBED_AFTER: Duration = Duration::from_secs(60);
const PROBED_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_vanishes_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_client, accepted) = tokio::join!(
            TcpStream::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        let (socket, _) = accepted.unwrap();
        tune(&socket);
        assert!(socket.nodelay().unwrap());
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBED_AFTER);
    }
}
