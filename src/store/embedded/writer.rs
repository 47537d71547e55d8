//! The one thread that writes: takes what is queued, writes it in one transaction, syncs once, answers all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::{oneshot, watch};

use super::cell::{Cell, Witness, standing};
use super::file::RecordFile;
use super::headroom::Headroom;
use super::leases::Lease;
use super::status::Status;
use super::tables::{self, Tables, Usage};
use crate::idempotency::expect::Ruling;
use crate::idempotency::{Expect, Record, RecordId, Seen, State, Token};
use crate::store::{Replaced, StoreError, Sync};

/// What the writer is asked.
pub(super) enum Request {
    /// Write a record.
    Write(Job),
    /// Move the expiry of a claim that is renewed.
    Extend(RecordId, Token),
}

/// A record to write.
pub(super) struct Job {
    pub(super) id: RecordId,
    /// What must be there; nothing for an insert.
    pub(super) expect: Option<Expect>,
    pub(super) record: Record,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What came of a job.
pub(super) type Answer = Result<Written, StoreError>;

/// What came of a job that was carried out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, to the one who asked"
)]
pub(super) enum Written {
    /// Inserted.
    Created,
    /// Not inserted: this is there.
    Occupied(Seen),
    /// What came of a replace.
    Replaced(Replaced),
}

/// The writer, as it is moved into its thread.
pub(super) struct Writer {
    pub(super) file: RecordFile,
    pub(super) headroom: Headroom,
    /// The database, for readers too; none while it is opened again.
    pub(super) slot: watch::Sender<Option<Arc<Database>>>,
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
    pub(super) last: Last,
}

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

/// What a transaction writes, until it is known whether it was committed.
#[derive(Default)]
pub(super) struct Transaction {
    answers: Vec<Answer>,
    /// Claims begun, with what stood in their place.
    begun: Vec<(RecordId, Option<Lease>)>,
    /// Claims ended.
    ended: Vec<(RecordId, Token)>,
    /// Claims whose expiry was moved.
    extended: Vec<(RecordId, Token)>,
    usage: Usage,
    /// The record written last: if it stands, so does all the rest.
    mark: Option<(RecordId, Token, State)>,
}

