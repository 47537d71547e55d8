//! A few records in a row, without their answers.

use redb::Database;

use super::cell::{Witness, split};
use super::tables;
use crate::idempotency::{Lapse, RecordId};
use crate::store::StoreError;
use crate::store::codec::head_of;
use crate::store::listing::Listed;

/// A few records in a row, without their answers.
pub(super) struct Slice {
    /// By ascending id.
    pub(super) found: Vec<(RecordId, Result<Option<Listed>, StoreError>)>,
    /// The last id that was read, if there may be others.
    pub(super) last: Option<RecordId>,
}

impl Slice {
    /// Reads those that come after `after`, in one read transaction.
    pub(super) fn read(
        database: &Database,
        witness: &Witness,
        after: Option<RecordId>,
    ) -> Result<Self, redb::Error> {
        let mut found = Vec::new();
        let last = tables::range(
            database,
            &witness.index,
            after,
            (RECORDS, BYTES),
            |id, value| {
                found.push((id, listed(witness, id, value)));
            },
        )?;
        Ok(Self { found, last })
    }
}

fn listed(witness: &Witness, id: RecordId, value: &[u8]) -> Result<Option<Listed>, StoreError> {
    let unreadable = |why: &str| Err(StoreError::Unreadable(why.to_owned()));
    let Some((expiry, owner, frame)) = split(value) else {
        return unreadable("it is too short");
    };
    let head = match head_of(frame) {
        Ok(head) => head,
        Err(_) if witness.clock.now() >= expiry => return Ok(None),
        Err(error) => return unreadable(&error.to_string()),
    };
    let seen = witness.seen(id, expiry, owner, head.record);
    Ok(seen.map(|(seen, remaining)| Listed {
        id,
        record: seen.record,
        lapsed: seen.lapse == Lapse::Lapsed,
        response_bytes: head.response_bytes,
        expires_in: Some(remaining),
    }))
}

/// Most records of a slice.
const RECORDS: usize = 256;
/// Bytes, answers included, from which a slice takes no more: what is read from the disk within one timeout.
const BYTES: usize = 4 << 20;
