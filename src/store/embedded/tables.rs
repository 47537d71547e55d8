//! The tables in the file, and what one transaction does with them.

use std::ops::Bound;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableError, WriteTransaction,
};

use super::cell::{self, Cell};
use crate::idempotency::{RecordId, State};
use crate::store::codec::state_of;

/// Id → cell.
const RECORDS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("records");
/// (Expiry, id): what ends next.
const EXPIRIES: TableDefinition<(u64, &[u8; 16]), ()> = TableDefinition::new("expiries");
/// What the file is.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("idemproxy");

/// Version of the tables and of the cells in them.
pub(super) const FORMAT: u64 = 1;

/// What the records take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Number of records, expired ones included until they are swept.
    pub(super) records: u64,
    /// Bytes of the pages that they take, about.
    pub(super) bytes: u64,
}

/// The tables within a write transaction.
pub(super) struct Tables<'txn> {
    records: Table<'txn, &'static [u8; 16], &'static [u8]>,
    expiries: Table<'txn, (u64, &'static [u8; 16]), ()>,
    /// What the records take, this transaction included.
    pub(super) usage: Usage,
}

impl<'txn> Tables<'txn> {
    /// Opens them, `usage` being what they hold now.
    pub(super) fn open(txn: &'txn WriteTransaction, usage: Usage) -> Result<Self, redb::Error> {
        Ok(Self {
            records: txn.open_table(RECORDS)?,
            expiries: txn.open_table(EXPIRIES)?,
            usage,
        })
    }

    /// What is at `id`, expired or not.
    pub(super) fn get(&self, id: RecordId) -> Result<Option<Cell>, redb::Error> {
        let value = self.records.get(id.as_bytes())?;
        value.map(|value| cell(value.value())).transpose()
    }

    /// Puts `cell` in the place of what is there.
    pub(super) fn put(&mut self, id: RecordId, cell: &Cell) -> Result<(), redb::Error> {
        let value = cell.to_bytes();
        let before = self.records.insert(id.as_bytes(), &*value)?;
        if let Some(before) = before {
            let expiry = expiry(before.value())?;
            self.usage.less(before.value().len());
            self.expiries.remove((expiry, id.as_bytes()))?;
        }
        self.usage.more(value.len());
        self.expiries.insert((cell.expiry, id.as_bytes()), ())?;
        Ok(())
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, id: RecordId) -> Result<(), redb::Error> {
        if let Some(before) = self.records.remove(id.as_bytes())? {
            let expiry = expiry(before.value())?;
            self.usage.less(before.value().len());
            self.expiries.remove((expiry, id.as_bytes()))?;
        }
        Ok(())
    }

    /// The first `limit` records whose expiry is not after `now`.
    pub(super) fn expired(&self, now: u64, limit: usize) -> Result<Vec<RecordId>, redb::Error> {
        let due = self.expiries.range(..=(now, &[0xff; 16]))?;
        due.take(limit)
            .map(|entry| Ok(RecordId::from_bytes(*entry?.0.value().1)))
            .collect()
    }
}

/// Makes the tables of a new file, and says what the file is.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::Error> {
    Tables::open(txn, Usage::default())?;
    txn.open_table(ABOUT)?.insert("format", FORMAT)?;
    Ok(())
}

/// Notes the store's time, from which it goes on when it is opened again.
pub(super) fn note_time(txn: &WriteTransaction, now: u64) -> Result<(), redb::Error> {
    txn.open_table(ABOUT)?.insert("time", now)?;
    Ok(())
}

/// The file's format and the time noted last; nothing if the file is not one of ours.
pub(super) fn about(database: &Database) -> Result<Option<(u64, u64)>, redb::Error> {
    let about = match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => about,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let format = about.get("format")?.map(|format| format.value());
    let time = about.get("time")?.map_or(0, |time| time.value());
    Ok(format.map(|format| (format, time)))
}

/// Reads every record, to see that it can be read, and adds up what they take. Brings back, too, which are in flight.
pub(super) fn survey(database: &Database) -> Result<(Usage, Vec<RecordId>), redb::Error> {
    let txn = database.begin_read()?;
    let records = txn.open_table(RECORDS)?;
    let (mut usage, mut in_flight) = (Usage::default(), Vec::new());
    for entry in records.iter()? {
        let (id, value) = entry?;
        let value = value.value();
        expiry(value)?;
        usage.more(value.len());
        if state_of(&value[cell::HEAD..]) == Some(State::InFlight) {
            in_flight.push(RecordId::from_bytes(*id.value()));
        }
    }
    let expiries = txn.open_table(EXPIRIES)?.len()?;
    if expiries != usage.records {
        let records = usage.records;
        return Err(redb::Error::Corrupted(format!(
            "{records} records with {expiries} expiries"
        )));
    }
    Ok((usage, in_flight))
}

/// What is at `id` in what was committed last.
pub(super) fn look(database: &Database, id: RecordId) -> Result<Option<Cell>, redb::Error> {
    let txn: ReadTransaction = database.begin_read()?;
    let records = txn.open_table(RECORDS)?;
    let value = records.get(id.as_bytes())?;
    value.map(|value| cell(value.value())).transpose()
}

/// What comes after `after` in what was committed last, by ascending id: so many records at most, and so many bytes about. `each` is given
/// the values, which are read with the pages that hold them, and are not copied. Brings back the last id, if there may be others.
pub(super) fn range(
    database: &Database,
    after: Option<RecordId>,
    (records, bytes): (usize, usize),
    mut each: impl FnMut(RecordId, &[u8]),
) -> Result<Option<RecordId>, redb::Error> {
    let txn = database.begin_read()?;
    let table = txn.open_table(RECORDS)?;
    let after = after.map(|id| *id.as_bytes());
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut read = 0;
    for (number, entry) in table
        .range::<&[u8; 16]>((from, Bound::Unbounded))?
        .enumerate()
    {
        let (id, value) = entry?;
        let id = RecordId::from_bytes(*id.value());
        each(id, value.value());
        read += value.value().len();
        if number + 1 >= records || read >= bytes {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whether a record has expired by `now`, by what was committed last.
pub(super) fn any_expired(database: &Database, now: u64) -> Result<bool, redb::Error> {
    let expiries = database.begin_read()?.open_table(EXPIRIES)?;
    Ok(expiries
        .first()?
        .is_some_and(|(first, _)| first.value().0 <= now))
}

impl Usage {
    fn more(&mut self, value: usize) {
        self.records += 1;
        self.bytes += footprint(value);
    }

    fn less(&mut self, value: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(footprint(value));
    }
}

/// About what a value takes in the file: small ones share pages that are two thirds full, large ones have a power of two of pages of
/// their own.
fn footprint(value: usize) -> u64 {
    let bytes = value as u64 + 64;
    if bytes < 2048 {
        bytes * 3 / 2 + 64
    } else {
        bytes.next_power_of_two().max(4096) + 64
    }
}

fn cell(value: &[u8]) -> Result<Cell, redb::Error> {
    Cell::parse(value).ok_or_else(short)
}

fn expiry(value: &[u8]) -> Result<u64, redb::Error> {
    let expiry = value.first_chunk().filter(|_| value.len() >= cell::HEAD);
    expiry
        .map(|bytes| u64::from_be_bytes(*bytes))
        .ok_or_else(short)
}

fn short() -> redb::Error {
    redb::Error::Corrupted("a record is too short".to_owned())
}
