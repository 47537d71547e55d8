//! What is done within one transaction, and what follows from it outside the file.

use std::ops::ControlFlow;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::cell::{Cell, Witness};
use super::leases::Lease;
use super::tables::{Changes, Tables};
use crate::idempotency::expect::{Ruling, Standing};
use crate::idempotency::{Expect, RecordId, Seen, State, Token};
use crate::store::codec::Stamp;
use crate::store::{Replaced, StoreError};

/// A record to write.
pub(super) struct Job {
    pub(super) id: RecordId,
    /// What must be there; nothing for an insert.
    pub(super) expect: Option<Expect>,
    pub(super) cell: Cell,
    pub(super) stamp: Stamp,
    pub(super) reply: oneshot::Sender<Answer>,
    /// Its share of what large answers may take.
    pub(super) _large: Option<OwnedSemaphorePermit>,
}

/// What came of a job.
pub(super) type Answer = Result<Written, StoreError>;

/// What came of a job that was carried out.
#[derive(Debug)]
pub(super) enum Written {
    /// Inserted.
    Created,
    /// Not inserted: this is there. Rare, since who asks looks before.
    Occupied(Box<Seen>),
    /// What came of a replace.
    Replaced(Replaced),
}

/// What a transaction writes, until it is known whether it was committed.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) answers: Vec<Answer>,
    /// Claims begun or taken over, with what stood in their place.
    pub(super) begun: Vec<(RecordId, Option<Lease>)>,
    /// Records that stand in a new place.
    pub(super) placed: Vec<RecordId>,
    /// Claims ended.
    pub(super) ended: Vec<(RecordId, Token)>,
    /// Claims whose expiry was moved.
    pub(super) extended: Vec<(RecordId, Token)>,
    pub(super) changes: Changes,
    /// The record written last: if it stands, so does all the rest.
    pub(super) mark: Option<(RecordId, Token, State)>,
}

impl Transaction {
    /// One of so many jobs.
    pub(super) fn of(jobs: usize) -> Self {
        Self {
            answers: Vec::with_capacity(jobs),
            begun: Vec::with_capacity(jobs),
            placed: Vec::with_capacity(jobs),
            ended: Vec::with_capacity(jobs),
            ..Self::default()
        }
    }

    /// Does one job: checks, and writes if the check says so.
    pub(super) fn apply(
        &mut self,
        tables: &mut Tables<'_>,
        witness: &Witness,
        job: &Job,
    ) -> Result<Answer, redb::Error> {
        let (place, new) = witness.index.place(job.id);
        if new {
            self.placed.push(job.id);
        }
        let checked = match job.expect {
            _ if new => Ok(ruled(job, None)),
            None => vacant(tables, witness, job.id, place),
            Some(_) => met(tables, witness, job, place),
        };
        let written = match checked {
            // One damaged record is no reason to fail the jobs beside it.
            Err(redb::Error::Corrupted(reason)) => return Ok(Err(StoreError::Unreadable(reason))),
            checked => match checked? {
                ControlFlow::Continue(written) => written,
                ControlFlow::Break(answer) => {
                    if new {
                        witness.index.remove(job.id);
                        self.placed.pop();
                    }
                    return Ok(answer);
                }
            },
        };
        if let Some(Expect::Lapsed(token)) = job.expect {
            // Now, and not after the write: its holder's heartbeat may come at any time.
            let Some(before) = witness.leases.supersede(job.id, token, &job.stamp) else {
                return Ok(Ok(Written::Replaced(Replaced::Stale)));
            };
            self.begun.push((job.id, Some(before)));
        } else if job.stamp.state == State::InFlight {
            // Before it commits: no reader may find the claim without its lease.
            let before = witness.leases.begin(job.id, &job.stamp);
            self.begun.push((job.id, before));
        } else if let Some(expect) = job.expect {
            self.ended.push((job.id, expect.token()));
        }
        tables.put(job.id, place, job.cell.clone())?;
        self.mark = Some((job.id, job.stamp.token, job.stamp.state));
        Ok(Ok(written))
    }

