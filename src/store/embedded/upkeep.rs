//! What the writer does beside its jobs: opening the file again, waiting for a full disk, syncing late, sweeping.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, Durability};

use super::cell::Witness;
use super::slot::Slot;
use super::tables::{self, Tables};
use super::transaction::Transaction;
use super::writer::{Writer, guarded};
use crate::idempotency::{RecordId, State, Token};

/// What is wrong with the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// A write failed, as on a full disk: no claims until there is headroom again.
    NoClaims(String),
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

impl Trouble {
    /// What was said of it.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::None => "not written",
            Self::NoClaims(reason) | Self::Closed(reason) => reason,
        }
    }
}

impl Writer {
    /// Opens the file again after a write failed, since the database takes no writes before that, and sees in it what became of the
    /// transaction: committed, not committed, or nothing while it does not open. With `sync = "never"` the file may have lost what was
    /// committed before, too: what is known of it without reading it is found out anew.
    pub(super) fn recover(
        &mut self,
        transaction: Transaction,
        error: &redb::Error,
    ) -> Option<Result<Transaction, ()>> {
        tracing::error!(%error, "writing the record file failed");
        self.failures += 1;
        self.status.shaken();
        self.last.failed = Some(Instant::now());
        self.witness.recent.forget();
        self.headroom.give_up();
        self.trouble = Trouble::NoClaims(error.to_string());
        self.publish();
        self.doubtful = Some(transaction);
        self.reopen()
    }

    fn reopen(&mut self) -> Option<Result<Transaction, ()>> {
        self.last.mended = Instant::now();
        self.detach();
        let mark = self.doubtful.as_ref().and_then(|doubtful| doubtful.mark);
        let opened = self.file.reopen().map_err(|error| error.to_string());
        // A mark that cannot be read is not one that is absent.
        let read = opened.and_then(|database| {
            let stands = stands(&database, &self.witness, mark);
            let found = stands.and_then(|stands| {
                let found = guarded(|| {
                    let (usage, index, in_flight) = tables::survey(&database)?;
                    let look = |id| Ok((id, tables::look(&database, &index, id)?));
                    let claims: Result<Vec<_>, redb::Error> =
                        in_flight.into_iter().map(look).collect();
                    Ok((usage, claims?, index))
                });
                let (usage, claims, index) = found.map_err(|error| error.to_string())?;
                Ok((stands, usage, claims, index))
            });
            match found {
                Ok(found) => Ok((Arc::new(database), found)),
                Err(error) => {
                    close(database);
                    Err(error)
                }
            }
        });
        let (database, (stands, usage, claims, index)) = match read {
            Ok(read) => read,
            Err(reason) => {
                tracing::error!(reason, "the record file does not open again yet");
                self.trouble = Trouble::Closed(reason);
                // Readers are told at once, and not when their time is over.
                self.slot.send_replace(Slot::Closed);
                self.publish();
                return None;
            }
        };
        if let Trouble::Closed(reason) = &self.trouble {
            self.trouble = Trouble::NoClaims(reason.clone());
        }
        self.last.unsynced = None;
        let decided = self.doubtful.take().map(|mut transaction| {
            if stands {
                self.settled(&mut transaction);
                Ok(transaction)
            } else {
                transaction.undo(&self.witness);
                Err(())
            }
        });
        self.witness.index.renew(index);
        for (id, claim) in claims {
            if let Some(claim) = claim {
                self.witness.doubt(id, claim);
            }
        }
        self.usage = usage;
        self.slot.send_replace(Slot::Open(database));
        self.publish();
        decided
    }

