//! A proxy: a port, an upstream, toxics, and connections.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Passage;
use super::fired::Fired;
use super::plan::Plan;

/// A proxy of the API.
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) upstream: String,
    pub(super) fired: Arc<Fired>,
    plan: watch::Sender<Arc<Plan>>,
    accepted: Arc<AtomicU64>,
    running: Option<Running>,
    /// Has its port, listening or not, and the address that it is for.
    socket: Option<(String, Socket)>,
    seed: u64,
    parent: CancellationToken,
}

struct Running {
    stop: CancellationToken,
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Proxy {
    /// A proxy that does not listen yet. It ends with `parent`.
    pub(super) fn new(
        name: String,
        listen: String,
        upstream: String,
        seed: u64,
        parent: CancellationToken,
    ) -> Self {
        Self {
            name,
            listen,
            upstream,
            fired: Arc::default(),
            plan: watch::Sender::default(),
            accepted: Arc::default(),
            running: None,
            socket: None,
            seed,
            parent,
        }
    }

    /// Listens; at the same address as before, if it did before.
    pub(super) async fn start(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let had = self.socket.take();
        let socket = match had.filter(|(address, _)| *address == self.listen) {
            Some((_, socket)) => socket,
            None => bound(&self.listen).await?,
        };
        let address = socket.local_addr()?.as_socket().expect("an IP address");
        self.listen = address.to_string();
        let (_, socket) = self.socket.insert((self.listen.clone(), socket));
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.try_clone()?.into())?;
        let stop = self.parent.child_token();
        let connections = TaskTracker::new();
        let accepting = self.accept(listener, stop.clone(), connections.clone());
        self.running = Some(Running {
            accepting: tokio::spawn(accepting),
            connections,
            stop,
        });
        Ok(())
    }

    /// Refuses connections, and closes those it has. Returns how many there were.
    ///
    /// The socket only ceases to listen, and keeps its port. One that is closed does neither for certain: a process that is being started holds a
    /// copy of it for a moment, which goes on accepting, and is in the way of a new one; and others may take the port.
    pub(super) async fn stop(&mut self) -> u64 {
        let Some(running) = self.running.take() else {
            return 0;
        };
        running.accepting.abort();
        let _ = running.accepting.await;
        // What cannot do so (other systems than Linux) is closed.
        self.socket
            .take_if(|(_, socket)| socket.shutdown(Shutdown::Both).is_err());
        let connections = running.connections.len() as u64;
        running.stop.cancel();
        running.connections.close();
        running.connections.wait().await;
        connections
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    /// Changes the toxics, of all connections at once.
    pub(super) fn replan(&self, change: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::clone(&self.plan.borrow());
        change(&mut plan);
        self.plan.send_replace(Arc::new(plan));
    }

    /// Connections accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// As the API shows it.
    pub(super) fn document(&self) -> Value {
        json!({
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.is_enabled(),
            "toxics": self.plan().document(),
        })
    }

    fn accept(
        &self,
        listener: TcpListener,
        stop: CancellationToken,
        connections: TaskTracker,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (upstream, seed) = (self.upstream.clone(), self.seed);
        let (accepted, fired) = (Arc::clone(&self.accepted), Arc::clone(&self.fired));
        let plans = self.plan.subscribe();
        async move {
            loop {
                let client = tokio::select! {
                    () = stop.cancelled() => return,
                    client = listener.accept() => client,
                };
                let Ok((client, _)) = client else {
                    // No more files, say: later there may be.
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                };
                let number = accepted.fetch_add(1, Ordering::Relaxed);
                let passage = Passage::new(number, seed, plans.clone(), Arc::clone(&fired));
                let (stop, upstream) = (stop.clone(), upstream.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = passage.run(client, upstream) => {}
                    }
                });
            }
        }
    }
}

/// A socket at an address. Port 0 is one below the ephemeral range, so that no outgoing connection takes it.
async fn bound(address: &str) -> io::Result<Socket> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("listen {address}"));
    let address = lookup_host(address).await?.next().ok_or_else(invalid)?;
    if address.port() != 0 {
        return bind(address);
    }
    for _ in 0..100 {
        let port = 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
        // Two may be bound to one address until one of them listens.
        if let Ok(socket) = bind(SocketAddr::new(address.ip(), port))
            && socket.listen(BACKLOG).is_ok()
        {
            return Ok(socket);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

const BACKLOG: i32 = 4096;