    /// Moves the expiry of `token`'s claim to where its heartbeats have it; brings it back, if it was moved.
    pub(super) fn extend(
        &mut self,
        tables: &mut Tables<'_>,
        witness: &Witness,
        id: RecordId,
        token: Token,
    ) -> Result<Option<u64>, redb::Error> {
        let Some(lease) = witness.leases.of(id, token) else {
            return Ok(None);
        };
        let Some(place) = witness.index.of(id) else {
            return Ok(None);
        };
        let cell = match tables.read(id, place, Cell::parse) {
            Ok(Some(cell)) => cell,
            Ok(None) | Err(redb::Error::Corrupted(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let held = |seen: &Seen| seen.record.token == token && seen.record.state == State::InFlight;
        if cell.owner == witness.owner
            && witness
                .view(id, cell.clone())
                .is_ok_and(|seen| seen.as_ref().is_some_and(held))
        {
            let remaining = u64::try_from(lease.remaining().as_millis()).unwrap_or(u64::MAX);
            let expiry = witness.clock.now().saturating_add(remaining);
            tables.put(id, place, cell.expiring(expiry))?;
            self.extended.push((id, token));
            return Ok(Some(expiry));
        }
        Ok(None)
    }

    /// Nothing was written: the claims begun are none.
    pub(super) fn undo(&mut self, witness: &Witness) {
        for (id, before) in self.begun.drain(..).rev() {
            witness.leases.undo(id, before);
        }
        for id in self.placed.drain(..) {
            witness.index.remove(id);
        }
    }
}

/// Whether an insert is to be written: nothing is there, or nothing any more.
fn vacant(
    tables: &Tables<'_>,
    witness: &Witness,
    id: RecordId,
    place: u64,
) -> Result<ControlFlow<Answer, Written>, redb::Error> {
    let found = tables.read(id, place, Cell::parse)?;
    let seen = found.map(|cell| witness.view(id, cell)).transpose();
    Ok(match seen.map(Option::flatten) {
        Ok(None) => ControlFlow::Continue(Written::Created),
        Ok(Some(seen)) => ControlFlow::Break(Ok(Written::Occupied(Box::new(seen)))),
        Err(unreadable) => ControlFlow::Break(Err(unreadable)),
    })
}

/// Whether a replace is to be written: what is there meets its expectation.
fn met(
    tables: &Tables<'_>,
    witness: &Witness,
    job: &Job,
    place: u64,
) -> Result<ControlFlow<Answer, Written>, redb::Error> {
    let found = tables.read(job.id, place, |value| witness.standing(job.id, value))?;
    Ok(match found.transpose().map(Option::flatten) {
        Ok(current) => ruled(job, current),
        Err(unreadable) => ControlFlow::Break(Err(unreadable)),
    })
}

/// Whether `job` is to be written over `current`; nothing is there for an insert.
fn ruled(job: &Job, current: Option<Standing>) -> ControlFlow<Answer, Written> {
    let Some(expect) = job.expect else {
        return ControlFlow::Continue(Written::Created);
    };
    let stands = |replaced| ControlFlow::Break(Ok(Written::Replaced(replaced)));
    match expect.rule_on(current, job.stamp.token, job.stamp.state) {
        Ruling::Stale => stands(Replaced::Stale),
        Ruling::Stands => stands(Replaced::Applied),
        Ruling::Write => ControlFlow::Continue(Written::Replaced(Replaced::Applied)),
        Ruling::Restore => ControlFlow::Continue(Written::Replaced(Replaced::Restored)),
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{Database, TableDefinition};

    use super::*;
    use crate::idempotency::sample::in_flight;
    use crate::store::embedded::tables::Usage;

    #[test]
    fn a_damaged_record_fails_its_own_job_alone() {
        const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let txn = database.begin_write().unwrap();
        let damaged = [1; 16];
        txn.open_table(RECORDS)
            .unwrap()
            .insert(0, &b"short"[..])
            .unwrap();
        let witness = Witness::alone();
        witness.index.found(RecordId::from_bytes(damaged), 0);
        let mut tables = Tables::open(&txn, &witness.index, Usage::default()).unwrap();
        let mut insert = |id| {
            let (id, claim) = (RecordId::from_bytes(id), in_flight(1));
            let job = Job {
                id,
                expect: None,
                cell: Cell::new(id, &claim, &witness).unwrap(),
                stamp: Stamp::of(&claim),
                reply: oneshot::channel().0,
                _large: None,
            };
            Transaction::default()
                .apply(&mut tables, &witness, &job)
                .unwrap()
        };
        assert!(matches!(insert(damaged), Err(StoreError::Unreadable(_))));
        assert!(matches!(insert([2; 16]), Ok(Written::Created)));
    }
}
