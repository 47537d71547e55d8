//! Records in a file of this process alone, on redb: a B-tree that is copied on write.
//!
//! # The files
//!
//! `DIR/records.redb` holds the records. `DIR/lock` keeps a second process out. `DIR/headroom` is disk space that is given up
//! when the disk is full.
//!
//! # Writes
//!
//! Who asks makes the record's bytes (`cell`). One thread (`writer`) takes what is queued, applies it in order in one transaction, syncs,
//! and answers all: under load many operations share a sync; it waits a moment for those that the sync before answered (`gathering`). Commits are in two phases, which costs a twentieth under load: only so is a newest commit that does not verify known to be
//! damage, and not taken for a torn one and rolled back. Readers see what was committed; a replay waits for no writer.
//!
//! Records stand in the order in which they first came, and an index in memory tells where (`index`): what is written together, or
//! settled or removed together, is on few pages.
//!
//! # Reads
//!
//! What was written lately is kept in memory (`recent`), and read where it is asked for; all else on a thread that may wait for the disk.
//! What a transaction changes is gathered where it is written (`tables`), hidden while it commits, and noted after that, before it is answered: so who
//! looks again never finds what came before. When a write failed, nothing of it is believed any more.
//!
//! # Leases
//!
//! Only this process holds claims on its file, so heartbeats are kept in memory (`leases`). Each record carries which opening of the store
//! wrote it: one in flight under another is left by a process that is gone, and is unknown at once. The opening writes that down and counts
//! it (`left`). A process that stood still finds its own
//! leases lapsed: it is not steady (`status`) until they had time to be renewed.
//!
//! # Listings
//!
//! A page is read in slices, each in a read transaction of its own (`listing`): one that is held keeps pages from being used again. The pages of the
//! file hold answers beside what a listing tells, so those are read from the disk, and not kept.
//!
//! # Expiry
//!
//! A record carries when it ends by the store's own time, which never runs back (`clock`). An expired record is absent; the writer removes it
//! in small transactions, and its pages are used again. What is to be looked at when is noted once for all that a transaction writes, and
//! not again when a record comes to live longer (`tables`).
//!
//! # When things go wrong
//!
//! After a failed write the database takes no more; the writer opens the file again, sees whether the transaction stands, and answers by
//! that; where the records stand is read from the file anew. On a full disk claims are refused, settlements go on as long as the headroom lasts, and replays go on; claims are taken
//! again as soon as there is headroom. A file that does not verify is refused when it is opened, all of it being read then. (The one byte
//! that makes a commit the newest cannot be verified: turned back after a crash, it is a crash before that commit.)
//!
//! `sync = "never"` answers before the sync and syncs about 50 ms later: until then a commit stands in the memory of this process alone.

mod cell;
mod clock;
mod file;
mod gathering;
mod headroom;
mod index;
mod leases;
mod left;
mod listing;
mod lock;
mod opening;
mod recent;
mod slot;
mod status;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;
mod upkeep;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;

use self::cell::{Cell, Witness};
use self::leases::Renewal;
use self::listing::Slice;
use self::slot::Slot;
use self::status::Status;
use self::transaction::{Job, Written};
use self::writer::{Request, Writer};
use super::codec::Stamp;
use super::listing::Page;
use super::{Health, Inserted, Listing, Replaced, Store, StoreError, StoreSettings, Wanted};
use crate::fault::{Seeded, seeded};
use crate::idempotency::{Expect, Record, RecordId, Seen, Token};

pub use file::OpenError;
pub use status::Statistics;

/// The records, in the directory of the store.
pub(super) const FILE: &str = "records.redb";

