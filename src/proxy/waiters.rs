//! Duplicates that wait, and how they learn that the wait is over.
//!
//! However many wait for a key, one task looks at its record: now and then, since another instance may settle it, and at once when
//! this one does. Those who wait share what it saw. The task ends with the last of them, or with the claim they wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::limits::{Buffered, Limits};
use super::records::Records;
use super::room::Room;
use crate::idempotency::{RecordId, Seen, Token};
use crate::lanes::Tasks;
use crate::store::{Store, StoreError};
use crate::telemetry::{Limit, Metrics};

/// The duplicates that wait in this process.
pub(super) struct Waiters {
    places: Room,
    limits: Limits,
    metrics: Arc<Metrics>,
    watched: Mutex<Watched>,
}

/// The leave to wait, held until the answer is with the client.
pub(super) struct Place(Arc<Waiters>);

/// A record under the eyes of whoever waits for it; dropped, one of them leaves.
pub(super) struct Watch {
    waiters: Arc<Waiters>,
    id: RecordId,
    number: u64,
    looked: watch::Receiver<Looked>,
}

/// A look at a record. All who answer from it hold it until they have, and its answer is in memory once.
pub(super) struct Look {
    /// What it brought.
    pub(super) seen: Result<Option<Seen>, StoreError>,
    /// The memory that the body of its answer takes; nothing if there was no room.
    pub(super) room: Option<Buffered>,
}

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
    /// Room for `max_waiters`. What they wait for is held within `limits`.
    pub(super) fn new(max_waiters: usize, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Room::new(max_waiters as u64),
            limits,
            metrics,
            watched: Mutex::default(),
        }
    }

    /// From now on there is room for `max_waiters`; whoever waits already goes on.
    pub(super) fn resize(&self, max_waiters: usize) {
        self.places.resize(max_waiters as u64);
    }

    /// Leave to wait, if there is room; counted where there is none.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        if !self.places.take(1) {
            self.metrics.limit_reached(Limit::MaxWaiters);
            return None;
        }
        self.metrics.waiters.inc();
        Some(Place(self.clone()))
    }

    /// Watches a record. Whatever it becomes after this call is seen.
    pub(super) fn watch<S: Store>(
        self: &Arc<Self>,
        id: RecordId,
        records: &Arc<Records<S>>,
        tasks: &Tasks,
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
            let look = Look::new(records.look(id, None).await, &self.limits);
            let over = match &look.seen {
                Ok(seen) => !seen.as_ref().is_some_and(Seen::is_running),
                Err(error) => error.is_unreadable(),
            };
            if over {
                // Whoever comes from now on may have met the next claim, and has a look of its own.
                self.forget(id, number);
            }
            tell.send_if_modified(|last| {
                let news = over || look.holder() != last.as_deref().and_then(Look::holder);
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

impl Look {
    fn new(seen: Result<Option<Seen>, StoreError>, limits: &Limits) -> Self {
        let stored = match &seen {
            Ok(Some(seen)) => seen.record.response.as_ref(),
            Ok(None) | Err(_) => None,
        };
        let mut room = limits.buffer();
        let fits = room.grow(stored.map_or(0, |stored| stored.body.len()));
        Self {
            seen,
            room: fits.then_some(room),
        }
    }

    fn holder(&self) -> Option<Token> {
        let seen = self.seen.as_ref().ok()?.as_ref();
        seen.map(|seen| seen.record.token)
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
        self.0.metrics.waiters.dec();
        self.0.places.give_back(1);
    }
}

/// From one look to the next. With the time that a look takes, the end of a claim on another instance is seen within a quarter of a
/// second.
const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::time::Instant;

    use super::*;
    use crate::idempotency::{Expect, Record, State, StoredResponse, sample};
    use crate::store::Memory;

    const ID: RecordId = RecordId::from_bytes([1; 16]);
    const ROOM: u64 = 10;

    /// A claim, and whoever waits for its end.
    struct World {
        store: Arc<Memory>,
        limits: Limits,
        metrics: Arc<Metrics>,
        waiters: Arc<Waiters>,
        records: Arc<Records<Memory>>,
        tasks: Tasks,
    }

    impl World {
        async fn new(max_waiters: usize) -> Self {
            let (store, metrics) = (Arc::new(Memory::default()), Arc::new(Metrics::new()));
            let tasks = Tasks::default();
            let limits = Limits::new(1, ROOM, Gauge::default());
            let waiters = Arc::new(Waiters::new(max_waiters, limits.clone(), metrics.clone()));
            let records = Records::new(
                store.clone(),
                metrics.clone(),
                tasks.clone(),
                waiters.clone(),
                limits.clone(),
            );
            store.insert(ID, &claim(1)).await.unwrap();
            Self {
                store,
                limits,
                metrics,
                waiters,
                records: Arc::new(records),
                tasks,
            }
        }

        fn watch(&self) -> Watch {
            self.waiters.watch(ID, &self.records, &self.tasks)
        }

        fn looks(&self) -> u32 {
            let page = self.metrics.encode().unwrap();
            let line = "idemproxy_store_duration_seconds_count{op=\"get\"} ";
            page.lines()
                .find_map(|found| found.strip_prefix(line))
                .map_or(0, |count| count.parse().unwrap())
        }
    }

    fn claim(token: u8) -> Record {
        Record {
            lease: Duration::from_secs(60),
            ..sample::in_flight(token)
        }
    }

    fn ended(token: u8, state: State) -> Record {
        Record {
            state,
            ..claim(token)
        }
    }

    fn state(watch: &mut Watch) -> State {
        let look = watch.last().unwrap();
        let seen = look.seen.as_ref().unwrap();
        seen.as_ref().unwrap().record.state
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_claim_here_is_seen_at_once() {
        for end in [State::Completed, State::Released, State::Unknown] {
            let world = World::new(1).await;
            let mut watch = world.watch();
            assert!(watch.changed().await);
            assert_eq!(state(&mut watch), State::InFlight);
            let began = Instant::now();
            let (expect, end) = (Expect::Held(claim(1).token), ended(1, end));
            world
                .records
                .replace(ID, expect, &end, Instant::now(), None)
                .await
                .unwrap();
            assert!(watch.changed().await);
            assert_eq!(state(&mut watch), end.state);
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_claim_elsewhere_is_seen_within_a_quarter_of_a_second() {
        let world = World::new(1).await;
        let mut watch = world.watch();
        assert!(watch.changed().await);
        tokio::time::sleep(Duration::from_millis(70)).await;
        let began = Instant::now();
        let (expect, end) = (Expect::Held(claim(1).token), ended(1, State::Completed));
        world.store.replace(ID, expect, &end).await.unwrap();
        assert!(watch.changed().await);
        assert_eq!(state(&mut watch), State::Completed);
        assert!(began.elapsed() <= Duration::from_millis(250));
        // It is over, and nobody looks any more.
        assert!(!watch.changed().await);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_one_looks_until_the_last_of_them_leaves() {
        let world = World::new(64).await;
        let mut watches: Vec<_> = (0..64).map(|_| world.watch()).collect();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(world.looks(), 6);
        let last = watches.pop();
        drop(watches);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.looks(), 11);
        drop(last);
        world.tasks.ended().await;
        assert_eq!(world.looks(), 11);
        assert!(world.waiters.watched().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_the_end_watches_the_next_claim_while_others_still_leave() {
        let world = World::new(2).await;
        let mut early = world.watch();
        assert!(early.changed().await);
        let (expect, end) = (Expect::Held(claim(1).token), ended(1, State::Released));
        world
            .records
            .replace(ID, expect, &end, Instant::now(), None)
            .await
            .unwrap();
        assert!(early.changed().await);
        let expect = Expect::Released(claim(1).token);
        world
            .records
            .replace(ID, expect, &claim(2), Instant::now(), None)
            .await
            .unwrap();
        let mut late = world.watch();
        assert!(late.changed().await);
        assert_eq!(state(&mut late), State::InFlight);
        assert_eq!(state(&mut early), State::Released);
        drop(early);
        let (expect, end) = (Expect::Held(claim(2).token), ended(2, State::Completed));
        world
            .records
            .replace(ID, expect, &end, Instant::now(), None)
            .await
            .unwrap();
        assert!(late.changed().await);
        assert_eq!(state(&mut late), State::Completed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_its_memory_once_however_many_wait_for_it() {
        for (size, fits) in [(6, true), (11, false)] {
            let world = World::new(64).await;
            let mut watches: Vec<_> = (0..64).map(|_| world.watch()).collect();
            assert!(watches[0].changed().await);
            let mut end = ended(1, State::Completed);
            end.response = Some(StoredResponse {
                status: 201,
                headers: Default::default(),
                body: vec![b'x'; size].into(),
                trailers: Default::default(),
            });
            let expect = Expect::Held(claim(1).token);
            world
                .records
                .replace(ID, expect, &end, Instant::now(), None)
                .await
                .unwrap();
            for watch in &mut watches {
                while state(watch) == State::InFlight {
                    assert!(watch.changed().await);
                }
            }
            let looks: Vec<_> = watches.iter_mut().map(|watch| watch.last()).collect();
            drop(watches);
            assert!(
                looks
                    .iter()
                    .flatten()
                    .all(|look| look.room.is_some() == fits)
            );
            // Until the last of them has it.
            assert!(world.limits.buffer().grow(4));
            assert_eq!(world.limits.buffer().grow(5), !fits);
            drop(looks);
            assert!(world.limits.buffer().grow(10));
        }
    }

    #[tokio::test]
    async fn places_are_given_back_and_one_too_many_is_counted() {
        let world = World::new(1).await;
        let place = world.waiters.place();
        assert!(place.is_some() && world.waiters.place().is_none());
        assert_eq!(world.metrics.waiters.get(), 1);
        let page = world.metrics.encode().unwrap();
        assert!(page.contains("idemproxy_limit_reached_total{limit=\"max_waiters\"} 1"));
        drop(place);
        assert!(world.waiters.place().is_some());
        assert_eq!(world.metrics.waiters.get(), 0);
    }
}
