//! What is kept by id, found in one step and read in order.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::idempotency::RecordId;

/// What is kept by id, found in one step and read in order: a tree is searched level by level, and waits for memory on each.
///
/// Shelves stand in the order of the first bits of their ids; on a shelf there is no order. Ids are hashes, so each shelf holds few: those
/// are sorted when they are read, and nobody waits for all to be moved when a shelf grows. If ids were uneven, that would only take longer.
///
/// Each is locked by itself, so that threads hardly ever meet. Whoever holds one takes no other.
#[derive(Debug)]
pub(super) struct Shelves<T>(Vec<Mutex<Shelf<T>>>);

/// What is kept of some ids.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    things: Things<T>,
    /// Before this none of it ends; nothing where none ever does.
    first_end: Option<Instant>,
}

/// Ids are hashes of what clients choose: which of them meet in one place, a seed of the process decides.
type Things<T> = HashMap<RecordId, T, foldhash::fast::RandomState>;

impl<T> Default for Shelves<T> {
    fn default() -> Self {
        let shelf = || Shelf {
            things: Things::default(),
            first_end: None,
        };
        Self((0..SHELVES).map(|_| Mutex::new(shelf())).collect())
    }
}

impl<T> Deref for Shelf<T> {
    type Target = Things<T>;

    fn deref(&self) -> &Things<T> {
        &self.things
    }
}

impl<T> DerefMut for Shelf<T> {
    fn deref_mut(&mut self) -> &mut Things<T> {
        &mut self.things
    }
}

impl<T> Shelf<T> {
    /// Something is kept here that ends then, or never.
    pub(super) fn may_end(&mut self, end: Option<Instant>) {
        self.first_end = self.first_end.into_iter().chain(end).min();
    }

    /// Removes what ended, and says what that was.
    fn sweep(
        &mut self,
        now: Instant,
        end: impl Fn(&T) -> Option<Instant>,
        mut gone: impl FnMut(&T),
    ) {
        if self.first_end.is_none_or(|first| now < first) {
            return;
        }
        let mut first = None;
        self.things.retain(|_, it| match end(it) {
            Some(end) if end <= now => {
                gone(it);
                false
            }
            end => {
                first = first.into_iter().chain(end).min();
                true
            }
        });
        self.first_end = first;
        let left = self.things.len();
        self.things.shrink_to(2 * left);
    }
}

impl<T> Shelves<T> {
    /// How many there are, while nothing changes.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shelf| locked(shelf).len()).sum()
    }

    /// The shelf of `id`.
    pub(super) fn of(&self, id: RecordId) -> MutexGuard<'_, Shelf<T>> {
        locked(&self.0[shelf_of(id)])
    }

    /// Removes what ended, shelf by shelf, and says what that was; frees what memory twice as many as are left would not need. A shelf on
    /// which nothing can have ended is not looked through.
    pub(super) fn sweep(
        &self,
        now: Instant,
        end: impl Fn(&T) -> Option<Instant>,
        mut gone: impl FnMut(&T),
    ) {
        for shelf in &self.0 {
            locked(shelf).sweep(now, &end, &mut gone);
        }
    }

    /// What comes after `after`, by ascending id: `limit` at most. Whatever is there throughout is among it.
    pub(super) fn after(&self, after: Option<RecordId>, limit: usize) -> Vec<(RecordId, T)>
    where
        T: Clone,
    {
        let mut found = Vec::new();
        for shelf in &self.0[after.map_or(0, shelf_of)..] {
            let room = limit - found.len();
            if room == 0 {
                break;
            }
            let shelf = locked(shelf);
            let rest = shelf.iter().filter(|(id, _)| Some(**id) > after);
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
}

fn locked<T>(shelf: &Mutex<Shelf<T>>) -> MutexGuard<'_, Shelf<T>> {
    // A panic while the lock is held leaves whole things behind: each is written in one move.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shelf_of(id: RecordId) -> usize {
    let [first, second, ..] = *id.as_bytes();
    usize::from(u16::from_be_bytes([first, second])) * SHELVES / (1 << 16)
}