/// Records in a file of this process alone.
///
/// Dropping it answers what is queued, writes it, and closes the file; that blocks for about one sync.
#[derive(Debug)]
pub struct Embedded {
    queue: Option<SyncSender<Request>>,
    database: watch::Receiver<Slot>,
    /// Bounds the threads that read: a disk that hangs must not take all of them.
    readers: Arc<Semaphore>,
    /// Bytes of large records that may be queued: those wait here, and not as copies in the queue.
    large: Arc<Semaphore>,
    witness: Arc<Witness>,
    status: Arc<Status>,
    timeout: Duration,
    name: String,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store in `dir`, made if it is absent. Reads the whole file, which takes about a second for each GiB.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; what is there is left as it is.
    pub fn open(dir: &Path, settings: &StoreSettings) -> Result<Self, OpenError> {
        Self::open_with(dir, settings, FileBackend::new)
    }

    /// Opens the store in `dir` with files of another kind: for tests that fill disks and cut the power.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_with<B: StorageBackend>(
        dir: &Path,
        settings: &StoreSettings,
        backend: impl Fn(File) -> Result<B, DatabaseError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (writer, database) = Writer::open(dir, settings, backend, RECENT_BYTES)?;
        Self::start(writer, database, settings)
    }

    fn start(
        writer: Writer,
        database: watch::Receiver<Slot>,
        settings: &StoreSettings,
    ) -> Result<Self, OpenError> {
        let dir = writer.file.dir().to_owned();
        let name = format!("embedded: {}", dir.display());
        let (witness, status) = (Arc::clone(&writer.witness), Arc::clone(&writer.status));
        let (queue, requests) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let writer = thread
            .spawn(move || writer.run(&requests))
            .map_err(|source| OpenError::Io { path: dir, source })?;
        Ok(Self {
            queue: Some(queue),
            database,
            readers: Arc::new(Semaphore::new(READERS)),
            large: Arc::new(Semaphore::new(LARGE_BYTES as usize)),
            witness,
            status,
            timeout: settings.timeout,
            name,
            writer: Some(writer),
        })
    }

    /// Its numbers.
    pub fn statistics(&self) -> Statistics {
        self.status.statistics()
    }

    /// What was committed at `id`.
    async fn read(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        if self.witness.index.of(id).is_none() {
            return Ok(None);
        }
        if let Some(cell) = self.witness.recent.of(id) {
            return self.witness.view(id, cell);
        }
        let witness = Arc::clone(&self.witness);
        self.on_disk(
            move |database| match tables::look(database, &witness.index, id)? {
                Some(cell) => Ok(witness.view(id, cell)),
                None => Ok(Ok(None)),
            },
        )
        .await?
    }

    /// What was committed after `after`, a slice of it.
    async fn read_slice(&self, after: Option<RecordId>) -> Result<Slice, StoreError> {
        let witness = Arc::clone(&self.witness);
        self.on_disk(move |database| Slice::read(database, &witness, after))
            .await
    }

    /// Reads on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Unanswered("the store is closed".to_owned());
        // The permit first: who has the database keeps the writer from opening it again.
        let permit = Arc::clone(&self.readers)
            .acquire_owned()
            .await
            .map_err(|_| gone())?;
        let mut slot = self.database.clone();
        let found = slot.wait_for(|slot| !slot.is_opening()).await;
        let database = found.map_err(|_| gone())?.database();
        let database = database.ok_or_else(|| {
            StoreError::Refused("the record file does not open again yet".to_owned())
        })?;
        let read = move || {
            let found = writer::guarded(|| work(&database));
            drop((database, permit));
            found.map_err(|error| match error {
                redb::Error::Corrupted(reason) => StoreError::Unreadable(reason),
                error => StoreError::Unanswered(error.to_string()),
            })
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| gone())?
    }

    async fn write(
        &self,
        id: RecordId,
        expect: Option<Expect>,
        record: &Record,
    ) -> Result<Written, StoreError> {
        let bytes = Cell::bytes_of(record, &self.witness.codec);
        let large = if bytes > LARGE {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(LARGE_BYTES);
            let waited = Arc::clone(&self.large).acquire_many_owned(bytes).await;
            Some(waited.map_err(|_| StoreError::Refused("the store is closed".to_owned()))?)
        } else {
            None
        };
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Write(Job {
            id,
            expect,
            cell: Cell::new(id, record, &self.witness)?,
            stamp: Stamp::of(record),
            reply,
            _large: large,
        }))?;
        if seeded(Seeded::AcknowledgedBeforeCommit) && matches!(expect, Some(Expect::Held(_))) {
            tokio::spawn(answer);
            return Ok(Written::Replaced(Replaced::Applied));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Unanswered("the writer ended".to_owned())))
    }

    fn ask(&self, request: Request) -> Result<(), StoreError> {
        let refused = |reason: &str| StoreError::Refused(reason.to_owned());
        let queue = self
            .queue
            .as_ref()
            .ok_or_else(|| refused("the store is closed"))?;
        queue.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => refused("too many writes are queued"),
            TrySendError::Disconnected(_) => refused("the store is closed"),
        })
    }

    async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        timeout(self.timeout, operation).await.unwrap_or_else(|_| {
            let waited = self.timeout;
            Err(StoreError::Unanswered(format!(
                "no answer within {waited:?}"
            )))
        })
    }
}