impl Writer {
    /// Writes until nobody can ask any more and everything asked is answered; then closes the file.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        loop {
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
    fn serve(&mut self, first: Request, queue: &Receiver<Request>) {
        let (mut jobs, mut extensions, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write(job) if job.expect.is_none() && job.reply.is_closed() => {}
                Request::Write(job) => match self.refusal(&job.record) {
                    Some(refusal) => {
                        let _ = job.reply.send(Err(refusal));
                    }
                    None => {
                        let body = job.record.response.as_ref();
                        bytes += 512 + body.map_or(0, |response| response.body.len());
                        jobs.push(job);
                    }
                },
                Request::Extend(id, token) => extensions.push((id, token)),
            }
            let room = jobs.len() + extensions.len() < BATCH_JOBS && bytes < BATCH_BYTES;
            next = room.then(|| queue.try_recv().ok()).flatten();
        }
        if jobs.is_empty() && extensions.is_empty() {
            return;
        }
        let undecided = self.write(jobs, &extensions);
        // The disk was full, and its headroom is given up: room for settlements, not for claims.
        let (settlements, claims): (Vec<_>, Vec<_>) = undecided
            .into_iter()
            .partition(|job| self.refusal(&job.record).is_none());
        for job in claims {
            let refusal = self.refusal(&job.record);
            let _ = job
                .reply
                .send(Err(refusal.unwrap_or_else(|| refused("not written"))));
        }
        if !settlements.is_empty() {
            for job in self.write(settlements, &[]) {
                let _ = job.reply.send(Err(refused("the disk is full")));
            }
        }
    }

    /// Writes jobs in one transaction and answers them; brings back those of which it is known that they were not written.
    fn write(&mut self, jobs: Vec<Job>, extensions: &[(RecordId, Token)]) -> Vec<Job> {
        let Some(database) = self.database() else {
            return jobs;
        };
        let mut transaction = Transaction::default();
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
        let mut tables = Tables::open(&txn, self.usage)?;
        for job in jobs {
            let answer = self.apply(&mut tables, transaction, job)?;
            transaction.answers.push(answer);
        }
        for &(id, token) in extensions {
            self.extend(&mut tables, transaction, id, token)?;
        }
        transaction.usage = tables.usage;
        drop(tables);
        if transaction.mark.is_none() && transaction.extended.is_empty() {
            return Ok(txn.abort()?);
        }
        self.commit(txn)?;
        self.status.committed(transaction.answers.len());
        self.settled(transaction);
        Ok(())
    }

    fn apply(
        &self,
        tables: &mut Tables<'_>,
        transaction: &mut Transaction,
        job: &Job,
    ) -> Result<Answer, redb::Error> {
        let current = match tables.get(job.id)? {
            Some(cell) => match self.witness.view(job.id, &cell) {
                Ok(current) => current,
                Err(unreadable) => return Ok(Err(unreadable)),
            },
            None => None,
        };
        let written = match (job.expect, current.as_ref().map(standing)) {
            (None, None) => Written::Created,
            (None, Some(_)) => {
                return Ok(Ok(current.map_or(Written::Created, Written::Occupied)));
            }
            (Some(expect), standing) => match expect.rule(standing, &job.record) {
                Ruling::Stale => return Ok(Ok(Written::Replaced(Replaced::Stale))),
                Ruling::Stands => return Ok(Ok(Written::Replaced(Replaced::Applied))),
                Ruling::Write => Written::Replaced(Replaced::Applied),
                Ruling::Restore => Written::Replaced(Replaced::Restored),
            },
        };
        tables.put(job.id, &Cell::new(&job.record, &self.witness))?;
        if job.record.state == State::InFlight {
            // Before it commits: no reader may find the claim without its lease.
            let before = self.witness.leases.begin(job.id, &job.record);
            transaction.begun.push((job.id, before));
        } else if let Some(seen) = current {
            transaction.ended.push((job.id, seen.record.token));
        }
        transaction.mark = Some((job.id, job.record.token, job.record.state));
        Ok(Ok(written))
    }

    fn extend(
        &self,
        tables: &mut Tables<'_>,
        transaction: &mut Transaction,
        id: RecordId,
        token: Token,
    ) -> Result<(), redb::Error> {
        let Some(lease) = self.witness.leases.of(id, token) else {
            return Ok(());
        };
        let Some(mut cell) = tables.get(id)? else {
            return Ok(());
        };
        let held = |seen: &Seen| seen.record.token == token && seen.record.state == State::InFlight;
        if cell.owner == self.witness.owner
            && self
                .witness
                .view(id, &cell)
                .is_ok_and(|seen| seen.as_ref().is_some_and(held))
        {
            let remaining = u64::try_from(lease.remaining().as_millis()).unwrap_or(u64::MAX);
            cell.expiry = self.witness.clock.now().saturating_add(remaining);
            tables.put(id, &cell)?;
            transaction.extended.push((id, token));
        }
        Ok(())
    }

    /// What follows from a transaction that was committed.
    fn settled(&mut self, transaction: &Transaction) {
        for &(id, token) in &transaction.ended {
            self.witness.leases.end(id, token);
        }
        for &(id, token) in &transaction.extended {
            self.witness.leases.extended(id, token);
        }
        self.usage = transaction.usage;
        self.publish();
    }

    /// What follows from one that was not.
    fn undone(&self, transaction: &mut Transaction) {
        for (id, before) in transaction.begun.drain(..).rev() {
            self.witness.leases.undo(id, before);
        }
    }

    /// Opens the file again after a write failed, since the database takes no writes before that, and sees in it what became of the
    /// transaction: committed, not committed, or nothing while it does not open.
    fn recover(
        &mut self,
        transaction: Transaction,
        error: &redb::Error,
    ) -> Option<Result<Transaction, ()>> {
        tracing::error!(%error, "writing the record file failed");
        self.failures += 1;
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
                self.undone(&mut transaction);
                Err(())
            }
        });
        self.slot.send_replace(Some(database));
        self.publish();
        decided
    }

    /// Takes the database from the readers and closes it.
    fn detach(&mut self) {
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
    fn upkeep(&mut self) {
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
                        writer.extend(&mut tables, &mut transaction, id, seen.record.token)?
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
    fn note_time(&mut self) {
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

    fn begin(&self, database: &Database) -> Result<WriteTransaction, redb::Error> {
        let mut txn = database.begin_write()?;
        // Two syncs a commit: a torn commit is then no ordinary thing, and a newest commit that does not verify is damage,
        // never rolled back in silence.
        txn.set_two_phase_commit(true);
        if self.sync == Sync::Never {
            txn.set_durability(Durability::None)?;
        }
        Ok(txn)
    }

    fn commit(&mut self, txn: WriteTransaction) -> Result<(), redb::Error> {
        txn.commit()?;
        if self.sync == Sync::Never {
            self.last.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn database(&self) -> Option<Arc<Database>> {
        self.slot.borrow().clone()
    }

    /// Why `record` is not written now.
    fn refusal(&self, record: &Record) -> Option<StoreError> {
        let claim = record.state == State::InFlight;
        match &self.trouble {
            Trouble::Closed(reason) => Some(refused(reason)),
            Trouble::Full(reason) if claim || self.resting() => Some(refused(reason)),
            _ if claim && self.at_limit() => {
                Some(refused("the record file has reached store.max_bytes"))
            }
            _ => None,
        }
    }

    /// Whether a full disk is left alone for now: each write that fails costs opening the file again. The first failure gives up the
    /// headroom, so what follows it is tried at once.
    fn resting(&self) -> bool {
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
            Trouble::Full(reason) => Some(format!("no new claims: {reason}")),
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
/// Size of the bodies from which a transaction takes no more.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long an idle writer sleeps.
const TICK: Duration = Duration::from_millis(250);
/// Without `sync`: how long a commit waits for the disk.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// Between two looks whether a full disk has space.
const MEND_EVERY: Duration = Duration::from_secs(1);
/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most records removed in one transaction.
const SWEEP_RECORDS: usize = 512;
/// Between two notes of the time.
const NOTE_EVERY: Duration = Duration::from_secs(60);
