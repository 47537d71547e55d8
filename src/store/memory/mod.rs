//! Records in memory, gone with the process.

mod cell;
mod moment;
mod shelves;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::cell::Cell;
use self::moment::Moment;
use self::shelves::{Place, SHELVES, Shelf, Shelves};
use super::listing::Page;
use super::{Codec, Health, Inserted, Listing, Replaced, Store, StoreError, Wanted, token};
use crate::idempotency::expect::{Ruling, may_renew};
use crate::idempotency::{Expect, Record, RecordId, Seen, State, Token, UnixMillis};
use crate::lanes;

/// Records in memory, gone with the process: for trying it out, and the model of the other stores.
#[derive(Debug)]
pub struct Memory {
    cells: Shelves<Cell>,
    /// Bytes at which expired records are swept out; doubled with what is left, so that sweeping is cheap on average.
    sweep_at: AtomicU64,
    /// When that was done last. Held by whoever does it.
    swept: Mutex<Option<Moment>>,
    max_bytes: u64,
    codec: Codec,
    /// When its clock began.
    began: Instant,
}

/// Without a bound, as tests want it.
impl Default for Memory {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Memory {
    /// An empty store that takes no claims beyond `max_bytes` of records, known to within a sixtieth: dropping one would let its key run
    /// again. Of claims that come at once, each may be the last for which there is room.
    pub fn new(max_bytes: u64) -> Self {
        Self::with_codec(max_bytes, Codec::clear())
    }

    /// The same, with records written by `codec`.
    pub fn with_codec(max_bytes: u64, codec: Codec) -> Self {
        let most_untold = max_bytes / (64 * SHELVES as u64);
        Self {
            cells: Shelves::new(most_untold.min(MOST_UNTOLD)),
            sweep_at: AtomicU64::new(0),
            swept: Mutex::default(),
            max_bytes,
            codec,
            began: Instant::now(),
        }
    }

    /// Whether there is anything to do to [make room](Self::make_room).
    fn tight(&self) -> bool {
        let sweep_at = self.sweep_at.load(Ordering::Relaxed);
        self.cells.bytes() >= sweep_at.min(self.max_bytes)
    }

    /// Sweeps out what expired if it is time, and refuses a claim if the rest takes too much. The caller holds no shelf.
    fn make_room(&self, now: Moment) -> Result<(), StoreError> {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        // A full store of live records shall not be searched through for each claim that it refuses.
        let rested = swept.is_none_or(|at| now.since(at) >= SWEEP_REST);
        let bytes = || self.cells.bytes();
        if bytes() >= self.sweep_at.load(Ordering::Relaxed) || (bytes() >= self.max_bytes && rested)
        {
            *swept = Some(now);
            self.cells.sweep(now);
            let sweep_at = bytes().saturating_mul(2).max(1 << 20);
            self.sweep_at.store(sweep_at, Ordering::Relaxed);
        }
        if bytes() >= self.max_bytes {
            return Err(StoreError::Refused(format!(
                "the memory store holds {} bytes",
                self.max_bytes
            )));
        }
        Ok(())
    }

    fn now(&self) -> Moment {
        Moment::of(Instant::now(), self.began)
    }

    /// The time of the [turn](lanes::turn), which whoever counts a lease from a look at the clock has told of it ([`lanes::looked`]): no
    /// record was written before that look.
    fn about_now(&self) -> Moment {
        Moment::of(lanes::now(), self.began)
    }
}

impl Store for Memory {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let now = self.about_now();
        if self.tight() && live(&mut self.cells.of(id), id, now).is_none() {
            self.make_room(now)?;
        }
        let mut shelf = self.cells.of(id);
        let place = shelf.place(id);
        let Some(there) = standing_in(&place, now) else {
            // Encoded only here: a duplicate has no use for it. A claim has no answer, so the lock is not held for long.
            let before = place.keep(Cell::new(&self.codec, id, record, now)?);
            drop(shelf);
            drop(before);
            return Ok(Inserted::Created);
        };
        let found = there.clone();
        drop(shelf);
        let seen = found.seen(&self.codec, id, now)?;
        Ok(Inserted::Occupied(Box::new(seen)))
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let now = self.about_now();
        let cell = Cell::new(&self.codec, id, record, now)?;
        let ruling = |place: &Place<'_, Cell>| {
            let there = standing_in(place, now);
            expect.rule(there.map(|cell| cell.standing(now)), record)
        };
        if record.state == State::InFlight
            && self.tight()
            && matches!(
                ruling(&self.cells.of(id).place(id)),
                Ruling::Write | Ruling::Restore
            )
        {
            self.make_room(now)?;
        }
        let mut shelf = self.cells.of(id);
        let place = shelf.place(id);
        let replaced = match ruling(&place) {
            Ruling::Stale => return Ok(Replaced::Stale),
            Ruling::Stands => return Ok(Replaced::Applied),
            Ruling::Write => Replaced::Applied,
            Ruling::Restore => Replaced::Restored,
        };
        let before = place.keep(cell);
        drop(shelf);
        // A large one takes a while, for which nobody should have to wait.
        drop(before);
        Ok(replaced)
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let now = self.now();
        match live(&mut self.cells.of(id), id, now) {
            Some(cell) if may_renew(Some(cell.standing(now)), token) => {
                cell.renew(now);
                Ok(Replaced::Applied)
            }
            _ => Ok(Replaced::Stale),
        }
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let now = self.now();
        let found = live(&mut self.cells.of(id), id, now).cloned();
        let seen = found.map(|cell| cell.seen(&self.codec, id, now));
        Ok(seen.transpose()?)
    }

    async fn list(
        &self,
        mut after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        let mut page = Page::new(limit, wanted);
        loop {
            let now = self.now();
            let slice = self.cells.after(after, SLICE);
            for (id, cell) in &slice {
                if page.done() {
                    return Ok(page.end(true));
                }
                page.take(*id, cell.listed(*id, now))?;
            }
            match slice.last() {
                Some((last, _)) if slice.len() == SLICE => after = Some(*last),
                _ => return Ok(page.end(false)),
            }
            tokio::task::yield_now().await;
        }
    }

    fn fresh_token(&self, now: UnixMillis) -> Token {
        token::numbered(now)
    }

    /// Always: nothing notices here that the process stood still, so after that a claim may be taken over whose heartbeat is only overdue.
    fn steady(&self, _: RecordId) -> Duration {
        Duration::MAX
    }

    fn health(&self) -> Health {
        let (records, bytes) = self.cells.count();
        Health {
            // As claims are judged, and not by what is counted here.
            up: self.cells.bytes() < self.max_bytes,
            notes: vec![format!("memory: {records} records, {bytes} bytes")],
            ..Health::default()
        }
    }
}

