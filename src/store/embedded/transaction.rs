//! What is done within one transaction, and what follows from it outside the file.

use tokio::sync::oneshot;

use super::cell::{Cell, Witness, standing};
use super::leases::Lease;
use super::tables::{Changes, Tables};
use crate::idempotency::expect::Ruling;
use crate::idempotency::{Expect, Record, RecordId, Seen, State, Token};
use crate::store::{Replaced, StoreError};

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
    /// Does one job: checks, and writes if the check says so.
    pub(super) fn apply(
        &mut self,
        tables: &mut Tables<'_>,
        witness: &Witness,
        job: &Job,
    ) -> Result<Answer, redb::Error> {
        let found = match tables.get(job.id) {
            // One damaged record is no reason to fail the jobs beside it.
            Err(redb::Error::Corrupted(reason)) => return Ok(Err(StoreError::Unreadable(reason))),
            found => found?,
        };
        let current = match found {
            Some(cell) => match witness.view(job.id, cell) {
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
        let cell = match Cell::new(job.id, &job.record, witness) {
            Ok(cell) => cell,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Some(Expect::Lapsed(token)) = job.expect {
            // Now, and not after the write: its holder's heartbeat may come at any time.
            let Some(before) = witness.leases.supersede(job.id, token, &job.record) else {
                return Ok(Ok(Written::Replaced(Replaced::Stale)));
            };
            self.begun.push((job.id, Some(before)));
        }
        if tables.put(job.id, cell)? {
            self.placed.push(job.id);
        }
        if matches!(job.expect, Some(Expect::Lapsed(_))) {
            // Its claim is begun already.
        } else if job.record.state == State::InFlight {
            // Before it commits: no reader may find the claim without its lease.
            let before = witness.leases.begin(job.id, &job.record);
            self.begun.push((job.id, before));
        } else if let Some(seen) = current {
            self.ended.push((job.id, seen.record.token));
        }
        self.mark = Some((job.id, job.record.token, job.record.state));
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
        let mut cell = match tables.get(id) {
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
            cell.expiry = expiry;
            tables.put(id, cell)?;
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

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;
    use redb::{Database, TableDefinition};

    use super::*;
    use crate::idempotency::sample::in_flight;
    use crate::store::Codec;
    use crate::store::embedded::clock::Clock;
    use crate::store::embedded::index::Index;
    use crate::store::embedded::leases::Leases;
    use crate::store::embedded::recent::Recent;
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
        let witness = Witness {
            owner: [1; 16],
            clock: Clock::starting(0),
            leases: Leases::default(),
            index: Index::default(),
            recent: Recent::new(0),
            codec: Codec::clear(),
        };
        witness.index.found(RecordId::from_bytes(damaged), 0);
        let mut tables = Tables::open(&txn, &witness.index, Usage::default()).unwrap();
        let mut insert = |id| {
            let job = Job {
                id: RecordId::from_bytes(id),
                expect: None,
                record: in_flight(1),
                reply: oneshot::channel().0,
            };
            Transaction::default()
                .apply(&mut tables, &witness, &job)
                .unwrap()
        };
        assert!(matches!(insert(damaged), Err(StoreError::Unreadable(_))));
        assert!(matches!(insert([2; 16]), Ok(Written::Created)));
    }
}
