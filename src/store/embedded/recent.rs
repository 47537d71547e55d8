//! Records that were written lately, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cell::Cell;
use crate::idempotency::RecordId;

/// Records that were written lately, in memory: who reads one of them waits for no disk.
///
/// The writer alone changes it. What a transaction changes is taken out before its commit and put in after it, before anybody is
/// answered; and all is forgotten when a write failed, before the database is closed. So what is here is what a reader of the file would
/// find now, and nobody who looks again finds what came before. It is as durable as the commit was: with `sync = "never"` the disk may not
/// have it yet.
///
/// The records that came first go first: one that is written again keeps its turn.
#[derive(Debug)]
pub(super) struct Recent {
    held: Mutex<Held>,
    /// Bytes that it takes at most, about.
    bound: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// None of one that was removed, or is being written: it counts until its turn comes.
    cells: HashMap<RecordId, Option<Cell>>,
    /// In the order in which they came.
    order: VecDeque<RecordId>,
    /// What all that takes, about.
    bytes: usize,
}

impl Recent {
    /// None yet, and so many bytes of them at most.
    pub(super) fn new(bound: usize) -> Self {
        Self {
            held: Mutex::default(),
            bound,
        }
    }

    /// The record of `id`, if it is among them; if not, it may stand in the file.
    pub(super) fn of(&self, id: RecordId) -> Option<Cell> {
        self.held().cells.get(&id).cloned().flatten()
    }

    /// What stands at these ids in the file changes with a commit that comes now.
    pub(super) fn hide(&self, ids: impl Iterator<Item = RecordId>) {
        let mut held = self.held();
        ids.for_each(|id| held.remove(id));
    }

    /// `cell` is at `id` in the file now, or nothing is.
    pub(super) fn note(&self, id: RecordId, cell: Option<Cell>) {
        let mut held = self.held();
        // One large answer is not worth a thousand others.
        match cell.filter(|cell| bytes_of(cell) <= self.bound / LARGEST) {
            Some(cell) => held.put(id, cell),
            None => held.remove(id),
        }
        while held.bytes > self.bound && held.remove_first() {}
    }

    /// Nobody knows what is in the file.
    pub(super) fn forget(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while the lock is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn put(&mut self, id: RecordId, cell: Cell) {
        self.bytes += bytes_of(&cell);
        match self.cells.insert(id, Some(cell)) {
            Some(before) => self.bytes -= before.as_ref().map_or(0, bytes_of),
            None => {
                self.bytes += TURN;
                self.order.push_back(id);
            }
        }
    }

    fn remove(&mut self, id: RecordId) {
        if let Some(before) = self.cells.get_mut(&id).and_then(Option::take) {
            self.bytes -= bytes_of(&before);
        }
    }

    /// Removes the first one; tells whether there was any.
    fn remove_first(&mut self) -> bool {
        let Some(first) = self.order.pop_front() else {
            return false;
        };
        self.bytes -= TURN;
        self.remove(first);
        self.cells.remove(&first);
        true
    }
}

/// What a cell takes beside its turn.
fn bytes_of(cell: &Cell) -> usize {
    cell.value().len() + SLACK
}

/// What the system takes beside an allocation, and what counts its readers.
const SLACK: usize = 64;
/// What a turn takes, in a queue and in a map that are half empty.
const TURN: usize = 2 * (size_of::<RecordId>() + size_of::<(RecordId, Option<Cell>)>());
/// A cell takes this share of the whole at most.
const LARGEST: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const BOUND: usize = 64 * 1024;

    fn id(of: u8) -> RecordId {
        RecordId::from_bytes([of; 16])
    }

    fn cell(length: usize, number: u64) -> Cell {
        let value = [&number.to_be_bytes()[..], &vec![0; 32 + length]].concat();
        Cell::parse(&value).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_held_is_what_was_noted_last_and_takes_no_more_than_its_bound(
            notes in prop::collection::vec((0..150_u8, prop::option::weighted(0.8, 0..6000_usize)), 1..600),
        ) {
            let recent = Recent::new(BOUND);
            let mut file = HashMap::new();
            for (number, (of, length)) in notes.into_iter().enumerate() {
                let noted = length.map(|length| cell(length, number as u64));
                file.insert(of, noted.as_ref().map(|cell| cell.expiry));
                let fits = noted.as_ref().is_none_or(|cell| bytes_of(cell) <= BOUND / LARGEST);
                recent.note(id(of), noted.clone());
                prop_assert!(recent.of(id(of)).is_none() || (noted.is_some() && fits));
                for (of, noted) in &file {
                    if let Some(found) = recent.of(id(*of)) {
                        prop_assert_eq!(Some(found.expiry), *noted);
                    }
                }
                let held = recent.held();
                let taken: usize = held.cells.values().flatten().map(bytes_of).sum();
                prop_assert_eq!(held.cells.len(), held.order.len());
                prop_assert_eq!(held.bytes, taken + held.order.len() * TURN);
                prop_assert!(held.bytes <= BOUND);
            }
        }
    }

    #[test]
    fn the_records_that_came_first_go_first() {
        let recent = Recent::new(BOUND);
        for of in 0..=255 {
            recent.note(id(of), Some(cell(400, 0)));
        }
        let kept: Vec<_> = (0..=255)
            .filter(|of| recent.of(id(*of)).is_some())
            .collect();
        assert!(kept.len() > 50 && kept.len() < 200);
        assert!(
            kept.iter()
                .eq(&((255 - kept.len() as u8 + 1)..=255).collect::<Vec<_>>())
        );
        recent.forget();
        assert!((0..=255).all(|of| recent.of(id(of)).is_none()));
        assert_eq!(recent.held().bytes, 0);
    }
}