/// What is kept by this id and has not expired.
fn live(shelf: &mut Shelf<Cell>, id: RecordId, now: Moment) -> Option<&mut Cell> {
    shelf.get_mut(id).filter(|cell| !cell.expired(now))
}

/// What is there and has not expired.
fn standing_in<'p>(place: &'p Place<'_, Cell>, now: Moment) -> Option<&'p Cell> {
    place.there().filter(|cell| !cell.expired(now))
}

/// Records that a listing reads at a time.
const SLICE: usize = 256;
const SWEEP_REST: Duration = Duration::from_secs(1);
/// Bytes that a shelf leaves untold at most: it tells of every fifth record then.
const MOST_UNTOLD: u64 = 4096;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;

    use super::shelves::Kept;
    use super::*;
    use crate::idempotency::sample;

    #[test]
    fn the_last_claim_that_is_taken_is_the_one_that_fills_the_store() {
        for max_bytes in [1, 10_000, 1 << 20] {
            let memory = Memory::new(max_bytes);
            let taken = |number: u64| {
                let id = RecordId::from_bytes((u128::from(number) << 64).to_be_bytes());
                let inserted = memory.insert(id, &sample::in_flight(1)).now_or_never();
                inserted.unwrap().is_ok()
            };
            let count = (0..).take_while(|number| taken(*number)).count() as u64;
            let (_, cell) = memory.cells.after(None, 1).pop().unwrap();
            assert_eq!(count, max_bytes.div_ceil(cell.bytes()));
            assert!(!memory.health().up);
        }
    }

    #[test]
    fn of_a_large_store_it_is_known_to_a_sixtieth_when_it_is_full() {
        let max_bytes = 32 << 20;
        let memory = Memory::new(max_bytes);
        let mut hasher = blake3::Hasher::new();
        let refused = (0..u64::MAX).find(|number| {
            hasher.update(&number.to_be_bytes());
            let id = RecordId::from_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap());
            let inserted = memory.insert(id, &sample::in_flight(1)).now_or_never();
            inserted.unwrap().is_err()
        });
        assert!(refused.is_some() && !memory.health().up);
        let (records, taken) = memory.cells.count();
        assert!(
            taken / (records as u64) < max_bytes / (64 * SHELVES as u64),
            "none is told of at once"
        );
        let about = max_bytes - max_bytes / 64..=max_bytes + max_bytes / 64;
        assert!(about.contains(&taken), "{taken}");
    }

    #[test]
    fn what_records_take_is_known_however_many_threads_write_and_sweep() {
        let memory = Memory::new(u64::MAX);
        let write = |thread: u128| {
            for turn in 0..3000 {
                // Two of three are written by every thread, and every other one is swept out as soon as it is time.
                let number = turn * 5 + if turn % 3 == 0 { thread } else { 4 };
                let id = RecordId::from_bytes((number << 107).to_be_bytes());
                let mut record = sample::in_flight(1);
                record.ttl = Duration::from_secs(60 * (turn as u64 % 2));
                memory.insert(id, &record).now_or_never().unwrap().unwrap();
                (record.state, record.error) = (State::Unknown, Some("x".repeat(turn as usize)));
                let expect = Expect::Held(record.token);
                memory
                    .replace(id, expect, &record)
                    .now_or_never()
                    .unwrap()
                    .unwrap();
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || write(thread));
            }
        });
        let cells = memory.cells.after(None, usize::MAX).into_iter();
        let taken: u64 = cells.map(|(_, cell)| cell.bytes()).sum();
        assert_eq!(memory.cells.count().1, taken);
        let (records, _) = memory.cells.count();
        assert!(records < 3000 / 3 * (4 + 2), "some were swept out");
    }
}
