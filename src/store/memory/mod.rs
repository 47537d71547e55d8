//! Records in memory, gone with the process.

mod shelves;

use std::collections::hash_map::Entry;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::shelves::Shelves;
use super::codec::head_of;
use super::listing::{Listed, Page};
use super::{Codec, CodecError, Health, Inserted, Listing, Replaced, Store, StoreError, Wanted};
use crate::idempotency::expect::{Ruling, Standing, may_renew};
use crate::idempotency::{Expect, Lapse, Record, RecordId, Seen, State, Token};

/// Records in memory, gone with the process: for trying it out, and the model of the other stores.
#[derive(Debug)]
pub struct Memory {
    cells: Mutex<Cells>,
    max_bytes: u64,
    codec: Codec,
}

#[derive(Debug, Default)]
struct Cells {
    records: Shelves<Cell>,
    /// What the records take, about.
    bytes: u64,
    /// Bytes at which expired records are swept out; doubled with what is left, so that sweeping is cheap on average.
    sweep_at: u64,
    swept: Option<Instant>,
}

/// The place of one record, found once to be read and written.
struct Place<'a> {
    entry: Entry<'a, RecordId, Cell>,
    /// What all the records take.
    bytes: &'a mut u64,
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
    /// An empty store that takes no claims beyond `max_bytes` of records: dropping one would let its key run again.
    pub fn new(max_bytes: u64) -> Self {
        Self::with_codec(max_bytes, Codec::clear())
    }

    /// The same, with records written by `codec`.
    pub fn with_codec(max_bytes: u64, codec: Codec) -> Self {
        Self {
            cells: Mutex::default(),
            max_bytes,
            codec,
        }
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, Cells> {
        // A panic while the lock is held leaves whole cells behind: each is written in one move.
        self.cells
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Store for Memory {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let now = Instant::now();
        let found = {
            let mut cells = self.cells();
            if cells.tight(self.max_bytes) && cells.live(id, now).is_none() {
                cells.make_room(self.max_bytes, now)?;
            }
            let place = cells.place(id);
            match place.live(now) {
                Some(found) => found.clone(),
                None => {
                    // Encoded only here: a duplicate has no use for it. A claim has no answer, so the lock is not held for long.
                    let before = place.write(Cell::new(&self.codec, id, record, now)?);
                    drop(cells);
                    drop(before);
                    return Ok(Inserted::Created);
                }
            }
        };
        Ok(Inserted::Occupied(found.seen(&self.codec, id, now)?))
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let now = Instant::now();
        let cell = Cell::new(&self.codec, id, record, now)?;
        let mut cells = self.cells();
        let mut place = cells.place(id);
        let standing = place.live(now).map(|cell| cell.standing(now));
        let replaced = match expect.rule(standing, record) {
            Ruling::Stale => return Ok(Replaced::Stale),
            Ruling::Stands => return Ok(Replaced::Applied),
            Ruling::Write => Replaced::Applied,
            Ruling::Restore => Replaced::Restored,
        };
        if record.state == State::InFlight {
            cells.make_room(self.max_bytes, now)?;
            place = cells.place(id);
        }
        let before = place.write(cell);
        drop(cells);
        drop(before);
        Ok(replaced)
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let now = Instant::now();
        match self.cells().live(id, now) {
            Some(cell) if may_renew(Some(cell.standing(now)), token) => {
                cell.written = now;
                Ok(Replaced::Applied)
            }
            _ => Ok(Replaced::Stale),
        }
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let now = Instant::now();
        let found = self.cells().live(id, now).cloned();
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
            let slice: Vec<_> = {
                let cells = self.cells();
                let next = cells.records.after(after, SLICE).into_iter();
                next.map(|(id, cell)| (id, cell.clone())).collect()
            };
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

    /// Always: nothing notices here that the process stood still, so after that a claim may be taken over whose heartbeat is only overdue.
    fn steady(&self, _: RecordId) -> Duration {
        Duration::MAX
    }

    fn health(&self) -> Health {
        let cells = self.cells();
        let (records, bytes) = (cells.records.len(), cells.bytes);
        Health {
            up: bytes < self.max_bytes,
            notes: vec![format!("memory: {records} records, {bytes} bytes")],
            ..Health::default()
        }
    }
}

impl Cells {
    fn live(&mut self, id: RecordId, now: Instant) -> Option<&mut Cell> {
        self.records.get_mut(id).filter(|cell| !cell.expired(now))
    }

    fn place(&mut self, id: RecordId) -> Place<'_> {
        Place {
            entry: self.records.entry(id),
            bytes: &mut self.bytes,
        }
    }

    /// Whether there is anything to do to [make room](Self::make_room).
    fn tight(&self, max_bytes: u64) -> bool {
        self.bytes >= self.sweep_at.min(max_bytes)
    }

    /// Sweeps out what expired if it is time, and refuses a claim if the rest takes too much.
    fn make_room(&mut self, max_bytes: u64, now: Instant) -> Result<(), StoreError> {
        // A full store of live records shall not be searched through for each claim that it refuses.
        let rested = || {
            self.swept
                .is_none_or(|at| now.duration_since(at) >= SWEEP_REST)
        };
        if self.bytes >= self.sweep_at || (self.bytes >= max_bytes && rested()) {
            self.swept = Some(now);
            let mut bytes = 0;
            self.records.retain(|cell| {
                let stays = !cell.expired(now);
                bytes += if stays { cell.bytes() } else { 0 };
                stays
            });
            self.bytes = bytes;
            self.sweep_at = (self.bytes * 2).max(1 << 20);
        }
        if self.bytes >= max_bytes {
            return Err(StoreError::Refused(format!(
                "the memory store holds {max_bytes} bytes"
            )));
        }
        Ok(())
    }
}

impl Place<'_> {
    fn live(&self, now: Instant) -> Option<&Cell> {
        match &self.entry {
            Entry::Occupied(there) => Some(there.get()).filter(|cell| !cell.expired(now)),
            Entry::Vacant(_) => None,
        }
    }

    /// Writes the record, and gives back the one before: a large one takes a while to drop, for which nobody should have to wait.
    fn write(self, cell: Cell) -> Option<Cell> {
        *self.bytes += cell.bytes();
        match self.entry {
            Entry::Occupied(mut there) => {
                let before = there.insert(cell);
                *self.bytes -= before.bytes();
                Some(before)
            }
            Entry::Vacant(free) => {
                free.insert(cell);
                None
            }
        }
    }
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
