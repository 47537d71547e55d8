//! A node that dies, and the replica that takes its place.

use std::time::{Duration, Instant};

use idemproxy::idempotency::{Expect, RecordId};
use idemproxy::store::{Inserted, Replaced, Store};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_takes_the_place_of_a_killed_node_and_the_other_slots_never_stop() {
    let mut cluster = tokio::task::spawn_blocking(RedisCluster::start)
        .await
        .unwrap();
    let store = reach(&cluster, &patient()).await;
    let slot_of = |number| cluster.slot(&key(number));
    let (lost, spared): (Vec<u8>, Vec<u8>) =
        (1..60).partition(|number| cluster.holder(slot_of(*number)) == 0);
    assert!(lost.len() >= 5 && spared.len() >= 5);
    let (its, anothers) = (id(lost[0]), id(spared[0]));
    let slot = slot_of(lost[0]);
    let first = claim();
    for number in 1..60 {
        let made = store.insert(id(number), &first).await;
        assert_eq!(made, Ok(Inserted::Created));
    }
    let size = |node: usize| cluster.node(node).command(&["DBSIZE"]);
    eventually("the replica has them", || async { size(3) == size(0) }).await;
    let long = Duration::from_millis(1500);
    eventually("all are steady", || async {
        store.steady(its) > long && store.steady(anothers) > long
    })
    .await;

    let before = store.steady(anothers);
    cluster.node_mut(0).stop();
    let killed = Instant::now();
    let promoted = {
        let cluster = &cluster;
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let watching = scope.spawn(|| cluster.promoted(0, slot));
                let runtime = tokio::runtime::Handle::current();
                let (mut refused, mut flowed) = (0, 0);
                while !watching.is_finished() {
                    runtime.block_on(async {
                        let renewed = store.renew(anothers, first.token).await;
                        assert_eq!(renewed, Ok(Replaced::Applied), "its node is there");
                        flowed += 1;
                        refused += u32::from(store.renew(its, first.token).await.is_err());
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    });
                }
                println!(
                    "{flowed} heartbeats of other slots went on, {refused} of the lost ones did not"
                );
                assert!(flowed > 10 && refused > 10);
                watching.join().unwrap()
            })
        })
    };
    assert_eq!(promoted, 3);
    eventually("its slots are served again", || async {
        store.renew(its, first.token).await == Ok(Replaced::Applied)
    })
    .await;
    println!("served again {:?} after the kill", killed.elapsed());
    assert!(
        store.steady(its) < killed.elapsed(),
        "the replica is seen anew"
    );
    assert!(
        store.steady(anothers) > before,
        "the other node is the same"
    );
    eventually("it is up", || async { store.health().up }).await;
    let health = store.health();
    assert_eq!(health.epoch_changes, 1, "{health:?}");
    let name = format!("127.0.0.1:{}", cluster.node(3).port());
    assert!(health.notes.iter().any(|note| note.contains(&name)));
    let name = format!("127.0.0.1:{}", cluster.node(0).port());
    assert!(!health.notes.iter().any(|note| note.contains(&name)));

    for number in lost {
        let met = store.insert(id(number), &claim()).await;
        assert!(matches!(met, Ok(Inserted::Occupied(seen)) if seen.record == first));
        let done = completed(&first, 10);
        let place: RecordId = id(number);
        let settled = store.replace(place, Expect::Held(first.token), &done).await;
        assert_eq!(settled, Ok(Replaced::Applied));
    }
    cluster.node_mut(0).restart();
    eventually("the old one follows the new one", || async {
        let info = cluster.node(0).command(&["INFO", "replication"]);
        let info: String = redis::from_redis_value(info).unwrap();
        info.contains("role:slave")
    })
    .await;
    eventually("it is steady again", || async { store.steady(its) > long }).await;
    assert!(store.health().up);
    assert_eq!(store.health().epoch_changes, 1);
}
