//! The one thread that writes: takes what is queued, writes it in one transaction, syncs once, answers all.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::watch;

use super::cell::Witness;
use super::file::RecordFile;
use super::gathering::Gathering;
use super::headroom::Headroom;
use super::slot::Slot;
use super::status::Status;
use super::tables::{Changes, Tables, Usage};
use super::transaction::{Job, Transaction};
use super::upkeep::{Last, MEND_EVERY, SYNC_EVERY, Trouble};
use crate::idempotency::{RecordId, State, Token};
use crate::store::{StoreError, Sync};

/// What the writer is asked.
pub(super) enum Request {
    /// Write a record.
    Write(Job),
    /// Move the expiry of a claim that is renewed.
    Extend(RecordId, Token),
}

/// The writer, as it is moved into its thread.
pub(super) struct Writer {
    pub(super) file: RecordFile,
    pub(super) headroom: Headroom,
    /// The database, for readers too.
    pub(super) slot: watch::Sender<Slot>,
    pub(super) witness: Arc<Witness>,
    pub(super) status: Arc<Status>,
    pub(super) sync: Sync,
    pub(super) max_bytes: u64,
    pub(super) usage: Usage,
    pub(super) trouble: Trouble,
    /// A transaction of which nobody knows whether it was committed: the file could not be opened again yet.
    pub(super) doubtful: Option<Transaction>,
    /// Writes that failed since the disk took one.
    pub(super) failures: u32,
    /// Jobs in the transaction before.
    pub(super) together: usize,
    /// Tries to make headroom that failed in a row.
    pub(super) unmended: u32,
    pub(super) last: Last,
}

impl Writer {
    /// Writes until nobody can ask any more and everything asked is answered; then closes the file.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        loop {
            self.status.beat();
            if matches!(self.trouble, Trouble::Closed(_)) {
                self.status.shaken();
            }
            let patience = if self.last.unsynced.is_some() {
                SYNC_EVERY
            } else {
                TICK
            };
            match queue.recv_timeout(patience) {
                Ok(first) => self.serve(first, queue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.upkeep();
        }
        self.note_time();
        self.detach();
    }

