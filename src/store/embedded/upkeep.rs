//! What the writer does beside its jobs: opening the file again, waiting for a full disk, syncing late, sweeping.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, Durability};

use super::tables::{self, Tables};
use super::transaction::Transaction;
use super::writer::{Writer, guarded};

/// What is wrong with the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// It was full: no claims until there is headroom again.
    Full(String),
    /// The file could not be opened again: no writes until it can.
    Closed(String),
}

/// When things were done last.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) swept: Instant,
    pub(super) noted: Instant,
    pub(super) mended: Instant,
    pub(super) failed: Option<Instant>,
    /// The first commit that is not durable yet.
    pub(super) unsynced: Option<Instant>,
}

impl Writer {
    /// Opens the file again after a write failed, since the database takes no writes before that, and sees in it what became of the
    /// transaction: committed, not committed, or nothing while it does not open.
    pub(super) fn recover(
        &mut self,
        transaction: Transaction,
        error: &redb::Error,
    ) -> Option<Result<Transaction, ()>> {
        tracing::error!(%error, "writing the record file failed");
        self.failures += 1;
        self.status.shaken();
        self.last.failed = Some(Instant::now());
        self.headroom.give_up();
        self.trouble = Trouble::Full(error.to_string());
        self.publish();
        self.doubtful = Some(transaction);
        self.reopen()
    }

    fn reopen(&mut self) -> Option<Result<Transaction, ()>> {
        self.last.mended = Instant::now();
        self.detach();
        let database = match self.file.reopen() {
            Ok(database) => Arc::new(database),
            Err(error) => {
                tracing::error!(%error, "the record file does not open again yet");
                self.trouble = Trouble::Closed(error.to_string());
                self.publish();
                return None;
            }
        };
        if let Trouble::Closed(reason) = &self.trouble {
            self.trouble = Trouble::Full(reason.clone());
        }
        self.last.unsynced = None;
        let decided = self.doubtful.take().map(|mut transaction| {
            let stands = transaction.mark.is_some_and(|(id, token, state)| {
                let found = guarded(|| tables::look(&database, id));
                let seen = found
                    .ok()
                    .flatten()
                    .and_then(|cell| self.witness.view(id, &cell).ok())
                    .flatten();
                seen.is_some_and(|seen| seen.record.token == token && seen.record.state == state)
            });
            if stands {
                self.settled(&transaction);
                Ok(transaction)
            } else {
                transaction.undo(&self.witness);
                Err(())
            }
        });
        self.slot.send_replace(Some(database));
        self.publish();
        decided
    }

    /// Takes the database from the readers and closes it.
    pub(super) fn detach(&mut self) {
        let Some(mut database) = self.slot.send_replace(None) else {
            return;
        };
        // Readers hold it for one look-up each, and find none from now on.
        let closed = catch_unwind(AssertUnwindSafe(move || {
            loop {
                match Arc::try_unwrap(database) {
                    Ok(database) => return drop(database),
                    Err(shared) => database = shared,
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }));
        if closed.is_err() {
            tracing::error!("closing the record file failed an assertion");
        }
    }

    /// What is done beside the jobs.
    pub(super) fn upkeep(&mut self) {
        if self.trouble != Trouble::None && self.last.mended.elapsed() >= MEND_EVERY {
            self.mend();
        }
        if self
            .last
            .unsynced
            .is_some_and(|since| since.elapsed() >= SYNC_EVERY)
        {
            self.aside(|writer, database| {
                let mut txn = writer.begin(database)?;
                txn.set_durability(Durability::Immediate)
                    .map_err(redb::Error::from)?;
                Ok(txn.commit()?)
            });
            self.last.unsynced = None;
        }
        if self.last.swept.elapsed() >= SWEEP_EVERY {
            self.sweep();
        }
        if self.last.noted.elapsed() >= NOTE_EVERY {
            self.note_time();
        }
    }

    /// Sees whether the disk takes writes again.
    fn mend(&mut self) {
        self.last.mended = Instant::now();
        if matches!(self.trouble, Trouble::Closed(_)) {
            self.reopen();
        } else if self.headroom.make().is_ok() {
            tracing::info!("the record file takes claims again");
            self.trouble = Trouble::None;
            self.failures = 0;
            self.publish();
        }
    }

    /// Removes records that expired, a bounded number at a time.
    fn sweep(&mut self) {
        self.last.swept = Instant::now();
        self.witness.leases.prune();
        let now = self.witness.clock.now();
        let Some(database) = self.database() else {
            return;
        };
        if !guarded(|| tables::any_expired(&database, now)).unwrap_or(false) {
            return;
        }
        drop(database);
        let mut full = false;
        self.aside(|writer, database| {
            let txn = writer.begin(database)?;
            let mut tables = Tables::open(&txn, writer.usage)?;
            let mut transaction = Transaction::default();
            let expired = tables.expired(now, SWEEP_RECORDS)?;
            full = expired.len() == SWEEP_RECORDS;
            for id in expired {
                let Some(cell) = tables.get(id)? else {
                    continue;
                };
                match writer.witness.view(id, &cell) {
                    Ok(Some(seen)) => {
                        transaction.extend(&mut tables, &writer.witness, id, seen.record.token)?
                    }
                    Ok(None) => tables.remove(id)?,
                    Err(_) => {}
                }
            }
            transaction.usage = tables.usage;
            drop(tables);
            writer.commit(txn)?;
            writer.settled(&transaction);
            Ok(())
        });
        if full && self.trouble == Trouble::None {
            self.last.swept -= SWEEP_EVERY;
        }
    }

    /// Notes the store's time in the file, durably.
    pub(super) fn note_time(&mut self) {
        self.last.noted = Instant::now();
        let now = self.witness.clock.now();
        self.aside(|writer, database| {
            let mut txn = writer.begin(database)?;
            txn.set_durability(Durability::Immediate)
                .map_err(redb::Error::from)?;
            tables::note_time(&txn, now)?;
            Ok(txn.commit()?)
        });
    }

    /// Writes something that nobody waits for.
    fn aside(&mut self, work: impl FnOnce(&mut Self, &Database) -> Result<(), redb::Error>) {
        if !self.resting()
            && let Some(database) = self.database()
            && let Err(error) = guarded(|| work(self, &database))
        {
            drop(database);
            self.recover(Transaction::default(), &error);
        }
    }
}

/// Without `sync`: how long a commit waits for the disk.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Between two looks whether a full disk has space.
pub(super) const MEND_EVERY: Duration = Duration::from_secs(1);
/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most records removed in one transaction.
const SWEEP_RECORDS: usize = 512;
/// Between two notes of the time.
const NOTE_EVERY: Duration = Duration::from_secs(60);
