//! Which node has which slot, and since when that is so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::layout::Layout;
use super::slot::SLOTS;
use crate::store::redis::address::Address;

/// Which node has which slot, and since when that is so.
pub(super) struct Map {
    slots: Vec<Option<Held>>,
    layout: Layout,
    promotions: u64,
}

/// Who has a slot.
#[derive(Clone)]
struct Held {
    by: Arc<Address>,
    /// Since when it is seen there, all of its keys.
    since: Instant,
}

impl Map {
    /// Takes the layout for a first one.
    pub(super) fn new(layout: Layout, now: Instant) -> Self {
        let mut map = Self {
            slots: vec![None; usize::from(SLOTS)],
            layout: Layout::default(),
            promotions: 0,
        };
        map.learn(layout, now);
        map.promotions = 0;
        map
    }

    /// Takes in what the cluster says now.
    pub(super) fn learn(&mut self, layout: Layout, now: Instant) {
        let mut slots = vec![None; usize::from(SLOTS)];
        for shard in &layout.shards {
            let by = Arc::new(shard.primary.address.clone());
            for slot in shard.slots.0..=shard.slots.1 {
                let at = usize::from(slot);
                let since = match &self.slots[at] {
                    Some(held) if held.by == by => held.since,
                    _ => now,
                };
                slots[at] = Some(Held {
                    by: by.clone(),
                    since,
                });
            }
        }
        self.slots = slots;
        self.promotions += layout.promotions_since(&self.layout);
        self.layout = layout;
    }

    /// A node said that another one has this slot.
    pub(super) fn moved(&mut self, slot: u16, to: &Address, now: Instant) {
        if let Some(held) = self.slots.get_mut(usize::from(slot)) {
            match held {
                Some(held) if *held.by == *to => {}
                _ => {
                    *held = Some(Held {
                        by: Arc::new(to.clone()),
                        since: now,
                    });
                }
            }
        }
    }

    /// A node said that a key of its slot is at another one already: heartbeats of this slot go to two nodes, and either may have
    /// been away.
    pub(super) fn on_its_way(&mut self, slot: u16, now: Instant) {
        if let Some(Some(held)) = self.slots.get_mut(usize::from(slot)) {
            held.since = now;
        }
    }

    /// Who has this slot.
    pub(super) fn holder(&self, slot: u16) -> Option<&Address> {
        self.slots
            .get(usize::from(slot))?
            .as_ref()
            .map(|held| &*held.by)
    }

    /// Everybody who has a slot.
    pub(super) fn holders(&self) -> HashSet<&Address> {
        self.slots.iter().flatten().map(|held| &*held.by).collect()
    }

    /// For how long this slot was seen where it is.
    pub(super) fn steady(&self, slot: u16, now: Instant) -> Duration {
        match self.slots.get(usize::from(slot)) {
            Some(Some(held)) => now.saturating_duration_since(held.since),
            _ => Duration::ZERO,
        }
    }

    /// Slots that nobody has.
    pub(super) fn orphans(&self) -> usize {
        self.slots.iter().filter(|held| held.is_none()).count()
    }

    /// What the cluster said last.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How often a replica took the place of its primary.
    pub(super) fn promotions(&self) -> u64 {
        self.promotions
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Member, Shard};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(host: &str) -> Address {
        Address {
            host: host.to_owned(),
            port: 7000,
        }
    }

    fn layout(shards: &[(u16, u16, &str)]) -> Layout {
        let shards = shards.iter().map(|(first, last, host)| Shard {
            slots: (*first, *last),
            primary: Member {
                address: address(host),
                id: (*host).to_owned(),
            },
            replicas: Vec::new(),
        });
        Layout {
            epoch: 1,
            shards: shards.collect(),
        }
    }

    #[test]
    fn a_slot_that_stays_is_seen_on_and_one_that_moved_begins_anew() {
        let begun = Instant::now();
        let mut map = Map::new(layout(&[(0, 9, "a"), (10, 16_383, "b")]), begun);
        let later = begun + SECOND;
        map.learn(layout(&[(0, 4, "a"), (5, 16_383, "b")]), later);
        assert_eq!(map.holder(5), Some(&address("b")));
        assert_eq!(map.steady(4, later), SECOND);
        assert_eq!(map.steady(5, later), Duration::ZERO);
        assert_eq!(map.steady(10, later), SECOND);
    }

    #[test]
    fn a_redirection_begins_anew_and_its_confirmation_does_not() {
        let begun = Instant::now();
        let mut map = Map::new(layout(&[(0, 16_383, "a")]), begun);
        map.moved(7, &address("b"), begun + SECOND);
        map.moved(7, &address("b"), begun + SECOND * 2);
        map.learn(
            layout(&[(0, 6, "a"), (7, 7, "b"), (8, 16_383, "a")]),
            begun + SECOND * 3,
        );
        assert_eq!(map.steady(7, begun + SECOND * 3), SECOND * 2);
        assert_eq!(map.steady(8, begun + SECOND * 3), SECOND * 3);
    }

    #[test]
    fn a_slot_on_its_way_is_not_steady_and_still_where_it_was() {
        let begun = Instant::now();
        let mut map = Map::new(layout(&[(0, 16_383, "a")]), begun);
        map.on_its_way(7, begun + SECOND);
        assert_eq!(map.holder(7), Some(&address("a")));
        assert_eq!(map.steady(7, begun + SECOND), Duration::ZERO);
        assert_eq!(map.steady(8, begun + SECOND), SECOND);
    }

    #[test]
    fn a_slot_that_nobody_has_is_told_and_one_that_is_none_is_ignored() {
        let now = Instant::now();
        let mut map = Map::new(layout(&[(0, 16_000, "a")]), now);
        assert_eq!(map.orphans(), 383);
        assert_eq!(map.holder(16_001), None);
        map.moved(SLOTS, &address("b"), now);
        map.on_its_way(SLOTS, now);
        assert_eq!(map.steady(SLOTS, now), Duration::ZERO);
    }
}
