//! Records in memory, gone with the process.

mod shelves;

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::shelves::{Shelf, Shelves};
use super::codec::head_of;
use super::listing::{Listed, Page};
use super::{
    Codec, CodecError, Health, Inserted, Listing, Replaced, Store, StoreError, Wanted, token,
};
use crate::idempotency::expect::{Ruling, Standing, may_renew};
use crate::idempotency::{Expect, Lapse, Record, RecordId, Seen, State, Token, UnixMillis};

/// Records in memory, gone with the process: for trying it out, and the model of the other stores.
#[derive(Debug)]
pub struct Memory {
    /// In boxes, so that the places are small: of a large store few are in the processor's cache, and what is new is.
    cells: Shelves<Box<Cell>>,
    /// What the records take, about. Changed under the lock of the record's shelf: it never becomes less than nothing.
    bytes: AtomicU64,
    /// Bytes at which expired records are swept out; doubled with what is left, so that sweeping is cheap on average.
    sweep_at: AtomicU64,
    /// When that was done last. Held by whoever does it.
    swept: Mutex<Option<Instant>>,
    max_bytes: u64,
    codec: Codec,
}

/// A record as a frame: an answer kept as it came would hold on to the whole buffer that it was read into.
#[derive(Clone, Debug)]
struct Cell {
    frame: Bytes,
    token: Token,
    state: State,
    lease: Duration,
    ttl: Duration,
    written: Instant,
}

/// Without a bound, as tests want it.
impl Default for Memory {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Memory {
    /// An empty store that takes no claims beyond `max_bytes` of records: dropping one would let its key run again. Of claims that come at
    /// once, each may be the last for which there is room.
    pub fn new(max_bytes: u64) -> Self {
        Self::with_codec(max_bytes, Codec::clear())
    }

    /// The same, with records written by `codec`.
    pub fn with_codec(max_bytes: u64, codec: Codec) -> Self {
        Self {
            cells: Shelves::default(),
            bytes: AtomicU64::new(0),
            sweep_at: AtomicU64::new(0),
            swept: Mutex::default(),
            max_bytes,
            codec,
        }
    }

    /// Writes the record on its shelf, and gives back the one before: a large one takes a while to drop, for which nobody should have to
    /// wait.
    fn write(&self, entry: Entry<'_, RecordId, Box<Cell>>, cell: Cell) -> Option<Cell> {
        let bytes = cell.bytes();
        match entry {
            Entry::Occupied(mut there) => {
                let before = std::mem::replace(&mut **there.get_mut(), cell);
                // Around zero, if it becomes less.
                let more = bytes.wrapping_sub(before.bytes());
                self.bytes.fetch_add(more, Ordering::Relaxed);
                Some(before)
            }
            Entry::Vacant(free) => {
                free.insert(Box::new(cell));
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                None
            }
        }
    }

    /// Whether there is anything to do to [make room](Self::make_room).
    fn tight(&self) -> bool {
        let sweep_at = self.sweep_at.load(Ordering::Relaxed);
        self.bytes.load(Ordering::Relaxed) >= sweep_at.min(self.max_bytes)
    }

