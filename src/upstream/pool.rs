//! One upstream: the connections to it, those in use and those idle and fit to be used again, and the way to more (`connector`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::client::{Contact, Reuse};
use super::connection::Connection;
use super::connector::Connector;
use super::error::{NotSentReason, UpstreamSetupError};
use super::patience::Patience;
use super::settings::UpstreamSettings;
use crate::lanes::{PerLane, now};

/// The connections to one upstream, and the way to more. A permit stands for a connection in use; idle ones make room for a new one.
pub(super) struct Pool {
    authority: String,
    connector: Connector,
    connect_timeout: Duration,
    contact: AtomicU8,
    max_idle: usize,
    max_connections: usize,
    idle_timeout: Duration,
    permits: Arc<Semaphore>,
    /// Of each lane those that it used; the back was used last. A lane takes another's only where it may open none of its own.
    idle: PerLane<Mutex<VecDeque<Connection>>>,
    /// How many are idle, on all lanes. Changes only under the lock of the lane concerned.
    idles: AtomicUsize,
    patience: Mutex<Patience>,
    reaping: AtomicBool,
}

impl Pool {
    pub(super) fn new(
        settings: &UpstreamSettings,
        lanes: usize,
    ) -> Result<Arc<Self>, UpstreamSetupError> {
        let authority = settings
            .origin
            .authority()
            .map_or("", |authority| authority.as_str());
        let max_connections = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Arc::new(Self {
            authority: authority.rsplit('@').next().unwrap_or(authority).to_owned(),
            connector: Connector::new(settings)?,
            connect_timeout: settings.connect_timeout,
            contact: AtomicU8::new(Contact::None as u8),
            max_idle: settings.max_idle,
            max_connections,
            idle_timeout: settings.idle_timeout,
            permits: Arc::new(Semaphore::new(max_connections)),
            idle: PerLane::new(lanes, |_| Mutex::default()),
            idles: AtomicUsize::new(0),
            patience: Mutex::default(),
            reaping: AtomicBool::new(false),
        }))
    }

    /// Host and port of the upstream, as its origin names them.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What came of the last connection that was opened.
    pub(super) fn contact(&self) -> Contact {
        match self.contact.load(Ordering::Relaxed) {
            0 => Contact::None,
            1 => Contact::Made,
            _ => Contact::Failed,
        }
    }

    /// What there is to hold of them.
    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Waits for the right to use a connection, as long as it may take to open one.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        let waiting = timeout(self.connect_timeout, self.permits.acquire());
        Box::pin(waiting).await.ok()?.ok()
    }

    /// Opens a connection for a request that found none to reuse, to which `permit` belongs from now on.
    pub(super) async fn connect(
        self: &Arc<Self>,
        permit: SemaphorePermit<'_>,
        reuse: Reuse,
    ) -> Result<Connection, NotSentReason> {
        self.make_room();
        let deadline = Instant::now() + self.connect_timeout;
        let connected = self.connector.connect(permit, deadline, self, reuse);
        let connected = connected.await;
        let came_of_it = match connected {
            Ok(_) => Contact::Made,
            Err(_) => Contact::Failed,
        };
        self.contact.store(came_of_it as u8, Ordering::Relaxed);
        connected
    }

    /// Takes the idle connection that was used last, if `reuse` allows it, and says how long it was idle.
    pub(super) fn take(&self, reuse: Reuse) -> Option<(Connection, Duration)> {
        let mine = self.idle.mine();
        let own = self.take_of(mine, reuse);
        // Not for one that must not end in doubt: its bytes would leave from another thread, whenever that comes to it.
        if own.is_some() || reuse == Reuse::OnlyYoung {
            return own;
        }
        let others = self.idle.iter().filter(|lane| !std::ptr::eq(*lane, mine));
        let mut others = others.take_while(|_| self.is_full());
        others.find_map(|lane| self.take_of(lane, reuse))
    }

    fn take_of(
        &self,
        lane: &Mutex<VecDeque<Connection>>,
        reuse: Reuse,
    ) -> Option<(Connection, Duration)> {
        // What must not end in doubt goes by an exact time.
        let now = match reuse {
            Reuse::Any => now(),
            Reuse::OnlyYoung => Instant::now(),
        };
        let mut idle = lock(lane);
        // All lanes learn together: what they know is never locked while the system is asked of a connection.
        let limit = || lock(&self.patience).limit(now);
        let mut learnt = limit();
        if learnt.is_zero()
            && let Some(oldest) = idle.front()
            && oldest.is_alive(false)
        {
            lock(&self.patience).survived(oldest.age(now), now);
            learnt = limit();
        }
        while let Some(mut connection) = idle.pop_back() {
            let age = connection.age(now);
            if age >= self.fit_until(&connection, reuse, learnt) {
                idle.push_back(connection);
                return None;
            }
            self.idles.fetch_sub(1, Ordering::Relaxed);
            // One so young is hardly ever closed, and what need not end in doubt may meet that. Bytes that nobody asked for, which the
            // next client would get, come after answers that were to have none.
            let is_young = age < learnt.min(connection.lifetime / 2);
            connection.untried = reuse == Reuse::Any && is_young && !connection.bare;
            // What must not end in doubt goes by what the lane has asked for all of its connections at once, if that was just now.
            let was_asked =
                reuse == Reuse::OnlyYoung && !connection.bare && connection.was_asked(age, now);
            if connection.is_alive(connection.untried || was_asked) {
                return Some((connection, age));
            }
            lock(&self.patience).closed(age, now);
            learnt = limit();
        }
        None
    }

    /// The age from which on an idle connection is not for such a request.
    fn fit_until(&self, connection: &Connection, reuse: Reuse, learnt: Duration) -> Duration {
        let until = match reuse {
            Reuse::Any => connection.lifetime,
            Reuse::OnlyYoung => learnt.min(connection.lifetime / 2),
        };
        until.min(self.idle_timeout)
    }

    /// Closes the youngest idle connection of this lane that is not fit for such a request: another one was opened instead, so that a lane
    /// has no more than it had in use at once, and the oldest. That stays: by it is learnt how long they last.
    pub(super) fn make_way(&self, reuse: Reuse) {
        let now = Instant::now();
        let learnt = lock(&self.patience).limit(now);
        let mut idle = lock(self.idle.mine());
        let is_unfit = |it: &Connection| it.age(now) >= self.fit_until(it, reuse, learnt);
        let youngest = idle.iter().rposition(is_unfit).filter(|at| *at > 0);
        let youngest = youngest.and_then(|at| idle.remove(at));
        youngest.inspect(|youngest| self.retire(youngest));
    }

    /// Whether one more connection needs the place of an idle one. The caller holds a permit for it.
    fn is_full(&self) -> bool {
        let in_use = self.max_connections - self.permits.available_permits();
        in_use + self.idles.load(Ordering::Relaxed) > self.max_connections
    }

    /// Closes idle connections until one more may be opened. The caller holds a permit for it.
    fn make_room(&self) {
        // All of them, always in this order: one that went to another lane meanwhile would be missed, and one that was taken miscounted.
        let mut lanes: Vec<_> = self.idle.iter().map(lock).collect();
        for idle in &mut lanes {
            while self.is_full() && self.retire_spare(idle) {}
        }
    }

    /// The upstream closed a connection that had been in the pool `since` then.
    pub(super) fn closed_while_idle(&self, since: Instant) {
        lock(&self.patience).closed(since.elapsed(), Instant::now());
        for lane in self.idle.iter() {
            let mut idle = lock(lane);
            let before = idle.len();
            idle.retain(|connection| !connection.sender.is_closed());
            self.idles.fetch_sub(before - idle.len(), Ordering::Relaxed);
        }
    }

    /// A connection that had been idle for `age` was found closed as it was used again, by a request or in time.
    pub(super) fn died_in_reuse(&self, age: Duration, in_doubt: bool) {
        let now = Instant::now();
        let mut patience = lock(&self.patience);
        if in_doubt {
            patience.cost_a_request(age, now);
        } else {
            patience.closed(age, now);
        }
    }

    /// Keeps a connection for the next exchange, and gives back its permit.
    pub(super) fn put(self: &Arc<Self>, mut connection: Connection) {
        let now = now();
        connection.untried = false;
        connection.socket.rest(now);
        let permit = Owed(&self.permits);
        if connection.sender.is_closed() {
            lock(&self.patience).closed(Duration::ZERO, now);
            return;
        }
        let mut idle = lock(self.idle.mine());
        idle.push_back(connection);
        let before = self.idles.fetch_add(1, Ordering::Relaxed);
        drop(idle);
        if before >= self.max_idle {
            self.retire_one();
        }
        if !self.reaping.load(Ordering::Relaxed)
            && self.idles.load(Ordering::Relaxed) > 0
            && !self.reaping.swap(true, Ordering::Relaxed)
        {
            tokio::spawn(reap(Arc::downgrade(self), self.idle_timeout));
        }
        // Only now: a waiter that this wakes shall find the connection.
        drop(permit);
    }

    /// Closes what has been idle for too long; says whether anything is left.
    fn expire(&self) -> bool {
        let now = Instant::now();
        for lane in self.idle.iter() {
            let mut idle = lock(lane);
            while let Some(oldest) = idle.pop_front_if(|it| it.age(now) >= self.idle_timeout) {
                self.retire(&oldest);
            }
        }
        self.idles.load(Ordering::Relaxed) > 0
    }

    /// Gives up one of the lane that has most: the others keep theirs.
    fn retire_one(&self) {
        let longest = self.idle.iter().max_by_key(|lane| lock(lane).len());
        if let Some(lane) = longest {
            self.retire_spare(&mut lock(lane));
        }
    }

    /// Gives up the oldest of a lane but one, which tells how long they last; of two, or one, the oldest.
    fn retire_spare(&self, idle: &mut VecDeque<Connection>) -> bool {
        let spare = idle.remove(usize::from(idle.len() > 2));
        spare.inspect(|spare| self.retire(spare)).is_some()
    }

    /// Gives up one that is no longer among the idle ones of its lane, which is still locked.
    fn retire(&self, connection: &Connection) {
        self.idles.fetch_sub(1, Ordering::Relaxed);
        connection.socket.retire();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A permit that is to be given back.
struct Owed<'a>(&'a Semaphore);

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Runs while there are idle connections.
async fn reap(pool: Weak<Pool>, idle_timeout: Duration) {
    loop {
        sleep(idle_timeout.max(SHORTEST_REAPING) / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.expire() {
            pool.reaping.store(false, Ordering::Relaxed);
            // One that was put back in between has nobody who looks after it.
            if !pool.expire() || pool.reaping.swap(true, Ordering::Relaxed) {
                return;
            }
        }
    }
}

const SHORTEST_REAPING: Duration = Duration::from_millis(20);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::*;
    use crate::upstream::tests::settings;

    #[test]
    fn nothing_goes_from_lane_to_lane_while_room_is_made() {
        let pool = Pool::new(&settings("http", ([127, 0, 0, 1], 1).into()), 2).unwrap();
        let lanes: Vec<_> = pool.idle.iter().collect();
        thread::scope(|scope| {
            let second = lock(lanes[1]);
            let making = scope.spawn(|| pool.make_room());
            let late = std::time::Instant::now() + Duration::from_secs(20);
            while lanes[0].try_lock().is_ok() {
                assert!(std::time::Instant::now() < late, "the first is let go");
                thread::yield_now();
            }
            drop(second);
            making.join().unwrap();
        });
        assert!(lanes.iter().all(|lane| lane.try_lock().is_ok()));
    }
}
