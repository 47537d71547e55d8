//! The ids of a listing that are still to be read.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::idempotency::RecordId;

/// What pages left for the next ones. Only a shortcut: without it the keys are gone through again.
///
/// Whoever asks for what comes after a record began the listing before, and so misses nothing that was there throughout: where two
/// pages end at the same record, the ids that were gathered last are kept.
#[derive(Default)]
pub(super) struct Rests(Mutex<Vec<Rest>>);

struct Rest {
    after: RecordId,
    ids: Ids,
    left: Instant,
}

impl Rests {
    /// Leaves those of `ids` that come after `after`.
    pub(super) fn leave(&self, after: RecordId, mut ids: Ids) {
        let read = ids.lowest.partition_point(|id| *id <= after);
        ids.lowest.drain(..read);
        let left = Instant::now();
        let mut rests = self.present();
        if let Some(same) = rests.iter_mut().find(|rest| rest.after == after) {
            if same.ids.gathered < ids.gathered {
                *same = Rest { after, ids, left };
            }
            return;
        }
        if rests.len() >= RESTS {
            rests.remove(0);
        }
        rests.push(Rest { after, ids, left });
    }

    /// What was left after this record, if it still is there.
    pub(super) fn take(&self, after: RecordId) -> Option<Ids> {
        let mut rests = self.present();
        let found = rests.iter().position(|rest| rest.after == after)?;
        Some(rests.remove(found).ids)
    }

    fn present(&self) -> MutexGuard<'_, Vec<Rest>> {
        // Nothing that is done under it panics half-way.
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rests.retain(|rest| rest.left.elapsed() < KEPT);
        rests
    }
}

/// The lowest of the ids that were added.
pub(super) struct Ids {
    /// By ascending id, once they are all there.
    pub(super) lowest: Vec<RecordId>,
    /// Whether higher ones were left out.
    pub(super) others: bool,
    /// When gathering them began.
    gathered: Instant,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self {
            lowest: Vec::new(),
            others: false,
            gathered: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, id: RecordId) {
        if self.lowest.len() >= 2 * IDS {
            self.keep_the_lowest();
        }
        self.lowest.push(id);
    }

    /// Sorts them, once each, and leaves out the highest of too many.
    pub(super) fn keep_the_lowest(&mut self) {
        self.lowest.sort_unstable();
        self.lowest.dedup();
        self.others |= self.lowest.len() > IDS;
        self.lowest.truncate(IDS);
    }
}

/// Ids kept in memory at a time; while they are gathered, twice as many.
const IDS: usize = 1 << 17;
/// Listings whose rest is kept, and how long.
const RESTS: usize = 2;
const KEPT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> RecordId {
        RecordId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn the_lowest_ids_are_kept_once_each_and_that_there_are_others_is_known() {
        let mut ids = Ids::new();
        let many = 3 * IDS as u128;
        // In an order of its own, each twice.
        for number in (0..many).chain(0..many) {
            ids.add(id(number.wrapping_mul(1_000_003) % many));
        }
        ids.keep_the_lowest();
        assert!(ids.others);
        let kept: Vec<_> = (0..IDS as u128).map(id).collect();
        assert!(ids.lowest == kept);

        let mut few = Ids::new();
        for number in [2, 1, 2] {
            few.add(id(number));
        }
        few.keep_the_lowest();
        assert_eq!((few.lowest, few.others), (vec![id(1), id(2)], false));
    }

    fn gathered(numbers: &[u128]) -> Ids {
        let mut ids = Ids::new();
        numbers.iter().for_each(|number| ids.add(id(*number)));
        ids.keep_the_lowest();
        ids
    }

    #[test]
    fn a_rest_is_what_comes_after_the_page_and_is_taken_once() {
        let rests = Rests::default();
        rests.leave(id(2), gathered(&[1, 2, 3, 4]));
        assert!(rests.take(id(3)).is_none());
        let rest = rests.take(id(2)).map(|ids| ids.lowest);
        assert_eq!(rest, Some(vec![id(3), id(4)]));
        assert!(rests.take(id(2)).is_none());
    }

    #[test]
    fn where_two_listings_meet_what_was_gathered_last_is_kept() {
        let (before, after) = (gathered(&[1, 3]), gathered(&[1, 2, 3]));
        let rests = Rests::default();
        rests.leave(id(1), after);
        rests.leave(id(1), before);
        let rest = rests.take(id(1)).map(|ids| ids.lowest);
        assert_eq!(rest, Some(vec![id(2), id(3)]));
    }

    #[test]
    fn there_are_few_rests() {
        let rests = Rests::default();
        for number in 0..=RESTS as u128 {
            rests.leave(id(number), gathered(&[1_000]));
        }
        assert!(rests.take(id(0)).is_none());
        assert!(rests.take(id(RESTS as u128)).is_some());
    }
}
