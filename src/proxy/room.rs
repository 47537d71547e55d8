//! How much of something may be taken at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of something may be taken at once, and how much is. The limit can be moved meanwhile: what was taken stays taken, and
/// where that is more than the new limit, nobody gets more until enough was given back.
#[derive(Debug)]
pub(super) struct Room {
    limit: AtomicU64,
    taken: AtomicU64,
}

/// A part of a [`Room`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    amount: u64,
}

impl Room {
    /// Room for `limit`.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit),
            taken: AtomicU64::new(0),
        })
    }

    /// From now on there is room for `limit`.
    pub(super) fn resize(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
    }

    /// As much as `amount`, if there is room for it.
    pub(super) fn take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        let limit = self.limit.load(Ordering::Acquire);
        // Where the limit was lowered below what is taken, there is still room for nothing.
        let more = |taken: u64| {
            let sum = taken.checked_add(amount);
            sum.filter(|sum| *sum <= limit || amount == 0)
        };
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .ok()?;
        Some(Share {
            room: self.clone(),
            amount,
        })
    }
}

impl Share {
    /// Adds another share of the same room.
    pub(super) fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.room, &other.room));
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_still_counts_once_the_limit_was_moved() {
        let room = Room::new(3);
        let (one, two) = (room.take(1).unwrap(), room.take(2).unwrap());
        assert!(room.take(1).is_none());
        room.resize(1);
        drop(one);
        assert!(room.take(1).is_none(), "two of one are taken");
        assert!(room.take(0).is_some(), "nothing needs no room");
        drop(two);
        let one = room.take(1).unwrap();
        assert!(room.take(1).is_none());
        room.resize(2);
        let mut both = room.take(1).unwrap();
        both.merge(one);
        assert!(room.take(1).is_none());
        drop(both);
        assert!(room.take(2).is_some() && room.take(u64::MAX).is_none());
    }
}
