//! The connections to one upstream: those in use, and those idle and fit to be used again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::body::Upload;
use super::client::Reuse;
use super::patience::Patience;
use super::settings::UpstreamSettings;
use super::socket::{Occupancy, Socket};

/// The connections to one upstream. A permit stands for a connection in use; idle ones make room for a new one.
pub(super) struct Pool {
    max_idle: usize,
    max_connections: usize,
    idle_timeout: Duration,
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    /// The back was used last.
    idle: VecDeque<Connection>,
    patience: Patience,
    reaping: bool,
}

impl Pool {
    pub(super) fn new(settings: &UpstreamSettings) -> Arc<Self> {
        let max_connections = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            max_idle: settings.max_idle,
            max_connections,
            idle_timeout: settings.idle_timeout,
            permits: Arc::new(Semaphore::new(max_connections)),
            state: Mutex::new(State {
                idle: VecDeque::new(),
                patience: Patience::default(),
                reaping: false,
            }),
        })
    }

    /// Waits for the right to use a connection; none if `deadline` passes first.
    pub(super) async fn permit(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        timeout_at(deadline, Arc::clone(&self.permits).acquire_owned())
            .await
            .ok()?
            .ok()
    }

    /// Takes the idle connection that was used last, if `reuse` allows it, and says how long it was idle.
    pub(super) fn take(&self, reuse: Reuse) -> Option<(Connection, Duration)> {
        let now = Instant::now();
        let mut state = self.lock();
        if !state.patience.is_trusted()
            && let Some(oldest) = state.idle.front()
            && oldest.is_alive()
        {
            let age = oldest.age(now);
            state.patience.survived(age, now);
        }
        while let Some(connection) = state.idle.pop_back() {
            let age = connection.age(now);
            let limit = match reuse {
                Reuse::Any => self.idle_timeout.min(connection.lifetime),
                Reuse::OnlyYoung => state
                    .patience
                    .limit(now)
                    .min(self.idle_timeout)
                    .min(connection.lifetime / 2),
            };
            if age >= limit {
                state.idle.push_back(connection);
                return None;
            }
            if connection.is_alive() {
                return Some((connection, age));
            }
            state.patience.closed(age, now);
        }
        None
    }

    /// Closes idle connections until one more may be opened. The caller holds a permit for it.
    pub(super) fn make_room(&self) {
        let mut state = self.lock();
        let in_use = self.max_connections - self.permits.available_permits();
        while in_use + state.idle.len() > self.max_connections
            && let Some(oldest) = state.idle.pop_front()
        {
            oldest.socket.set(Occupancy::Retired);
        }
    }

    /// The upstream closed a connection that had been in the pool `since` then.
    pub(super) fn closed_while_idle(&self, since: Instant) {
        let mut state = self.lock();
        state.patience.closed(since.elapsed(), Instant::now());
        state
            .idle
            .retain(|connection| !connection.sender.is_closed());
    }

    /// A connection that had been idle for `age` was found closed as it was used again, by a request or in time.
    fn died_in_reuse(&self, age: Duration, in_doubt: bool) {
        let now = Instant::now();
        let patience = &mut self.lock().patience;
        if in_doubt {
            patience.cost_a_request(age, now);
        } else {
            patience.closed(age, now);
        }
    }

    fn put(self: &Arc<Self>, connection: Connection) {
        let now = Instant::now();
        let permit = connection.socket.set(Occupancy::Idle(now));
        let mut state = self.lock();
        if connection.sender.is_closed() {
            state.patience.closed(Duration::ZERO, now);
            return;
        }
        state.idle.push_back(connection);
        if state.idle.len() > self.max_idle
            && let Some(oldest) = state.idle.pop_front()
        {
            oldest.socket.set(Occupancy::Retired);
        }
        if !state.idle.is_empty() && !std::mem::replace(&mut state.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(self), self.idle_timeout));
        }
        drop(state);
        // Only now: a waiter that this wakes shall find the connection.
        drop(permit);
    }

    /// Closes what has been idle for too long; says whether anything is left.
    fn expire(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        while let Some(oldest) = state.idle.front()
            && oldest.age(now) >= self.idle_timeout
        {
            oldest.socket.set(Occupancy::Retired);
            state.idle.pop_front();
        }
        state.reaping = !state.idle.is_empty();
        state.reaping
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs while there are idle connections.
async fn reap(pool: Weak<Pool>, idle_timeout: Duration) {
    loop {
        sleep(idle_timeout.max(SHORTEST_REAPING) / 2).await;
        if !pool.upgrade().is_some_and(|pool| pool.expire()) {
            return;
        }
    }
}

/// One connection. Dropped while idle it closes by itself.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Upload>,
    socket: Arc<Socket>,
    driver: AbortHandle,
    /// How long it may be idle by the upstream's own word.
    lifetime: Duration,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Upload>,
        socket: Arc<Socket>,
        driver: AbortHandle,
    ) -> Self {
        Self {
            sender,
            socket,
            driver,
            lifetime: Duration::MAX,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        self.socket
            .idle_since()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn is_alive(&self) -> bool {
        !self.sender.is_closed() && self.socket.is_quiet()
    }
}

/// A connection lent to one exchange. Dropped, it closes the connection.
pub(super) struct Loan {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    /// How long it was idle before; `None` for a fresh one.
    idle_for: Option<Duration>,
    /// Lives as long as the request's body is not all taken.
    upload: Weak<()>,
    reusable: bool,
}

impl Loan {
    /// Lends out a fresh connection.
    pub(super) fn fresh(connection: Connection, pool: Arc<Pool>) -> Self {
        Self {
            connection: Some(connection),
            pool,
            idle_for: None,
            upload: Weak::new(),
            reusable: true,
        }
    }

    /// Lends out a connection from the pool, to which `permit` belongs from now on.
    pub(super) fn reused(
        taken: (Connection, Duration),
        permit: OwnedSemaphorePermit,
        pool: Arc<Pool>,
    ) -> Self {
        let (connection, age) = taken;
        connection.socket.set(Occupancy::Busy { _permit: permit });
        let mut loan = Self::fresh(connection, pool);
        loan.idle_for = Some(age);
        loan
    }

    /// The way to the connection's driver.
    pub(super) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self
            .connection
            .as_mut()
            .expect("only give_back and let_go take it, and they consume the loan")
            .sender
    }

    /// Whether nothing has arrived on a connection that owes us nothing.
    pub(super) fn is_alive(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_alive)
    }

    /// How long the connection was idle before this exchange, if it had one before.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.idle_for
    }

    /// Tells the pool that the connection died, and whether that left a request in doubt.
    pub(super) fn died(&self, in_doubt: bool) {
        if let Some(age) = self.idle_for {
            self.pool.died_in_reuse(age, in_doubt);
        }
    }

    /// Watches the upload: while it lasts the connection cannot be given back.
    pub(super) fn watch(&mut self, upload: Weak<()>) {
        self.upload = upload;
    }

    /// What the upstream said about the connection's further use: whether, and how long it may be idle.
    pub(super) fn terms(&mut self, reusable: bool, lifetime: Option<Duration>) {
        self.reusable = reusable;
        if let (Some(connection), Some(lifetime)) = (&mut self.connection, lifetime) {
            connection.lifetime = lifetime;
        }
    }

    /// The answer ended cleanly.
    pub(super) fn give_back(mut self) {
        if self.reusable
            && self.upload.strong_count() == 0
            && let Some(connection) = self.connection.take()
        {
            self.pool.put(connection);
        }
    }

    /// The connection goes on without us, as another protocol's. It counts until it is closed.
    pub(super) fn let_go(mut self) {
        self.connection = None;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.driver.abort();
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loan")
            .field("idle_for", &self.idle_for)
            .finish_non_exhaustive()
    }
}

const SHORTEST_REAPING: Duration = Duration::from_millis(20);
