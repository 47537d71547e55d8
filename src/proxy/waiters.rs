//! Duplicates that wait, and how they learn that the wait is over.
//!
//! However many wait for a key, one task looks at its record: now and then, since another instance may settle it, and at once when
//! this one does. Those who wait share what it saw. The task ends with the last of them, or with the claim they wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::records::Records;
use crate::idempotency::{RecordId, Seen, Token};
use crate::store::{Store, StoreError};
use crate::telemetry::{Limit, Metrics};

/// The duplicates that wait in this process.
pub(super) struct Waiters {
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    watched: Mutex<Watched>,
}

/// The leave to wait, held until the answer is with the client.
#[derive(Debug)]
pub(super) struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

/// A record under the eyes of whoever waits for it; dropped, one of them leaves.
pub(super) struct Watch {
    waiters: Arc<Waiters>,
    id: RecordId,
    number: u64,
    looked: watch::Receiver<Looked>,
}

/// What a look at a record brought.
pub(super) type Look = Result<Option<Seen>, StoreError>;

/// The last look; nothing before the first.
type Looked = Option<Arc<Look>>;

#[derive(Default)]
struct Watched {
    entries: HashMap<RecordId, Entry>,
    /// Entries so far: a key may be watched again while some still leave from the time before.
    number: u64,
}

struct Entry {
    number: u64,
    watches: usize,
    looked: watch::Receiver<Looked>,
    look_now: Arc<Notify>,
    _looking: DropGuard,
}

impl Waiters {
    /// Room for `max_waiters`.
    pub(super) fn new(max_waiters: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_waiters.min(Semaphore::MAX_PERMITS))),
            metrics,
            watched: Mutex::default(),
        }
    }

    /// Leave to wait, if there is room; counted where there is none.
    pub(super) fn place(&self) -> Option<Place> {
        let Ok(permit) = self.places.clone().try_acquire_owned() else {
            self.metrics.limit_reached(Limit::MaxWaiters);
            return None;
        };
        self.metrics.waiters.inc();
        Some(Place {
            metrics: self.metrics.clone(),
            _permit: permit,
        })
    }

    /// Watches a record. Whatever it becomes after this call is seen.
    pub(super) fn watch<S: Store>(
        self: &Arc<Self>,
        id: RecordId,
        records: &Arc<Records<S>>,
        tasks: &TaskTracker,
    ) -> Watch {
        let mut watched = self.watched();
        if !watched.entries.contains_key(&id) {
            watched.number += 1;
            let number = watched.number;
            let (tell, looked) = watch::channel(None);
            let look_now = Arc::new(Notify::new());
            let stop = CancellationToken::new();
            let looking = self
                .clone()
                .look_on(id, number, records.clone(), look_now.clone(), tell);
            let until = stop.clone();
            tasks.spawn(async move { until.run_until_cancelled(looking).await });
            watched.entries.insert(
                id,
                Entry {
                    number,
                    watches: 0,
                    looked,
                    look_now,
                    _looking: stop.drop_guard(),
                },
            );
        }
        let entry = watched
            .entries
            .get_mut(&id)
            .expect("it was there, or was put there");
        entry.watches += 1;
        Watch {
            waiters: self.clone(),
            id,
            number: entry.number,
            looked: entry.looked.clone(),
        }
    }

    /// Has a record looked at now, if somebody waits for it: a claim of it ended here.
    pub(super) fn wake(&self, id: RecordId) {
        if let Some(entry) = self.watched().entries.get(&id) {
            // Kept until the look under way is over: that one may have come too early.
            entry.look_now.notify_one();
        }
    }

    async fn look_on<S: Store>(
        self: Arc<Self>,
        id: RecordId,
        number: u64,
        records: Arc<Records<S>>,
        look_now: Arc<Notify>,
        tell: watch::Sender<Looked>,
    ) {
        loop {
            let look = records.look(id).await;
            let over = match &look {
                Ok(seen) => !seen.as_ref().is_some_and(Seen::is_running),
                Err(error) => error.is_unreadable(),
            };
            if over {
                // Whoever comes from now on may have met the next claim, and has a look of its own.
                self.forget(id, number);
            }
            tell.send_if_modified(|last| {
                let news = over || holder(&look) != last.as_deref().and_then(holder);
                *last = Some(Arc::new(look));
                news
            });
            if over {
                return;
            }
            // The sooner of the two; either way it is time to look again.
            let _ = tokio::time::timeout(EVERY, look_now.notified()).await;
        }
    }

    fn forget(&self, id: RecordId, number: u64) {
        let mut watched = self.watched();
        if watched
            .entries
            .get(&id)
            .is_some_and(|entry| entry.number == number)
        {
            watched.entries.remove(&id);
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Whatever panicked while it had the lock left a whole map behind.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// What was seen last; nothing before the first look.
    pub(super) fn last(&mut self) -> Option<Arc<Look>> {
        self.looked.borrow_and_update().clone()
    }

    /// Waits until something else is seen than at [`Watch::last`]; false if nobody looks any more.
    pub(super) async fn changed(&mut self) -> bool {
        self.looked.changed().await.is_ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.waiters.watched();
        let Some(entry) = watched.entries.get_mut(&self.id) else {
            return;
        };
        if entry.number == self.number {
            entry.watches -= 1;
            if entry.watches == 0 {
                watched.entries.remove(&self.id);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.waiters.dec();
    }
}

fn holder(look: &Look) -> Option<Token> {
    look.as_ref().ok()?.as_ref().map(|seen| seen.record.token)
}

/// From one look to the next. With the time that a look takes, the end of a claim on another instance is seen within a quarter of a
/// second.
const EVERY: Duration = Duration::from_millis(200);
