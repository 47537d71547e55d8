//! Which ids may have a record.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::idempotency::RecordId;

/// Which ids may have a record: who inserts one that has none asks the writer at once, and reads nothing first.
///
/// A hint, from eight bytes of each id, and wrong where two share them: then somebody reads in vain, or waits for the writer, who alone
/// decides what is there. It takes 10 to 20 bytes for each record.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By the first byte of the id: a set that grows is copied, and few wait for that.
    shards: [Mutex<HashSet<u64>>; 32],
}

impl Known {
    /// There may be a record at `id` from now on.
    pub(super) fn add(&self, id: RecordId) {
        let (mut shard, short) = self.shard(id);
        shard.insert(short);
    }

    /// There is none any more.
    pub(super) fn remove(&self, id: RecordId) {
        let (mut shard, short) = self.shard(id);
        shard.remove(&short);
    }

    /// Whether there may be a record at `id`.
    pub(super) fn has(&self, id: RecordId) -> bool {
        let (shard, short) = self.shard(id);
        shard.contains(&short)
    }

    fn shard(&self, id: RecordId) -> (MutexGuard<'_, HashSet<u64>>, u64) {
        let [first, ..] = *id.as_bytes();
        let shard = &self.shards[usize::from(first) % self.shards.len()];
        let short = u64::from_le_bytes(std::array::from_fn(|at| id.as_bytes()[at]));
        // A panic leaves a set whole: each change is one move.
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        (shard, short)
    }
}
