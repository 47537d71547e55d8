//! Slots on their way: some keys are here, some are there already.

use std::time::Duration;

use idemproxy::idempotency::{Expect, Lapse};
use idemproxy::store::{Inserted, Replaced, Store, StoreError};

use super::*;

/// Every state of records whose keys are at the new place already, or are made there, and small and large answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_lives_on_at_the_new_place_of_its_slot_before_that_has_moved() {
    let (cluster, _turn) = shared().await;
    for wait_replicas in [0, 1] {
        let (settings, slot) = tagged(cluster, &format!("asked{wait_replicas}"));
        let settings = StoreSettings {
            wait_replicas,
            ..settings
        };
        let store = reach(cluster, &settings).await;
        let old = claim();
        assert_eq!(store.insert(id(1), &old).await, Ok(Inserted::Created));
        assert_eq!(store.insert(id(2), &old).await, Ok(Inserted::Created));
        let to = other_than(cluster.holder(slot));
        cluster.begin_to_move(slot, to);
        assert!(!cluster.move_keys(slot, to, 1));
        // It has to learn the scripts before it can run them.
        cluster.node(to).command(&["SCRIPT", "FLUSH"]);
        let before = cluster.refusals("ASK");

        for number in 1..4 {
            let place = id(number);
            let mut life = old.clone();
            if number == 3 {
                assert_eq!(store.look(place).await, Ok(None));
                assert_eq!(store.insert(place, &old).await, Ok(Inserted::Created));
            }
            for other in [claim(), claim()] {
                let met = store.insert(place, &other).await;
                let Ok(Inserted::Occupied(seen)) = met else {
                    panic!("record {number} was claimed twice");
                };
                assert_eq!(seen.record, old);
                let taken = store
                    .replace(place, Expect::Lapsed(old.token), &other)
                    .await;
                // Where it is already elsewhere: how long that node was watched is another matter.
                let elsewhere = Err(StoreError::Refused("redis says ASK".to_owned()));
                assert!(
                    taken == Ok(Replaced::Stale) || taken == elsewhere,
                    "{taken:?}"
                );
            }
            let seen = store.look(place).await.unwrap().unwrap();
            assert_eq!((seen.record, seen.lapse), (old.clone(), Lapse::Live));
            let ends: [(_, fn(_) -> _); 2] = [
                (released(&life), Expect::Released),
                (unknown(&life), Expect::Unknown),
            ];
            for (mut end, expect) in ends {
                end.token = life.token;
                let renewed = store.renew(place, life.token).await;
                assert_eq!(renewed, Ok(Replaced::Applied));
                let settled = store.replace(place, Expect::Held(life.token), &end).await;
                assert_eq!(settled, Ok(Replaced::Applied));
                let renewed = store.renew(place, life.token).await;
                assert_eq!(renewed, Ok(Replaced::Stale));
                let next = claim();
                let taken = store.replace(place, expect(life.token), &next).await;
                assert_eq!(taken, Ok(Replaced::Applied));
                life = next;
            }
            for length in [10, 200_000] {
                let done = completed(&life, length);
                let again = claim();
                let settled = store.replace(place, Expect::Held(life.token), &done).await;
                assert_eq!(settled, Ok(Replaced::Applied));
                let met = store.insert(place, &again).await;
                assert!(matches!(met, Ok(Inserted::Occupied(seen)) if seen.record == done));
                assert_eq!(store.look(place).await.unwrap().unwrap().record, done);
                if length == 10 {
                    // By hand, as an operator would.
                    let key = format!("{}:{place}", settings.prefix);
                    for node in 0..3 {
                        let url = format!("redis://127.0.0.1:{}", cluster.node(node).port());
                        let mut connection =
                            redis::Client::open(url).unwrap().get_connection().unwrap();
                        let _: redis::RedisResult<redis::Value> =
                            redis::cmd("ASKING").query(&mut connection);
                        let _: redis::RedisResult<redis::Value> =
                            redis::cmd("DEL").arg(&key).query(&mut connection);
                    }
                    assert_eq!(store.insert(place, &again).await, Ok(Inserted::Created));
                    life = again;
                }
            }
        }
        assert!(cluster.refusals("ASK") > before + 20);
        assert_ne!(cluster.holder(slot), to);
        while !cluster.move_keys(slot, to, 10) {}
        cluster.end_move(slot, to);
        for number in 1..4 {
            let found = store.look(id(number)).await.unwrap();
            assert!(found.is_some_and(|seen| seen.record.response.is_some()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_on_its_way_is_not_steady() {
    let (cluster, _turn) = shared().await;
    let (settings, slot) = tagged(cluster, "unsteady");
    let store = reach(cluster, &settings).await;
    let first = claim();
    assert_eq!(store.insert(id(1), &first).await, Ok(Inserted::Created));
    let steady = || async { store.steady(id(1)) > Duration::from_millis(800) };
    eventually("it is steady", steady).await;
    let to = other_than(cluster.holder(slot));
    cluster.begin_to_move(slot, to);
    while !cluster.move_keys(slot, to, 10) {}
    let begun = std::time::Instant::now();
    let before = cluster.refusals("ASK");
    assert_eq!(
        store.renew(id(1), first.token).await,
        Ok(Replaced::Applied),
        "a heartbeat finds its record"
    );
    assert!(cluster.refusals("ASK") > before);
    assert!(store.steady(id(1)) <= begun.elapsed());
    cluster.end_move(slot, to);
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    eventually("it is steady again", steady).await;
    assert!(store.health().up);
}
