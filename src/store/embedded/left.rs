//! Claims that a process left behind: it was killed, or stopped before they were settled.

use super::cell::Cell;
use super::tables::Tables;
use super::transaction::Transaction;
use super::writer::Writer;
use crate::idempotency::{RecordId, State};

impl Writer {
    /// Writes that these claims are unknown, and counts them: so no later opening counts them again. Where it cannot be written they
    /// are seen as unknown all the same. Their expiry stays: what is known of the last heartbeat goes by it.
    pub(super) fn settle_left(&mut self, left: &[RecordId]) {
        let mut found = 0;
        for some in left.chunks(TOGETHER) {
            self.aside(|writer, database| {
                let txn = writer.begin(database)?;
                let mut tables = Tables::open(&txn, &writer.witness.index, writer.usage)?;
                for &id in some {
                    let (Some(cell), Some(place)) = (tables.get(id)?, writer.witness.index.of(id))
                    else {
                        continue;
                    };
                    let (expiry, owner) = (cell.expiry, cell.owner);
                    let seen = match writer.witness.view(id, cell) {
                        Ok(Some(seen)) if seen.record.state == State::Unknown => seen,
                        // It has expired, or this version does not read it.
                        _ => continue,
                    };
                    found += 1;
                    let codec = &writer.witness.codec;
                    if let Ok(cell) = Cell::of(id, &seen.record, (expiry, owner), codec) {
                        tables.put(id, place, cell)?;
                    }
                }
                let changes = tables.close()?;
                writer.commit(txn, &changes)?;
                writer.settled(&mut Transaction {
                    changes,
                    ..Transaction::default()
                });
                Ok(())
            });
        }
        if found > 0 {
            self.status.found_left(found);
            tracing::warn!(
                count = found,
                "requests ran when the proxy before stopped: their outcome is unknown"
            );
        }
    }
}

/// Most records written in one transaction.
const TOGETHER: usize = 512;