/// A thousand of a million on each. Empty they take 64 KiB.
const SHELVES: usize = 1024;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, btree_map, hash_map::Entry};
    use std::ops::Bound;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// First bits around those where a shelf ends and the next begins.
    const FIRST: [u16; 9] = [0, 1, 0x3f, 0x40, 0x7f, 0x8000, 0xffbf, 0xffc0, 0xffff];
    const LAST: u8 = 4;
    const NEVER: u64 = u64::MAX;

    #[derive(Clone, Debug)]
    enum Step {
        /// Something that ends then.
        Keep(RecordId, u64),
        Change(RecordId, u64),
        /// At this time.
        Sweep(u64),
    }

    fn id(first: u16, last: u8) -> RecordId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        bytes[15] = last;
        RecordId::from_bytes(bytes)
    }

    fn ids() -> impl Iterator<Item = RecordId> {
        let of = |first| (0..LAST).map(move |last| id(first, last));
        FIRST.into_iter().flat_map(of)
    }

    fn step() -> impl Strategy<Value = Step> {
        let an_id = || prop::sample::select(Vec::from_iter(ids()));
        let an_end = || prop_oneof![0..60_u64, Just(NEVER)];
        prop_oneof![
            8 => (an_id(), an_end()).prop_map(|(id, end)| Step::Keep(id, end)),
            2 => (an_id(), an_end()).prop_map(|(id, end)| Step::Change(id, end)),
            1 => (0..50_u64).prop_map(Step::Sweep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_kept_is_found_and_read_in_order(steps in prop::collection::vec(step(), 0..60)) {
            let (shelves, mut model) = (Shelves::default(), BTreeMap::new());
            let began = Instant::now();
            let time = |end: u64| (end != NEVER).then(|| began + Duration::from_secs(end));
            for step in steps {
                match step {
                    Step::Keep(id, end) => {
                        let mut shelf = shelves.of(id);
                        match (shelf.entry(id), model.entry(id)) {
                            (Entry::Vacant(place), btree_map::Entry::Vacant(expected)) => {
                                place.insert(end);
                                expected.insert(end);
                                shelf.may_end(time(end));
                            }
                            (Entry::Occupied(place), btree_map::Entry::Occupied(expected)) => {
                                prop_assert_eq!(place.get(), expected.get());
                            }
                            (place, _) => prop_assert!(false, "{place:?}"),
                        }
                    }
                    Step::Change(id, end) => {
                        let mut shelf = shelves.of(id);
                        let (there, expected) = (shelf.get_mut(&id), model.get_mut(&id));
                        prop_assert_eq!(&there, &expected);
                        if let (Some(there), Some(expected)) = (there, expected) {
                            (*there, *expected) = (end, end);
                            shelf.may_end(time(end));
                        }
                    }
                    Step::Sweep(now) => {
                        let mut gone = Vec::new();
                        shelves.sweep(began + Duration::from_secs(now), |end| time(*end), |end| gone.push(*end));
                        let mut expected: Vec<_> = model.values().copied().filter(|end| *end <= now).collect();
                        gone.sort();
                        expected.sort();
                        prop_assert_eq!(gone, expected);
                        model.retain(|_, end| *end > now);
                    }
                }
            }
            prop_assert_eq!(shelves.len(), model.len());
            // Each id is the last of a page, whether it is there or not.
            for after in ids().map(Some).chain([None]) {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let rest = model.range((from, Bound::Unbounded)).map(|(id, value)| (*id, *value));
                let rest: Vec<_> = rest.collect();
                for limit in 0..=rest.len() + 1 {
                    let page = shelves.after(after, limit);
                    prop_assert_eq!(&page[..], &rest[..limit.min(rest.len())]);
                }
            }
        }
    }

    #[test]
    fn ids_that_are_not_evenly_spread_are_read_in_order_too() {
        let shelves = Shelves::default();
        let mut expected: Vec<_> = (0..1000_u128)
            .map(|number| RecordId::from_bytes((number * 7919 % 1000).to_be_bytes()))
            .collect();
        for id in &expected {
            shelves.of(*id).insert(*id, ());
        }
        expected.sort();
        let mut read = Vec::new();
        loop {
            let page = shelves.after(read.last().copied(), 7);
            if page.is_empty() {
                break;
            }
            read.extend(page.into_iter().map(|(id, ())| id));
        }
        assert_eq!(read, expected);
    }

    #[test]
    fn what_ended_takes_no_memory() {
        let (shelves, began) = (Shelves::default(), Instant::now());
        let end = |last: &u8| Some(began + Duration::from_secs((*last).into()));
        for last in 0..=255 {
            let (id, mut shelf) = (id(7, last), shelves.of(id(7, last)));
            shelf.insert(id, last);
            shelf.may_end(end(&last));
        }
        let sweep = |now| shelves.sweep(began + Duration::from_secs(now), end, |_| ());
        sweep(247);
        assert_eq!(shelves.len(), 8);
        assert!(shelves.of(id(7, 0)).capacity() < 64);
        sweep(255);
        assert_eq!(shelves.of(id(7, 0)).capacity(), 0);
    }

    #[test]
    fn a_shelf_is_looked_through_only_where_something_may_have_ended() {
        let (shelves, began) = (Shelves::default(), Instant::now());
        let looked = Cell::new(0);
        let end = |end: &Instant| {
            looked.set(looked.get() + 1);
            Some(*end)
        };
        let (soon, late) = (
            began + Duration::from_secs(1),
            began + Duration::from_secs(2),
        );
        for (number, (first, end)) in (0..).zip([(0x1000, soon), (0x2000, late), (0x2000, late)]) {
            let id = id(first, number);
            let mut shelf = shelves.of(id);
            shelf.insert(id, end);
            shelf.may_end(Some(end));
        }
        for (now, at, left) in [
            (began, 0, 3),
            (soon, 1, 2),
            (soon, 1, 2),
            (late, 3, 0),
            (late, 3, 0),
        ] {
            shelves.sweep(now, end, |_| ());
            assert_eq!((looked.get(), shelves.len()), (at, left));
        }
    }
}