    /// Answers `first` and what is queued behind it, as far as one transaction takes.
    pub(super) fn serve(&mut self, first: Request, queue: &Receiver<Request>) {
        // As many as there were before, about.
        let mut jobs = Vec::with_capacity(self.together);
        let (mut extensions, mut bytes) = (Vec::new(), 0);
        let mut gathering = Gathering::after(self.together);
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                // Who asked has given up, knows nothing of it, and asks again.
                Request::Write(job) if job.reply.is_closed() => {}
                Request::Write(job) => match self.refusal(job.stamp.state) {
                    Some(refusal) => {
                        let _ = job.reply.send(Err(refusal));
                    }
                    None => {
                        bytes += job.cell.value().len();
                        jobs.push(job);
                    }
                },
                Request::Extend(id, token) => extensions.push((id, token)),
            }
            let taken = jobs.len() + extensions.len();
            let room = taken < BATCH_JOBS && bytes < BATCH_BYTES;
            next = room.then(|| gathering.next(queue, taken)).flatten();
        }
        self.together = jobs.len();
        if jobs.is_empty() && extensions.is_empty() {
            return;
        }
        let undecided = self.write(jobs, &extensions);
        // The write failed, as on a full disk, and its headroom is given up: room for settlements, not for claims.
        let (settlements, claims): (Vec<_>, Vec<_>) = undecided
            .into_iter()
            .partition(|job| self.refusal(job.stamp.state).is_none());
        for job in claims {
            let refusal = self.refusal(job.stamp.state);
            let refusal = refusal.unwrap_or_else(|| refused(self.trouble.reason()));
            let _ = job.reply.send(Err(refusal));
        }
        if !settlements.is_empty() {
            for job in self.write(settlements, &[]) {
                let _ = job.reply.send(Err(refused(self.trouble.reason())));
            }
        }
    }

    /// Writes jobs in one transaction and answers them; brings back those of which it is known that they were not written.
    fn write(&mut self, jobs: Vec<Job>, extensions: &[(RecordId, Token)]) -> Vec<Job> {
        let Some(database) = self.database() else {
            return jobs;
        };
        let mut transaction = Transaction::of(jobs.len());
        let committed = guarded(|| self.attempt(&database, &mut transaction, &jobs, extensions));
        drop(database);
        if let Err(error) = committed {
            match self.recover(transaction, &error) {
                Some(Ok(decided)) => transaction = decided,
                Some(Err(())) => return jobs,
                None => {
                    let unanswered =
                        || StoreError::Unanswered("writing the record file failed".to_owned());
                    for job in jobs {
                        let _ = job.reply.send(Err(unanswered()));
                    }
                    return Vec::new();
                }
            }
        }
        for (job, answer) in jobs.into_iter().zip(transaction.answers) {
            let _ = job.reply.send(answer);
        }
        Vec::new()
    }

    /// One transaction: every job sees what the ones before it wrote.
    fn attempt(
        &mut self,
        database: &Database,
        transaction: &mut Transaction,
        jobs: &[Job],
        extensions: &[(RecordId, Token)],
    ) -> Result<(), redb::Error> {
        let txn = self.begin(database)?;
        let mut tables = Tables::open(&txn, &self.witness.index, self.usage)?;
        for job in jobs {
            let answer = transaction.apply(&mut tables, &self.witness, job)?;
            transaction.answers.push(answer);
        }
        for &(id, token) in extensions {
            transaction.extend(&mut tables, &self.witness, id, token)?;
        }
        transaction.changes = tables.close()?;
        if transaction.mark.is_none() && transaction.extended.is_empty() {
            return Ok(txn.abort()?);
        }
        self.commit(txn, &transaction.changes)?;
        self.status.committed(transaction.answers.len());
        self.settled(transaction);
        Ok(())
    }

    /// What follows from a transaction that was committed: all that is known of the file without reading it.
    pub(super) fn settled(&mut self, transaction: &mut Transaction) {
        let changes = mem::take(&mut transaction.changes);
        // Before the leases: a claim in flight that has none is one that was settled a moment ago.
        for (id, cell) in changes.cells {
            let removed = cell.is_none();
            self.witness.recent.note(id, cell);
            if removed {
                self.witness.index.remove(id);
            }
        }
        for &(id, token) in &transaction.ended {
            self.witness.leases.end(id, token);
        }
        for &(id, token) in &transaction.extended {
            self.witness.leases.extended(id, token);
        }
        self.usage = changes.usage;
        self.publish();
    }

    pub(super) fn begin(&self, database: &Database) -> Result<WriteTransaction, redb::Error> {
        let mut txn = database.begin_write()?;
        // Two syncs a commit: a torn commit is then no ordinary thing, and a newest commit that does not verify is damage,
        // never rolled back in silence.
        txn.set_two_phase_commit(true);
        if self.sync == Sync::Never {
            txn.set_durability(Durability::None)?;
        }
        Ok(txn)
    }

    /// Commits what makes these changes.
    pub(super) fn commit(
        &mut self,
        txn: WriteTransaction,
        changes: &Changes,
    ) -> Result<(), redb::Error> {
        // Readers of the file may find them before this returns: from here on all look there.
        let changed = changes.cells.iter().map(|(id, _)| *id);
        self.witness.recent.hide(changed);
        txn.commit()?;
        if self.sync == Sync::Never {
            self.last.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.slot.borrow().database()
    }

    /// Why a record in this state is not written now.
    fn refusal(&self, state: State) -> Option<StoreError> {
        let claim = state == State::InFlight;
        match &self.trouble {
            Trouble::Closed(reason) => Some(refused(reason)),
            Trouble::NoClaims(reason) if claim || self.resting() => Some(refused(reason)),
            _ if claim && self.at_limit() => {
                Some(refused("the record file has reached store.max_bytes"))
            }
            _ => None,
        }
    }

    /// Whether a full disk is left alone for now: each write that fails costs opening the file again. The first failure gives up the
    /// headroom, so what follows it is tried at once.
    pub(super) fn resting(&self) -> bool {
        let pause = MEND_EVERY * (1 << self.failures.min(5)) / 2;
        self.failures > 1
            && self
                .last
                .failed
                .is_some_and(|failed| failed.elapsed() < pause)
    }

    /// Whether the records, or the file with not much free in it, take what they may.
    fn at_limit(&self) -> bool {
        self.usage.bytes >= self.max_bytes
            || (self.usage.bytes >= self.max_bytes / 2 && self.file.bytes() >= self.max_bytes)
    }

    /// Tells the status what it tells operators.
    pub(super) fn publish(&self) {
        let trouble = match &self.trouble {
            Trouble::None if self.at_limit() => {
                Some("no new claims: the record file has reached store.max_bytes".to_owned())
            }
            Trouble::None => None,
            Trouble::NoClaims(reason) => Some(format!("no new claims: {reason}")),
            Trouble::Closed(reason) => Some(format!("no writes: {reason}")),
        };
        self.status
            .publish(self.usage.records, self.file.bytes(), trouble);
    }
}

/// Runs `work` on the database, and takes a panic for an error: the database panics on some damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("an assertion failed".to_owned())))
}

fn refused(reason: &str) -> StoreError {
    StoreError::Refused(reason.to_owned())
}

/// Most records written in one transaction.
const BATCH_JOBS: usize = 512;
/// Size of the records from which a transaction takes no more.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long an idle writer sleeps.
const TICK: Duration = Duration::from_millis(250);
