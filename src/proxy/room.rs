//! How much of something may be taken at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// How much of something may be taken at once, and how much is. The limit can be moved meanwhile: what was taken stays taken, and
/// where that is more than the new limit, nobody gets more until enough was given back.
#[derive(Debug)]
pub(super) struct Room {
    limit: AtomicU64,
    taken: AtomicU64,
}

impl Room {
    /// Room for `limit`.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            taken: AtomicU64::new(0),
        }
    }

    /// From now on there is room for `limit`.
    pub(super) fn resize(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
    }

    /// Takes as much as `amount`, to be given back by whoever took it; false, and nothing taken, if there is no room for it.
    pub(super) fn take(&self, amount: u64) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        // Where the limit was lowered below what is taken, there is still room for nothing.
        let more = |taken: u64| {
            let sum = taken.checked_add(amount);
            sum.filter(|sum| *sum <= limit || amount == 0)
        };
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    /// Takes `amount`, whether there is room for it or not.
    pub(super) fn take_anyway(&self, amount: u64) {
        self.taken.fetch_add(amount, Ordering::AcqRel);
    }

    /// How much is taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether there is room for `amount`, of which nothing is taken by that.
    pub(super) fn has(&self, amount: u64) -> bool {
        let sum = self.taken().checked_add(amount);
        sum.is_some_and(|sum| sum <= self.limit.load(Ordering::Acquire))
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, amount: u64) {
        self.taken.fetch_sub(amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_still_counts_once_the_limit_was_moved() {
        let room = Room::new(3);
        assert!(room.take(1) && room.take(2));
        assert!(!room.take(1));
        room.resize(1);
        room.give_back(1);
        assert!(!room.take(1), "two of one are taken");
        assert!(room.take(0), "nothing needs no room");
        room.give_back(2);
        assert!(room.take(1));
        assert!(!room.take(1));
        room.resize(2);
        assert!(room.take(1));
        room.give_back(2);
        assert!(room.take(2) && !room.take(u64::MAX));
    }

    #[test]
    fn what_is_taken_anyway_counts() {
        let room = Room::new(2);
        room.take_anyway(1);
        assert!(room.has(1) && !room.has(2) && !room.has(u64::MAX));
        room.take_anyway(2);
        assert_eq!(room.taken(), 3);
        room.give_back(1);
        assert!(room.has(0) && !room.has(1) && !room.take(1));
        room.give_back(1);
        assert!(room.has(1) && room.take(1));
    }
}
