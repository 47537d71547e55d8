//! The tables in the file, and what one transaction does with them.

use std::collections::BTreeMap;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::cell::{self, Cell};
use super::index::Index;
use crate::idempotency::{RecordId, State};
use crate::store::codec::state_of;

/// Place → cell, as the [`Index`] has the places.
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// (Time, number) → ids: what is to be looked at then, a transaction's together. Each record stands under a time that is not later than the whole
/// second in which it expires; one that was written again may stand under an earlier time, too, and is found alive then.
const DUE: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("due");
/// What the file is.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("idemproxy");

/// Changes of a transaction that many share.
const MANY: usize = 64;

/// Version of the tables, of the cells in them, and of how record ids are made: a file whose ids are others would never meet its keys.
pub(super) const FORMAT: u64 = 4;

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
    index: &'txn Index,
    records: Table<'txn, u64, &'static [u8]>,
    due: Table<'txn, (u64, u64), &'static [u8]>,
    /// What goes into [`DUE`], by time: one entry for all that a transaction writes costs less than one each.
    coming: BTreeMap<u64, Vec<u8>>,
    changes: Changes,
}

/// What a transaction changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What the records take with it.
    pub(super) usage: Usage,
    /// What it put where, in its order; nothing where it removed a record.
    pub(super) cells: Vec<(RecordId, Option<Cell>)>,
}

impl<'txn> Tables<'txn> {
    /// Opens them, `usage` being what they hold now.
    pub(super) fn open(
        txn: &'txn WriteTransaction,
        index: &'txn Index,
        usage: Usage,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            index,
            records: txn.open_table(RECORDS)?,
            due: txn.open_table(DUE)?,
            coming: BTreeMap::new(),
            changes: Changes {
                usage,
                cells: Vec::with_capacity(MANY),
            },
        })
    }

    /// What is at `id`, expired or not.
    pub(super) fn get(&self, id: RecordId) -> Result<Option<Cell>, redb::Error> {
        match self.index.of(id) {
            Some(place) => self.read(id, place, Cell::parse),
            None => Ok(None),
        }
    }

    /// What `read` makes of the value of `id` at its place, expired or not; it makes nothing of one that is too short.
    pub(super) fn read<T>(
        &self,
        id: RecordId,
        place: u64,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, redb::Error> {
        let value = self.records.get(place)?;
        value
            .map(|value| checked(id, value.value(), read))
            .transpose()
    }

    /// Puts `cell` at the place of `id`, over what is there.
    pub(super) fn put(&mut self, id: RecordId, place: u64, cell: Cell) -> Result<(), redb::Error> {
        let value = cell.value();
        let usage = &mut self.changes.usage;
        let stood = match self.records.insert(place, value)? {
            Some(before) => {
                usage.less(before.value().len());
                Some(expiry(before.value())?)
            }
            None => None,
        };
        usage.more(value.len());
        if stood.is_none_or(|stood| cell.expiry < stood) {
            self.look_again(id, cell.expiry);
        }
        self.changes.cells.push((id, Some(cell)));
        Ok(())
    }

    /// Removes what is there.
    pub(super) fn remove(&mut self, id: RecordId) -> Result<(), redb::Error> {
        if let Some(place) = self.index.of(id)
            && let Some(before) = self.records.remove(place)?
        {
            self.changes.usage.less(before.value().len());
        }
        self.changes.cells.push((id, None));
        Ok(())
    }

    /// Takes the ids that are to be looked at by `now`, `limit` and a transaction's more at most. Who takes them removes their records, or
    /// has them looked at again.
    pub(super) fn take_due(
        &mut self,
        now: u64,
        limit: usize,
    ) -> Result<Vec<RecordId>, redb::Error> {
        let mut ids = Vec::new();
        while ids.len() < limit {
            match self.due.first()? {
                Some((first, _)) if first.value().0 <= now => {}
                _ => break,
            }
            if let Some((_, due)) = self.due.pop_first()? {
                ids.extend(ids_in(due.value()));
            }
        }
        Ok(ids)
    }

    /// Has the record at `id` looked at when it expires.
    pub(super) fn look_again(&mut self, id: RecordId, expiry: u64) {
        let ids = self
            .coming
            .entry(expiry.div_ceil(1000).saturating_mul(1000));
        ids.or_default().extend(id.as_bytes());
    }

    /// Writes what is still to be written. What was changed is to be noted when it is committed.
    pub(super) fn close(mut self) -> Result<Changes, redb::Error> {
        for (time, ids) in &self.coming {
            let last = self.due.range((*time, 0)..=(*time, u64::MAX))?.next_back();
            let number = match last.transpose()? {
                Some((last, _)) => last.value().1 + 1,
                None => 0,
            };
            self.due.insert((*time, number), &**ids)?;
        }
        Ok(self.changes)
    }
}

