//! Records in memory, gone with the process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{Health, Inserted, Replaced, Store, StoreError};
use crate::idempotency::expect::{Ruling, Standing, may_renew};
use crate::idempotency::{Expect, Lapse, Record, RecordId, Seen, State, Token};

/// Most records kept; a claim beyond is refused, since dropping one would let its key run again.
const MAX_RECORDS: usize = 1_000_000;

/// Records in memory, gone with the process: for trying it out, and the model of the other stores.
#[derive(Debug, Default)]
pub struct Memory {
    cells: Mutex<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    records: HashMap<RecordId, Cell>,
    /// Size of the map at which expired records are swept out; doubled with what is left, so that sweeping is cheap on average.
    sweep_at: usize,
}

#[derive(Clone, Debug)]
struct Cell {
    record: Record,
    written: Instant,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
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
        let mut cells = self.cells();
        if let Some(cell) = cells.live(id, now) {
            return Ok(Inserted::Occupied(cell.seen(now)));
        }
        cells.make_room(now)?;
        cells.records.insert(
            id,
            Cell {
                record: record.clone(),
                written: now,
            },
        );
        Ok(Inserted::Created)
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let now = Instant::now();
        let mut cells = self.cells();
        let replaced = match expect.rule(cells.live(id, now).map(|cell| cell.standing(now)), record)
        {
            Ruling::Stale => return Ok(Replaced::Stale),
            Ruling::Stands => return Ok(Replaced::Applied),
            Ruling::Write => Replaced::Applied,
            Ruling::Restore => Replaced::Restored,
        };
        cells.records.insert(
            id,
            Cell {
                record: record.clone(),
                written: now,
            },
        );
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
        Ok(self.cells().live(id, now).map(|cell| cell.seen(now)))
    }

    fn steady(&self) -> Duration {
        Duration::MAX
    }

    fn health(&self) -> Health {
        let records = self.cells().records.len();
        Health {
            up: true,
            notes: vec![format!("memory: {records} records")],
            epoch_changes: 0,
        }
    }
}

impl Cells {
    fn live(&mut self, id: RecordId, now: Instant) -> Option<&mut Cell> {
        self.records.get_mut(&id).filter(|cell| !cell.expired(now))
    }

    fn make_room(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.records.len() >= self.sweep_at {
            self.records.retain(|_, cell| !cell.expired(now));
            self.sweep_at = (self.records.len() * 2).clamp(1024, MAX_RECORDS);
        }
        if self.records.len() >= MAX_RECORDS {
            return Err(StoreError::Refused(format!(
                "the memory store holds {MAX_RECORDS} records"
            )));
        }
        Ok(())
    }
}

impl Cell {
    fn expired(&self, now: Instant) -> bool {
        now.duration_since(self.written) >= self.record.ttl
    }

    fn standing(&self, now: Instant) -> Standing {
        Standing {
            token: self.record.token,
            state: self.record.state,
            lapsed: now.duration_since(self.written) > self.record.lease,
        }
    }

    fn seen(&self, now: Instant) -> Seen {
        let lapsed = self.record.state == State::InFlight && self.standing(now).lapsed;
        Seen {
            record: self.record.clone(),
            lapse: if lapsed { Lapse::Lapsed } else { Lapse::Live },
        }
    }
}
