//! Slots that moved, and a map that is old.

use idemproxy::idempotency::{Expect, RecordId, State};
use idemproxy::store::{Inserted, Redis, Replaced, Store};

use super::*;

/// Does something with a fresh id right after the slot moved, again until it was redirected: the map may be renewed in between.
async fn redirected<F: Future<Output = ()>>(
    cluster: &RedisCluster,
    slot: u16,
    mut prepare: impl AsyncFnMut(RecordId),
    mut act: impl FnMut(RecordId) -> F,
) {
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    for _ in 0..20 {
        let id = id(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        prepare(id).await;
        cluster.move_slot(slot, other_than(cluster.holder(slot)));
        let before = cluster.refusals("MOVED");
        act(id).await;
        if cluster.refusals("MOVED") > before {
            return;
        }
    }
    panic!("it was never redirected");
}

async fn nothing(_: RecordId) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_operation_follows_its_slot() {
    let (cluster, _turn) = shared().await;
    let (settings, slot) = tagged(cluster, "moved");
    let store = &reach(cluster, &settings).await;
    let first = &claim();
    let held = async |id| assert_eq!(store.insert(id, first).await, Ok(Inserted::Created));

    redirected(cluster, slot, nothing, |id| async move {
        assert_eq!(store.insert(id, first).await, Ok(Inserted::Created));
        assert_eq!(store.look(id).await.unwrap().unwrap().record, *first);
    })
    .await;
    redirected(cluster, slot, held, |id| async move {
        let Ok(Inserted::Occupied(seen)) = store.insert(id, &claim()).await else {
            panic!("claimed twice");
        };
        assert_eq!(seen.record, *first);
    })
    .await;
    redirected(cluster, slot, held, |id| async move {
        assert_eq!(store.renew(id, first.token).await, Ok(Replaced::Applied));
    })
    .await;
    redirected(cluster, slot, held, |id| async move {
        assert_eq!(store.look(id).await.unwrap().unwrap().record, *first);
    })
    .await;
    redirected(cluster, slot, nothing, |id| async move {
        assert_eq!(store.look(id).await, Ok(None));
    })
    .await;
    // Small and large ones take different connections.
    for length in [10, 200_000] {
        let done = &completed(first, length);
        redirected(cluster, slot, held, |id| async move {
            let settled = store.replace(id, Expect::Held(first.token), done).await;
            assert_eq!(settled, Ok(Replaced::Applied));
        })
        .await;
        let answered = async |id| {
            held(id).await;
            let settled = store.replace(id, Expect::Held(first.token), done).await;
            assert_eq!(settled, Ok(Replaced::Applied));
        };
        redirected(cluster, slot, answered, |id| async move {
            let Ok(Inserted::Occupied(seen)) = store.insert(id, &claim()).await else {
                panic!("claimed over an answer");
            };
            assert_eq!(seen.record, *done);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_goes_through_its_life_while_its_slot_moves() {
    let (cluster, _turn) = shared().await;
    for wait_replicas in [0, 1] {
        let (settings, slot) = tagged(cluster, &format!("life{wait_replicas}"));
        let settings = StoreSettings {
            wait_replicas,
            ..settings
        };
        let store = reach(cluster, &settings).await;
        let before = cluster.refusals("MOVED");
        let (mut life, mut next) = (claim(), State::Released);
        assert_eq!(store.insert(id(1), &life).await, Ok(Inserted::Created));
        for _ in 0..6 {
            cluster.move_slot(slot, other_than(cluster.holder(slot)));
            let renewed = store.renew(id(1), life.token).await;
            assert_eq!(renewed, Ok(Replaced::Applied));
            cluster.move_slot(slot, other_than(cluster.holder(slot)));
            let (end, expect): (_, fn(_) -> _) = match next {
                State::Released => (released(&life), Expect::Released),
                _ => (unknown(&life), Expect::Unknown),
            };
            let settled = store.replace(id(1), Expect::Held(life.token), &end).await;
            assert_eq!(settled, Ok(Replaced::Applied));
            cluster.move_slot(slot, other_than(cluster.holder(slot)));
            let again = claim();
            let taken = store.replace(id(1), expect(life.token), &again).await;
            assert_eq!(taken, Ok(Replaced::Applied));
            assert_eq!(
                store.look(id(1)).await.unwrap().unwrap().record,
                again,
                "after {next:?}"
            );
            life = again;
            next = State::Unknown;
        }
        assert!(cluster.refusals("MOVED") > before + 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_that_moved_is_seen_anew_and_the_others_are_not() {
    let (cluster, _turn) = shared().await;
    let (moving, slot) = tagged(cluster, "anew");
    let store: Redis = reach(cluster, &moving).await;
    let all = reach(cluster, &patient()).await;
    let long = std::time::Duration::from_millis(1500);
    // One record of the other store is in the slots of each node.
    eventually("both are steady", || async {
        store.steady(id(1)) > long && (0..30).all(|number| all.steady(id(number)) > long)
    })
    .await;
    let begun = std::time::Instant::now();
    cluster.move_slot(slot, other_than(cluster.holder(slot)));
    store.look(id(1)).await.unwrap();
    assert!(store.steady(id(1)) <= begun.elapsed());
    assert!(
        (0..30)
            .filter(|number| all.steady(id(*number)) > long)
            .count()
            >= 10,
        "a node that takes a slot, or gives one, is the same node"
    );
    assert_eq!(store.health().epoch_changes, 0, "nobody was replaced");
    eventually("it is steady again", || async {
        store.steady(id(1)) > std::time::Duration::from_millis(500)
    })
    .await;
}
