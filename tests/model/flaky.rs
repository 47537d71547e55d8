//! The memory store behind a bad network: replies are lost, commands arrive late, and it may forget.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idemproxy::idempotency::{Expect, Lapse, Record, RecordId, Seen, Token};
use idemproxy::store::{Health, Inserted, Listing, Memory, Replaced, Store, StoreError, Wanted};
use tokio::time::sleep;

/// Longest that a command is late: well within a lease.
const LATEST: u64 = 5_000;

/// Chance that can be repeated: splitmix64.
pub struct Chance(Mutex<u64>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub fn percent(&self, of: u64) -> bool {
        self.below(100) < of
    }
}

/// The memory store of the moment.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Arc<Memory>>>);

impl Shelf {
    fn memory(&self) -> Arc<Memory> {
        self.0.lock().unwrap().clone()
    }
}

/// The memory store behind a bad network.
pub struct Flaky {
    memory: Shelf,
    pub chance: Chance,
    /// Percent of commands that go wrong.
    badness: u64,
    pub lost: AtomicU32,
    pub late: AtomicU32,
    pub forgotten: AtomicU32,
}

impl Flaky {
    pub fn new(seed: u64, badness: u64) -> Self {
        Self {
            memory: Shelf::default(),
            chance: Chance::new(seed),
            badness,
            lost: AtomicU32::new(0),
            late: AtomicU32::new(0),
            forgotten: AtomicU32::new(0),
        }
    }

    /// The store itself, for those who watch.
    pub fn memory(&self) -> Arc<Memory> {
        self.memory.memory()
    }

    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        *self.memory.0.lock().unwrap() = Arc::default();
    }

    /// Lets a command travel. `again` carries it out once more, later.
    async fn travel<T, F>(
        &self,
        now: impl Future<Output = T> + Send,
        again: F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let unanswered = || StoreError::Unanswered("the test has it so".to_owned());
        sleep(Duration::from_millis(self.chance.below(20))).await;
        if self.chance.percent(self.badness) {
            let wait = Duration::from_millis(500 + self.chance.below(LATEST));
            self.late.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                sleep(wait).await;
                again.await;
            });
            sleep(Duration::from_millis(500)).await;
            return Err(unanswered());
        }
        let reply = now.await;
        if self.chance.percent(self.badness) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(500)).await;
            return Err(unanswered());
        }
        sleep(Duration::from_millis(self.chance.below(20))).await;
        Ok(reply)
    }
}

impl Store for Flaky {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let (shelf, late) = (self.memory.clone(), record.clone());
        let inserted = self
            .travel(
                async { self.memory().insert(id, record).await },
                async move { drop(shelf.memory().insert(id, &late).await) },
            )
            .await??;
        Ok(match inserted {
            // One command of Redis does not tell the lease.
            Inserted::Occupied(mut seen) if self.chance.percent(50) => {
                seen.lapse = Lapse::Untold;
                Inserted::Occupied(seen)
            }
            inserted => inserted,
        })
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let (shelf, late) = (self.memory.clone(), record.clone());
        self.travel(
            async { self.memory().replace(id, expect, record).await },
            async move { drop(shelf.memory().replace(id, expect, &late).await) },
        )
        .await?
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let shelf = self.memory.clone();
        self.travel(async { self.memory().renew(id, token).await }, async move {
            drop(shelf.memory().renew(id, token).await)
        })
        .await?
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        self.travel(async { self.memory().look(id).await }, async {})
            .await?
    }

    async fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        self.memory().list(after, limit, wanted).await
    }

    fn steady(&self, id: RecordId) -> Duration {
        self.memory().steady(id)
    }

    fn health(&self) -> Health {
        self.memory().health()
    }
}
