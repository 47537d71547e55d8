//! Listings while slots move and nodes go.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use idemproxy::idempotency::RecordId;
use idemproxy::store::{Inserted, Listed, Store, StoreError};

use super::*;

fn all(_: &Listed) -> bool {
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_are_found_while_their_slots_move() {
    let (cluster, _turn) = shared().await;
    let (settings, slot) = tagged(cluster, "listed");
    let store = reach(cluster, &settings).await;
    let standing: BTreeSet<RecordId> = (0..=255).map(id).collect();
    for id in &standing {
        assert_eq!(store.insert(*id, &claim()).await, Ok(Inserted::Created));
    }
    let [moved, started] = [const { AtomicU32::new(0) }; 2];
    let over = AtomicBool::new(false);
    let begun = || started.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let to = other_than(cluster.holder(slot));
                cluster.begin_to_move(slot, to);
                while !cluster.move_keys(slot, to, 7) {
                    moved.fetch_add(1, Ordering::Relaxed);
                }
                cluster.end_move(slot, to);
                // No listing is to see two moves.
                let seen = begun();
                while begun() == seen && !over.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
        });
        let _over = Over(&over);
        let listings = async {
            let mut meanwhile = 0;
            while meanwhile < 30 {
                let before = moved.load(Ordering::Relaxed);
                started.fetch_add(1, Ordering::Relaxed);
                let listing = crate::listing::whole(&store).await.unwrap();
                let told = listing.records.iter().map(|listed| listed.id);
                assert!(told.eq(standing.iter().copied()), "after {meanwhile}");
                meanwhile += u32::from(moved.load(Ordering::Relaxed) > before);
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(listings));
    });
}

/// Ends the moves, however the listings end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_listing_of_a_cluster_that_is_not_whole_is_refused() {
    let mut cluster = tokio::task::spawn_blocking(|| RedisCluster::with(0, &[]))
        .await
        .unwrap();
    let store = reach(&cluster, &patient()).await;
    for number in 0..50 {
        assert_eq!(
            store.insert(id(number), &claim()).await,
            Ok(Inserted::Created)
        );
    }
    assert_eq!(store.list(None, 100, &all).await.unwrap().records.len(), 50);
    cluster.node_mut(1).stop();
    // Never a page that leaves out what the lost node has.
    let refused = store.list(None, 100, &all).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Refused(_) | StoreError::Unanswered(_))
        ),
        "{refused:?}"
    );
}