impl Store for Embedded {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let mut queued = false;
        let inserted = self
            .in_time(async {
                // A duplicate is answered from here, whatever the writer is doing.
                if let Some(seen) = self.read(id).await? {
                    return Ok(Inserted::Occupied(Box::new(seen)));
                }
                queued = true;
                Ok(match self.write(id, None, record).await? {
                    Written::Occupied(seen) => Inserted::Occupied(seen),
                    Written::Created | Written::Replaced(_) => Inserted::Created,
                })
            })
            .await;
        match inserted {
            // Nobody was asked to write it.
            Err(StoreError::Unanswered(reason)) if !queued => Err(StoreError::Refused(reason)),
            inserted => inserted,
        }
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        self.in_time(async {
            Ok(match self.write(id, Some(expect), record).await? {
                Written::Replaced(replaced) => replaced,
                Written::Created | Written::Occupied(_) => Replaced::Stale,
            })
        })
        .await
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        match self.witness.leases.renew(id, token) {
            Renewal::Stale => return Ok(Replaced::Stale),
            Renewal::Done => {}
            // If it is not queued now, the next heartbeat asks again.
            Renewal::Due => drop(self.ask(Request::Extend(id, token))),
        }
        Ok(Replaced::Applied)
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        self.in_time(self.read(id)).await
    }

    async fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        let mut page = Page::new(limit, wanted);
        let mut after = after;
        loop {
            let slice = self.in_time(self.read_slice(after)).await?;
            for (id, found) in slice.found {
                if page.done() {
                    return Ok(page.end(true));
                }
                page.take(id, found)?;
            }
            match slice.last {
                Some(last) => after = Some(last),
                None => return Ok(page.end(false)),
            }
        }
    }

    /// For how long the writer went round without a pause of more than a second, which is a process that stood still or a disk
    /// that hung, and no write failed.
    fn steady(&self, _: RecordId) -> Duration {
        self.status.steady()
    }

    fn health(&self) -> Health {
        let Statistics {
            records,
            file_bytes,
            left,
            trouble,
            ..
        } = self.statistics();
        let name = &self.name;
        let mut notes = vec![format!("{name}: {records} records, {file_bytes} bytes")];
        let writing = self.writer.as_ref().is_some_and(|it| !it.is_finished());
        let up = trouble.is_none() && writing;
        notes.extend(trouble);
        notes.extend((!writing).then(|| "no writes: the writer ended".to_owned()));
        Health {
            up,
            notes,
            left,
            ..Health::default()
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Most writes queued; one beyond is refused.
const QUEUE: usize = 4096;
/// Size of a record from which it is large.
const LARGE: usize = 16 * 1024;
/// Bytes of large records that are queued at most.
const LARGE_BYTES: u32 = 64 * 1024 * 1024;
/// Most look-ups at a time.
const READERS: usize = 64;
/// Memory for records that were written lately.
const RECENT_BYTES: usize = 32 * 1024 * 1024;