    /// Sweeps out what expired if it is time, and refuses a claim if the rest takes too much. The caller holds no shelf.
    fn make_room(&self, now: Instant) -> Result<(), StoreError> {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        // A full store of live records shall not be searched through for each claim that it refuses.
        let rested = swept.is_none_or(|at| now.duration_since(at) >= SWEEP_REST);
        let bytes = || self.bytes.load(Ordering::Relaxed);
        if bytes() >= self.sweep_at.load(Ordering::Relaxed) || (bytes() >= self.max_bytes && rested)
        {
            *swept = Some(now);
            self.cells.sweep(
                now,
                |cell| cell.end(),
                |cell| {
                    self.bytes.fetch_sub(cell.bytes(), Ordering::Relaxed);
                },
            );
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
}

impl Store for Memory {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let now = Instant::now();
        if self.tight() && live(&mut self.cells.of(id), id, now).is_none() {
            self.make_room(now)?;
        }
        let found = {
            let mut shelf = self.cells.of(id);
            match shelf.entry(id) {
                Entry::Occupied(there) if !there.get().expired(now) => Cell::clone(there.get()),
                free => {
                    // Encoded only here: a duplicate has no use for it. A claim has no answer, so the lock is not held for long.
                    let cell = Cell::new(&self.codec, id, record, now)?;
                    let end = cell.end();
                    let before = self.write(free, cell);
                    shelf.may_end(end);
                    drop(shelf);
                    drop(before);
                    return Ok(Inserted::Created);
                }
            }
        };
        Ok(Inserted::Occupied(Box::new(found.seen(
            &self.codec,
            id,
            now,
        )?)))
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let now = Instant::now();
        let cell = Cell::new(&self.codec, id, record, now)?;
        let ruling = |entry: &Entry<'_, RecordId, Box<Cell>>| {
            let there = match entry {
                Entry::Occupied(there) if !there.get().expired(now) => Some(there.get()),
                _ => None,
            };
            expect.rule(there.map(|cell| cell.standing(now)), record)
        };
        if record.state == State::InFlight
            && self.tight()
            && matches!(
                ruling(&self.cells.of(id).entry(id)),
                Ruling::Write | Ruling::Restore
            )
        {
            self.make_room(now)?;
        }
        let mut shelf = self.cells.of(id);
        let entry = shelf.entry(id);
        let replaced = match ruling(&entry) {
            Ruling::Stale => return Ok(Replaced::Stale),
            Ruling::Stands => return Ok(Replaced::Applied),
            Ruling::Write => Replaced::Applied,
            Ruling::Restore => Replaced::Restored,
        };
        let end = cell.end();
        let before = self.write(entry, cell);
        shelf.may_end(end);
        drop(shelf);
        drop(before);
        Ok(replaced)
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let now = Instant::now();
        match live(&mut self.cells.of(id), id, now) {
            Some(cell) if may_renew(Some(cell.standing(now)), token) => {
                cell.written = now;
                Ok(Replaced::Applied)
            }
            _ => Ok(Replaced::Stale),
        }
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let now = Instant::now();
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
            let now = Instant::now();
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
        let (records, bytes) = (self.cells.len(), self.bytes.load(Ordering::Relaxed));
        Health {
            up: bytes < self.max_bytes,
            notes: vec![format!("memory: {records} records, {bytes} bytes")],
            ..Health::default()
        }
    }
}

fn live(shelf: &mut Shelf<Box<Cell>>, id: RecordId, now: Instant) -> Option<&mut Cell> {
    let cell = shelf.get_mut(&id)?;
    (!cell.expired(now)).then_some(&mut **cell)
}

impl Cell {
    fn new(
        codec: &Codec,
        id: RecordId,
        record: &Record,
        written: Instant,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            frame: codec.encode(id, record)?,
            token: record.token,
            state: record.state,
            lease: record.lease,
            ttl: record.ttl,
            written,
        })
    }

    fn expired(&self, now: Instant) -> bool {
        now.duration_since(self.written) >= self.ttl
    }

    /// When it expires; nothing where no clock tells such a time.
    fn end(&self) -> Option<Instant> {
        self.written.checked_add(self.ttl)
    }

    fn standing(&self, now: Instant) -> Standing {
        Standing {
            token: self.token,
            state: self.state,
            lapsed: now.duration_since(self.written) > self.lease,
        }
    }

    fn seen(&self, codec: &Codec, id: RecordId, now: Instant) -> Result<Seen, CodecError> {
        let lapsed = self.state == State::InFlight && self.standing(now).lapsed;
        Ok(Seen {
            record: codec.decode(id, self.frame.clone())?,
            lapse: if lapsed { Lapse::Lapsed } else { Lapse::Live },
            quiet: Some(now.duration_since(self.written)),
        })
    }

    fn listed(&self, id: RecordId, now: Instant) -> Result<Option<Listed>, StoreError> {
        if self.expired(now) {
            return Ok(None);
        }
        let head =
            head_of(&self.frame).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        Ok(Some(Listed {
            id,
            lapsed: self.state == State::InFlight && self.standing(now).lapsed,
            record: head.record,
            response_bytes: head.response_bytes,
            expires_in: Some(self.ttl.saturating_sub(now.duration_since(self.written))),
        }))
    }

    /// What it takes, about: its frame, and its place in the map.
    fn bytes(&self) -> u64 {
        (self.frame.len() + 256) as u64
    }
}

/// Records that a listing reads at a time.
const SLICE: usize = 256;
const SWEEP_REST: Duration = Duration::from_secs(1);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;

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
        assert_eq!(memory.bytes.load(Ordering::Relaxed), taken);
        assert!(memory.swept.lock().unwrap().is_some());
    }
}