    /// Takes the database from the readers and closes it.
    pub(super) fn detach(&mut self) {
        let Slot::Open(mut database) = self.slot.send_replace(Slot::Opening) else {
            return;
        };
        // Readers hold it for one look-up each, and find none from now on.
        loop {
            match Arc::try_unwrap(database) {
                Ok(database) => return close(database),
                Err(shared) => database = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What is done beside the jobs.
    pub(super) fn upkeep(&mut self) {
        let pause = (MEND_EVERY * (1 << self.unmended.min(5))).min(MEND_AT_LEAST);
        if self.trouble != Trouble::None && self.last.mended.elapsed() >= pause {
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
            self.sweep(self.witness.clock.now());
        }
        if self.last.noted.elapsed() >= NOTE_EVERY {
            self.note_time();
        }
    }

    /// Sees whether the disk takes writes again.
    pub(super) fn mend(&mut self) {
        self.last.mended = Instant::now();
        if matches!(self.trouble, Trouble::Closed(_)) {
            self.unmended = 0;
            self.reopen();
        } else if self.headroom.make().is_ok() {
            tracing::info!("the record file takes claims again");
            self.trouble = Trouble::None;
            self.failures = 0;
            self.unmended = 0;
            self.publish();
        } else {
            // Each try writes until the disk is full.
            self.unmended += 1;
        }
    }

    /// Removes records that expired and are to be looked at by `now`, a bounded number at a time.
    pub(super) fn sweep(&mut self, now: u64) {
        self.last.swept = Instant::now();
        self.witness.leases.prune();
        let Some(database) = self.database() else {
            return;
        };
        let any = guarded(|| tables::any_due(&database, now));
        drop(database);
        match any {
            Ok(true) => {}
            Ok(false) => return,
            // After it the database takes no writes either.
            Err(error) if !self.resting() => {
                self.recover(Transaction::default(), &error);
                return;
            }
            Err(_) => return,
        }
        let mut full = false;
        self.aside(|writer, database| {
            let txn = writer.begin(database)?;
            let mut tables = Tables::open(&txn, &writer.witness.index, writer.usage)?;
            let mut transaction = Transaction::default();
            let due = tables.take_due(now, SWEEP_RECORDS)?;
            full = due.len() >= SWEEP_RECORDS;
            for id in due {
                let cell = match tables.get(id) {
                    Ok(Some(cell)) => cell,
                    Ok(None) | Err(redb::Error::Corrupted(_)) => continue,
                    Err(error) => return Err(error),
                };
                let mut expiry = cell.expiry;
                match writer.witness.view(id, cell) {
                    Ok(None) => {
                        tables.remove(id)?;
                        continue;
                    }
                    Ok(Some(seen)) if expiry <= now => {
                        let token = seen.record.token;
                        let extended =
                            transaction.extend(&mut tables, &writer.witness, id, token)?;
                        expiry = extended.unwrap_or(now);
                    }
                    // It was written again, or this version does not read it.
                    Ok(Some(_)) | Err(_) => {}
                }
                tables.look_again(id, expiry.max(now + 1));
            }
            transaction.changes = tables.close()?;
            writer.commit(txn, &transaction.changes)?;
            writer.settled(&mut transaction);
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
    pub(super) fn aside(
        &mut self,
        work: impl FnOnce(&mut Self, &Database) -> Result<(), redb::Error>,
    ) {
        if !self.resting()
            && let Some(database) = self.database()
            && let Err(error) = guarded(|| work(self, &database))
        {
            drop(database);
            self.recover(Transaction::default(), &error);
        }
    }
}

/// Whether the record written last by a transaction stands in the file.
fn stands(
    database: &Database,
    witness: &Witness,
    mark: Option<(RecordId, Token, State)>,
) -> Result<bool, String> {
    let Some((id, token, state)) = mark else {
        return Ok(false);
    };
    let found = guarded(|| tables::look(database, &witness.index, id))
        .map_err(|error| error.to_string())?;
    let Some(cell) = found else {
        return Ok(false);
    };
    let record = witness
        .codec
        .decode(id, cell.frame())
        .map_err(|error| error.to_string())?;
    Ok(record.token == token && record.state == state)
}

/// Closes the file, which panics on some damage.
fn close(database: Database) {
    if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
        tracing::error!("closing the record file failed an assertion");
    }
}

/// Without `sync`: how long a commit waits for the disk.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Between two looks whether a full disk has space.
pub(super) const MEND_EVERY: Duration = Duration::from_secs(1);
/// The same when it had none for long.
const MEND_AT_LEAST: Duration = Duration::from_secs(30);
/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most records removed in one transaction.
const SWEEP_RECORDS: usize = 512;
/// Between two notes of the time.
const NOTE_EVERY: Duration = Duration::from_secs(60);
