//! The records that were written last, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cell::Cell;
use crate::idempotency::RecordId;

/// The records that were written last, in memory: who reads one of them waits for no disk.
///
/// The writer alone changes it: after a commit, before anybody is answered, and before the database is closed. So what is here is what
/// stands in the file. The records that came first go first.
#[derive(Debug)]
pub(super) struct Recent {
    held: Mutex<Held>,
    /// Bytes that it takes at most, about.
    bound: usize,
}

#[derive(Debug, Default)]
struct Held {
    cells: HashMap<RecordId, Cell>,
    /// In the order in which they came. One that was removed stands here, and counts, until its turn comes.
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
        self.held().cells.get(&id).cloned()
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
        match self.cells.insert(id, cell) {
            Some(before) => self.bytes -= bytes_of(&before),
            None => {
                self.bytes += TURN;
                self.order.push_back(id);
            }
        }
    }

    fn remove(&mut self, id: RecordId) {
        if let Some(before) = self.cells.remove(&id) {
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
        true
    }
}

/// What a cell takes, with its place in a map that is half empty.
fn bytes_of(cell: &Cell) -> usize {
    cell.value().len() + 2 * size_of::<(RecordId, Cell)>() + SLACK
}

/// What the system takes beside an allocation, and what one has more than its cell needs.
const SLACK: usize = 256;
/// What a turn takes, in a queue that is half empty.
const TURN: usize = 2 * size_of::<RecordId>();
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
                let taken: usize = held.cells.values().map(bytes_of).sum();
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