/// Makes the tables of a new file, and says what the file is.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::Error> {
    Tables::open(txn, &Index::default(), Usage::default())?.close()?;
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

/// Reads every record, to see that it can be read, and adds up what they take. Brings back, too, where each stands, and which are in flight.
pub(super) fn survey(database: &Database) -> Result<(Usage, Index, Vec<RecordId>), redb::Error> {
    let txn = database.begin_read()?;
    let records = txn.open_table(RECORDS)?;
    let (mut usage, index, mut in_flight) = (Usage::default(), Index::default(), Vec::new());
    for entry in records.iter()? {
        let (place, value) = entry?;
        let value = value.value();
        let id = id_of(value)?;
        if !index.found(id, place.value()) {
            return Err(redb::Error::Corrupted(format!("two records of {id}")));
        }
        usage.more(value.len());
        if state_of(&value[cell::HEAD..]) == Some(State::InFlight) {
            in_flight.push(id);
        }
    }
    let mut due = 0;
    for entry in txn.open_table(DUE)?.iter()? {
        due += ids_in(entry?.1.value()).count() as u64;
    }
    if due < usage.records {
        let records = usage.records;
        return Err(redb::Error::Corrupted(format!(
            "{records} records with {due} expiries"
        )));
    }
    Ok((usage, index, in_flight))
}

/// What is at `id` in what was committed last.
pub(super) fn look(
    database: &Database,
    index: &Index,
    id: RecordId,
) -> Result<Option<Cell>, redb::Error> {
    let Some(place) = index.of(id) else {
        return Ok(None);
    };
    let txn: ReadTransaction = database.begin_read()?;
    let records = txn.open_table(RECORDS)?;
    let value = records.get(place)?;
    value
        .map(|value| checked(id, value.value(), Cell::parse))
        .transpose()
}

/// What comes after `after` in what was committed last, by ascending id: so many records at most, and so many bytes about. `each` is given
/// the values, which are read with the pages that hold them, and are not copied. Brings back the last id, if there may be others.
pub(super) fn range(
    database: &Database,
    index: &Index,
    after: Option<RecordId>,
    (records, bytes): (usize, usize),
    mut each: impl FnMut(RecordId, &[u8]),
) -> Result<Option<RecordId>, redb::Error> {
    let txn = database.begin_read()?;
    let table = txn.open_table(RECORDS)?;
    let places = index.after(after, records);
    let (mut read, full) = (0, places.len() >= records);
    let last = places.last().map(|(id, _)| *id);
    for (id, place) in places {
        // Its place is empty while it is being written or removed.
        let Some(value) = table.get(place)? else {
            continue;
        };
        each(id, value.value());
        read += value.value().len();
        if read >= bytes {
            return Ok(Some(id));
        }
    }
    Ok(last.filter(|_| full))
}

/// Whether any record is to be looked at by `now`, by what was committed last.
pub(super) fn any_due(database: &Database, now: u64) -> Result<bool, redb::Error> {
    let due = database.begin_read()?.open_table(DUE)?;
    Ok(due
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

fn checked<T>(
    id: RecordId,
    value: &[u8],
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, redb::Error> {
    if id_of(value)? != id {
        return Err(redb::Error::Corrupted(
            "another record is in its place".to_owned(),
        ));
    }
    read(value).ok_or_else(short)
}

fn id_of(value: &[u8]) -> Result<RecordId, redb::Error> {
    let id = value[..cell::HEAD.min(value.len())].last_chunk();
    id.filter(|_| value.len() >= cell::HEAD)
        .map(|id| RecordId::from_bytes(*id))
        .ok_or_else(short)
}

fn expiry(value: &[u8]) -> Result<u64, redb::Error> {
    let expiry = value.first_chunk().filter(|_| value.len() >= cell::HEAD);
    expiry
        .map(|bytes| u64::from_be_bytes(*bytes))
        .ok_or_else(short)
}

fn ids_in(due: &[u8]) -> impl Iterator<Item = RecordId> {
    let (ids, _) = due.as_chunks();
    ids.iter().map(|id| RecordId::from_bytes(*id))
}

fn short() -> redb::Error {
    redb::Error::Corrupted("a record is too short".to_owned())
}
