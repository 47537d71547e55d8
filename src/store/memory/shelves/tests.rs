use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

/// First bits around those where a shelf ends and the next begins.
const FIRST: [u16; 9] = [0, 1, 0x3f, 0x40, 0x7f, 0x8000, 0xffbf, 0xffc0, 0xffff];
const LAST: u8 = 4;
const NEVER: u64 = u64::MAX;

/// Something that ends then, and takes so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Thing(u64, u16);

impl Kept for Thing {
    fn end(&self) -> Moment {
        at(self.0)
    }

    fn bytes(&self) -> u64 {
        self.1.into()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Keep(RecordId, Thing),
    /// It ends later, or at once.
    Renew(RecordId, u64),
    /// At this time.
    Sweep(u64),
}

fn at(seconds: u64) -> Moment {
    let began = Instant::now();
    match seconds {
        NEVER => Moment::NEVER,
        _ => Moment::of(began, began).after(Duration::from_secs(seconds)),
    }
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
    let a_thing = (an_end(), 0..1000_u16).prop_map(|(end, bytes)| Thing(end, bytes));
    prop_oneof![
        8 => (an_id(), a_thing).prop_map(|(id, thing)| Step::Keep(id, thing)),
        2 => (an_id(), an_end()).prop_map(|(id, end)| Step::Renew(id, end)),
        1 => (0..50_u64).prop_map(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_kept_is_found_and_read_in_order(steps in prop::collection::vec(step(), 0..60), most_untold in 0..2000_u64) {
        let (shelves, mut model) = (Shelves::new(most_untold), BTreeMap::new());
        for step in steps {
            match step {
                Step::Keep(id, thing) => {
                    let mut shelf = shelves.of(id);
                    let place = shelf.place(id);
                    prop_assert_eq!(place.there(), model.get(&id));
                    prop_assert_eq!(place.keep(thing), model.insert(id, thing));
                }
                Step::Renew(id, end) => {
                    let mut shelf = shelves.of(id);
                    let (there, expected) = (shelf.get_mut(id), model.get_mut(&id));
                    prop_assert_eq!(&there, &expected);
                    if let (Some(there), Some(expected)) = (there, expected) {
                        there.0 = end.max(there.0);
                        *expected = *there;
                    }
                }
                Step::Sweep(now) => {
                    shelves.sweep(at(now));
                    model.retain(|_, thing| thing.0 > now);
                }
            }
            let taken: u64 = model.values().map(Kept::bytes).sum();
            prop_assert_eq!(shelves.count(), (model.len(), taken));
            prop_assert!(shelves.bytes().abs_diff(taken) <= most_untold * FIRST.len() as u64);
        }
        // Each id is the last of a page, whether it is there or not.
        for after in ids().map(Some).chain([None]) {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rest = model.range((from, Bound::Unbounded)).map(|(id, thing)| (*id, *thing));
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
    let shelves = Shelves::new(0);
    let mut expected: Vec<_> = (0..1000_u128)
        .map(|number| RecordId::from_bytes((number * 7919 % 1000).to_be_bytes()))
        .collect();
    for id in &expected {
        shelves.of(*id).place(*id).keep(Thing(NEVER, 0));
    }
    expected.sort();
    let mut read = Vec::new();
    loop {
        let page = shelves.after(read.last().copied(), 7);
        if page.is_empty() {
            break;
        }
        read.extend(page.into_iter().map(|(id, _)| id));
    }
    assert_eq!(read, expected);
}

#[test]
fn what_ended_takes_no_memory() {
    let shelves = Shelves::new(0);
    for last in 0..=255 {
        let id = id(7, last);
        shelves.of(id).place(id).keep(Thing(last.into(), 1));
    }
    let capacity = || shelves.of(id(7, 0)).things.capacity();
    shelves.sweep(at(247));
    assert_eq!((shelves.count(), shelves.bytes()), ((8, 8), 8));
    assert!(capacity() < 64);
    shelves.sweep(at(255));
    assert_eq!(
        (shelves.count(), shelves.bytes(), capacity()),
        ((0, 0), 0, 0)
    );
}

#[test]
fn a_shelf_tells_what_it_takes_once_that_is_more_than_it_may_leave_untold() {
    let shelves = Shelves::new(100);
    let keep = |id, bytes| {
        let mut shelf = shelves.of(id);
        shelf.place(id).keep(Thing(NEVER, bytes));
    };
    let (one, other, far) = (id(7, 0), id(7, 1), id(0x8000, 0));
    for (id, bytes, told) in [
        (one, 100, 0),
        (far, 100, 0),
        (other, 1, 101),
        (one, 0, 101),
        (other, 0, 0),
        (far, 101, 101),
    ] {
        keep(id, bytes);
        assert_eq!(shelves.bytes(), told, "{bytes}");
    }
    assert_eq!(shelves.count(), (3, 101));
}

#[test]
fn a_shelf_is_looked_through_only_where_something_may_have_ended() {
    struct Watched(u64, Rc<Cell<u32>>);
    impl Kept for Watched {
        fn end(&self) -> Moment {
            self.1.set(self.1.get() + 1);
            at(self.0)
        }

        fn bytes(&self) -> u64 {
            0
        }
    }
    let (shelves, looked) = (Shelves::new(0), Rc::default());
    for (number, (first, end)) in (0..).zip([(0x1000, 1), (0x2000, 2), (0x2000, 2)]) {
        let id = id(first, number);
        shelves
            .of(id)
            .place(id)
            .keep(Watched(end, Rc::clone(&looked)));
    }
    for (now, looks, left) in [(0, 0, 3), (1, 1, 2), (1, 0, 2), (2, 2, 0), (2, 0, 0)] {
        looked.set(0);
        shelves.sweep(at(now));
        assert_eq!((looked.get(), shelves.count().0), (looks, left));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_shelf_takes_one_line_of_memory() {
    assert_eq!(size_of::<Line<Mutex<Shelf<Thing>>>>(), 64);
}
