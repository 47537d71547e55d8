//! What is kept by id, found in one step and read in order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::moment::Moment;
use crate::idempotency::RecordId;

/// What is kept by id, found in one step and read in order: a tree is searched level by level, and waits for memory on each.
///
/// Shelves stand in the order of the first bits of their ids; on a shelf there is no order. Ids are hashes, so each shelf holds few: those
/// are sorted when they are read, and nobody waits for all to be moved when a shelf grows. If ids were uneven, that would only take longer.
///
/// Each is locked by itself, so that threads hardly ever meet. Whoever holds one takes no other.
#[derive(Debug)]
pub(super) struct Shelves<T> {
    shelves: Vec<Line<Mutex<Shelf<T>>>>,
    /// Bytes that all take, as far as the shelves have told.
    told: AtomicI64,
    /// How many bytes a shelf may leave untold: to tell them takes long, as all threads do.
    most_untold: u64,
}

/// What has a line of memory, or more, to itself.
#[derive(Debug)]
#[repr(align(64))]
struct Line<T>(T);

/// What is kept on a shelf.
pub(super) trait Kept {
    /// When it ends. That may become later.
    fn end(&self) -> Moment;
    /// The bytes that it takes, which stay the same.
    fn bytes(&self) -> u64;
}

/// What is kept of some ids. With its lock it takes one line of memory, where a lock takes no more than eight bytes.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    things: Things<T>,
    /// Before this none of it ends.
    first_end: Moment,
    /// Bytes that it takes more, or less, than it told. What it told is what it took then, and so never less than nothing.
    untold: i64,
}

/// Ids are hashes of what clients choose: which of them meet in one place, a seed of the process decides.
type Things<T> = HashMap<RecordId, T, foldhash::fast::RandomState>;

/// A shelf in the hands of one thread. It tells what it takes when it is put back.
pub(super) struct Held<'s, T> {
    shelf: MutexGuard<'s, Shelf<T>>,
    shelves: &'s Shelves<T>,
}

/// The place of an id on its shelf.
pub(super) struct Place<'s, T> {
    entry: Entry<'s, RecordId, T>,
    first_end: &'s mut Moment,
    untold: &'s mut i64,
}

impl<T> Shelves<T> {
    /// Empty ones, each of which may leave so many bytes untold.
    pub(super) fn new(most_untold: u64) -> Self {
        let shelf = || Shelf {
            things: Things::default(),
            first_end: Moment::NEVER,
            untold: 0,
        };
        Self {
            shelves: (0..SHELVES).map(|_| Line(Mutex::new(shelf()))).collect(),
            told: AtomicI64::new(0),
            most_untold,
        }
    }

    /// The shelf of `id`.
    pub(super) fn of(&self, id: RecordId) -> Held<'_, T> {
        self.hold(&self.shelves[shelf_of(id)])
    }

    /// Bytes that all take, but for what the shelves have not told.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.told.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// How many there are, and the bytes that they take, while nothing changes.
    pub(super) fn count(&self) -> (usize, u64) {
        let (mut count, mut bytes) = (0, self.told.load(Ordering::Relaxed));
        for shelf in &self.shelves {
            let shelf = self.hold(shelf);
            count += shelf.things.len();
            bytes += shelf.untold;
        }
        (count, u64::try_from(bytes).unwrap_or_default())
    }

    /// What comes after `after`, by ascending id: `limit` at most. Whatever is there throughout is among it.
    pub(super) fn after(&self, after: Option<RecordId>, limit: usize) -> Vec<(RecordId, T)>
    where
        T: Clone,
    {
        let mut found = Vec::new();
        for shelf in &self.shelves[after.map_or(0, shelf_of)..] {
            let room = limit - found.len();
            if room == 0 {
                break;
            }
            let shelf = self.hold(shelf);
            let rest = shelf.things.iter().filter(|(id, _)| Some(**id) > after);
            let mut rest: Vec<_> = rest.map(|(id, it)| (*id, it)).collect();
            if rest.len() > room {
                // The first ones are told from the others before they are sorted: a large store has many more on a shelf.
                rest.select_nth_unstable_by_key(room, |(id, _)| *id);
                rest.truncate(room);
            }
            rest.sort_unstable_by_key(|(id, _)| *id);
            found.extend(rest.into_iter().map(|(id, it)| (id, it.clone())));
        }
        found
    }

    fn hold<'s>(&'s self, Line(shelf): &'s Line<Mutex<Shelf<T>>>) -> Held<'s, T> {
        Held {
            // Nothing panics while something is changed, so a panic while the lock is held leaves whole things behind.
            shelf: shelf.lock().unwrap_or_else(PoisonError::into_inner),
            shelves: self,
        }
    }
}

impl<T: Kept> Shelves<T> {
    /// Removes what ended, shelf by shelf; frees what memory twice as many as are left would not need. A shelf on which nothing can have
    /// ended is not looked through.
    pub(super) fn sweep(&self, now: Moment) {
        for shelf in &self.shelves {
            self.hold(shelf).sweep(now);
        }
    }
}

impl<T: Kept> Shelf<T> {
    /// What is kept by this id, if anything is.
    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut T> {
        self.things.get_mut(&id)
    }

    /// Where something is kept by this id, or may be.
    pub(super) fn place(&mut self, id: RecordId) -> Place<'_, T> {
        Place {
            entry: self.things.entry(id),
            first_end: &mut self.first_end,
            untold: &mut self.untold,
        }
    }

    fn sweep(&mut self, now: Moment) {
        if now < self.first_end {
            return;
        }
        let mut first = Moment::NEVER;
        self.things.retain(|_, it| {
            let end = it.end();
            let stays = now < end;
            if stays {
                first = first.min(end);
            } else {
                self.untold -= it.bytes() as i64;
            }
            stays
        });
        self.first_end = first;
        let left = self.things.len();
        self.things.shrink_to(2 * left);
    }
}

impl<T: Kept> Place<'_, T> {
    /// What is there.
    pub(super) fn there(&self) -> Option<&T> {
        match &self.entry {
            Entry::Occupied(there) => Some(there.get()),
            Entry::Vacant(_) => None,
        }
    }

    /// Keeps something there, and gives back what was there before.
    pub(super) fn keep(self, it: T) -> Option<T> {
        *self.first_end = it.end().min(*self.first_end);
        *self.untold += it.bytes() as i64;
        let before = match self.entry {
            Entry::Occupied(mut there) => there.insert(it),
            Entry::Vacant(free) => {
                free.insert(it);
                return None;
            }
        };
        *self.untold -= before.bytes() as i64;
        Some(before)
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = Shelf<T>;

    fn deref(&self) -> &Shelf<T> {
        &self.shelf
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut Shelf<T> {
        &mut self.shelf
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if self.untold.unsigned_abs() > self.shelves.most_untold {
            self.shelves.told.fetch_add(self.untold, Ordering::Relaxed);
            self.untold = 0;
        }
    }
}

fn shelf_of(id: RecordId) -> usize {
    let [first, second, ..] = *id.as_bytes();
    usize::from(u16::from_be_bytes([first, second])) * SHELVES / (1 << 16)
}

/// A thousand of a million on each. Empty they take 64 KiB.
pub(super) const SHELVES: usize = 1024;

#[cfg(test)]
mod tests;
