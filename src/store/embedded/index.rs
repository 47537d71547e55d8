//! Where each record stands in the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::idempotency::RecordId;

/// The place of each record: a number that grows, so what is written together stands together, and few pages are written. Ids are hashes:
/// by id, each record would have a page to itself.
///
/// Every record that was committed has its place here; a place may be empty in the file, while its record is being written or removed.
/// Made from the file when it is opened, and again when a write failed. About 36 bytes for each record.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the first bits of the id, in its order.
    shards: [Mutex<BTreeMap<RecordId, u64>>; SHARDS],
    next: AtomicU64,
}

impl Index {
    /// Where the record of `id` stands, if there is any.
    pub(super) fn of(&self, id: RecordId) -> Option<u64> {
        self.shard(id).get(&id).copied()
    }

    /// Where to write the record of `id`; and whether that is a new place.
    pub(super) fn place(&self, id: RecordId) -> (u64, bool) {
        match self.shard(id).entry(id) {
            Entry::Occupied(place) => (*place.get(), false),
            Entry::Vacant(vacant) => {
                let place = self.next.fetch_add(1, Ordering::Relaxed);
                (*vacant.insert(place), true)
            }
        }
    }

    /// Notes that the record of `id` was found at `place`; tells whether it is the only one found.
    pub(super) fn found(&self, id: RecordId, place: u64) -> bool {
        self.next
            .fetch_max(place.saturating_add(1), Ordering::Relaxed);
        self.shard(id).insert(id, place).is_none()
    }

    /// Takes the places that were found in the file for all there are. Nothing is being written meanwhile.
    pub(super) fn renew(&self, found: Self) {
        self.next
            .fetch_max(found.next.into_inner(), Ordering::Relaxed);
        for (shard, found) in self.shards.iter().zip(found.shards) {
            let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
    }

    /// The record of `id` is not in the file any more.
    pub(super) fn remove(&self, id: RecordId) {
        self.shard(id).remove(&id);
    }

    /// What comes after `after`, by ascending id: `limit` at most.
    pub(super) fn after(&self, after: Option<RecordId>, limit: usize) -> Vec<(RecordId, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let first = after.map_or(0, shard_of);
        let mut found = Vec::new();
        for shard in &self.shards[first..] {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let range = shard.range((from, Bound::Unbounded));
            found.extend(
                range
                    .take(limit - found.len())
                    .map(|(id, place)| (*id, *place)),
            );
            if found.len() == limit {
                break;
            }
        }
        found
    }

    fn shard(&self, id: RecordId) -> MutexGuard<'_, BTreeMap<RecordId, u64>> {
        // A panic while the lock is held leaves a whole map behind: each change is one call.
        self.shards[shard_of(id)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn shard_of(id: RecordId) -> usize {
    let [first, ..] = *id.as_bytes();
    usize::from(first) * SHARDS / 256
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> RecordId {
        let mut bytes = [0; 16];
        (bytes[0], bytes[15]) = (first, last);
        RecordId::from_bytes(bytes)
    }

    #[test]
    fn a_record_keeps_its_place_until_it_is_removed() {
        let index = Index::default();
        assert!(index.found(id(1, 1), 7));
        assert!(!index.found(id(1, 1), 7));
        assert_eq!(index.place(id(1, 1)), (7, false));
        assert_eq!(index.place(id(1, 2)), (8, true));
        index.remove(id(1, 2));
        assert_eq!(index.of(id(1, 2)), None);
        assert_eq!(index.place(id(1, 2)), (9, true));
    }

    #[test]
    fn a_place_that_was_given_is_not_given_again() {
        let (index, found) = (Index::default(), Index::default());
        assert_eq!(index.place(id(1, 1)), (0, true));
        assert_eq!(index.place(id(2, 1)), (1, true));
        assert!(found.found(id(1, 1), 0));
        index.renew(found);
        assert_eq!(index.of(id(1, 1)), Some(0));
        assert_eq!(index.of(id(2, 1)), None);
        assert_eq!(index.place(id(2, 1)), (2, true));
    }

    #[test]
    fn ids_are_listed_in_their_order_over_all_shards() {
        let index = Index::default();
        let mut ids: Vec<_> = (0..=255).map(|first| id(first, first % 3)).collect();
        for id in ids.iter().rev() {
            index.place(*id);
        }
        ids.sort();
        let (mut listed, mut last) = (Vec::new(), None);
        loop {
            let page = index.after(last, 10);
            let Some((end, _)) = page.last() else { break };
            last = Some(*end);
            listed.extend(page.into_iter().map(|(id, _)| id));
        }
        assert_eq!(listed, ids);
    }
}
