//! The rules that hold in every store.

use std::time::Duration;

use futures_util::future::{join, join_all};
use idemproxy::idempotency::{Expect, Lapse, Record, State};
use idemproxy::store::{Inserted, Redis, Replaced, Store, StoreError};

use crate::records::*;
use crate::support::{RedisServer, eventually};

async fn fresh() -> (RedisServer, Redis) {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    (server, store)
}

fn occupied(inserted: Inserted) -> Record {
    match inserted {
        Inserted::Occupied(seen) => seen.record,
        Inserted::Created => panic!("it was created"),
    }
}

#[tokio::test]
async fn a_key_is_claimed_once_and_the_second_claim_meets_the_first() {
    let (_server, store) = fresh().await;
    let (first, second) = (claim(), claim());
    assert_eq!(store.look(id(1)).await, Ok(None));
    assert_eq!(store.insert(id(1), &first).await, Ok(Inserted::Created));
    let Inserted::Occupied(seen) = store.insert(id(1), &second).await.unwrap() else {
        panic!("claimed twice");
    };
    assert_eq!((seen.record, seen.lapse), (first.clone(), Lapse::Untold));
    assert_eq!(
        occupied(store.insert(id(1), &first).await.unwrap()),
        first,
        "its own claim, asked again"
    );
}

#[tokio::test]
async fn an_answer_comes_back_byte_for_byte() {
    let (_server, store) = fresh().await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    for (number, length) in [(2, 0), (3, 1000), (4, 3_000_000)] {
        let done = completed(&first, length);
        assert_eq!(
            store.insert(id(number), &first).await,
            Ok(Inserted::Created)
        );
        assert_eq!(
            store
                .replace(id(number), Expect::Held(first.token), &done)
                .await,
            Ok(Replaced::Applied)
        );
        assert!(occupied(store.insert(id(number), &claim()).await.unwrap()) == done);
        let seen = store.look(id(number)).await.unwrap().unwrap();
        assert!(seen.record == done && seen.lapse == Lapse::Live);
    }
}

#[tokio::test]
async fn a_settlement_needs_the_token_and_may_be_sent_again() {
    let (_server, store) = fresh().await;
    let first = claim();
    let held = Expect::Held(first.token);
    store.insert(id(1), &first).await.unwrap();
    let stranger = claim();
    assert_eq!(
        store
            .replace(
                id(1),
                Expect::Held(stranger.token),
                &completed(&stranger, 1)
            )
            .await,
        Ok(Replaced::Stale)
    );
    assert_eq!(
        store.replace(id(1), held, &unknown(&first)).await,
        Ok(Replaced::Applied)
    );
    let done = completed(&first, 10);
    assert_eq!(
        store.replace(id(1), held, &done).await,
        Ok(Replaced::Applied),
        "from unknown"
    );
    assert_eq!(
        store.replace(id(1), held, &done).await,
        Ok(Replaced::Applied),
        "again"
    );
    assert_eq!(
        store.replace(id(1), held, &released(&first)).await,
        Ok(Replaced::Stale),
        "completed is final"
    );
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, done);
}

#[tokio::test]
async fn a_lost_record_is_restored_by_its_settlement_and_by_nothing_else() {
    let (_server, store) = fresh().await;
    let first = claim();
    let next = claim();
    for expect in [
        Expect::Released(first.token),
        Expect::Unknown(first.token),
        Expect::Lapsed(first.token),
    ] {
        assert_eq!(
            store.replace(id(1), expect, &next).await,
            Ok(Replaced::Stale)
        );
    }
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Stale));
    assert_eq!(store.look(id(1)).await, Ok(None));
    let done = completed(&first, 10);
    assert_eq!(
        store.replace(id(1), Expect::Held(first.token), &done).await,
        Ok(Replaced::Restored)
    );
    assert_eq!(
        store.replace(id(1), Expect::Held(first.token), &done).await,
        Ok(Replaced::Applied)
    );
}

#[tokio::test]
async fn a_released_or_unknown_record_is_claimed_over_by_one_who_names_its_token() {
    let (_server, store) = fresh().await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    store
        .replace(id(1), Expect::Held(first.token), &released(&first))
        .await
        .unwrap();
    let next = claim();
    assert_eq!(
        store
            .replace(id(1), Expect::Unknown(first.token), &next)
            .await,
        Ok(Replaced::Stale)
    );
    assert_eq!(
        store
            .replace(id(1), Expect::Released(next.token), &claim())
            .await,
        Ok(Replaced::Stale)
    );
    assert_eq!(
        store
            .replace(id(1), Expect::Released(first.token), &next)
            .await,
        Ok(Replaced::Applied)
    );
    assert_eq!(
        store
            .replace(id(1), Expect::Released(first.token), &next)
            .await,
        Ok(Replaced::Applied),
        "again"
    );
    assert_eq!(
        store
            .replace(id(1), Expect::Released(first.token), &claim())
            .await,
        Ok(Replaced::Stale)
    );
    store
        .replace(id(1), Expect::Held(next.token), &unknown(&next))
        .await
        .unwrap();
    let third = claim();
    assert_eq!(
        store
            .replace(id(1), Expect::Unknown(next.token), &third)
            .await,
        Ok(Replaced::Applied)
    );
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, third);
}

#[tokio::test]
async fn a_lapsed_lease_is_taken_over_and_a_live_one_is_not() {
    let (_server, store) = fresh().await;
    let first = Record {
        lease: Duration::from_millis(300),
        ..claim()
    };
    let live = claim();
    store.insert(id(1), &first).await.unwrap();
    store.insert(id(2), &live).await.unwrap();
    let lapsed = || async { store.look(id(1)).await.unwrap().unwrap().lapse == Lapse::Lapsed };
    eventually("the lease lapses", lapsed).await;
    assert_eq!(store.look(id(2)).await.unwrap().unwrap().lapse, Lapse::Live);
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    assert_eq!(
        store.look(id(1)).await.unwrap().unwrap().lapse,
        Lapse::Live,
        "a late heartbeat revives it"
    );
    assert_eq!(
        store
            .replace(id(2), Expect::Lapsed(live.token), &claim())
            .await,
        Ok(Replaced::Stale)
    );
    eventually("the lease lapses", lapsed).await;
    let next = claim();
    assert_eq!(
        store
            .replace(id(1), Expect::Lapsed(first.token), &next)
            .await,
        Ok(Replaced::Applied)
    );
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Stale));
    assert_eq!(
        store
            .replace(id(1), Expect::Held(first.token), &completed(&first, 1))
            .await,
        Ok(Replaced::Stale)
    );
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, next);
}

#[tokio::test]
async fn a_look_that_meets_a_settlement_takes_no_claim_for_lapsed() {
    let (_server, store) = fresh().await;
    let mut met = [0; 2];
    for number in 0..200 {
        let first = claim();
        let done = Record {
            // What is left of this, beside the claim's own time to live, would look like a lease long gone.
            ttl: first.ttl / 2,
            ..completed(&first, 1)
        };
        let id = id(number);
        store.insert(id, &first).await.unwrap();
        let settled = store.replace(id, Expect::Held(first.token), &done);
        let looks = join_all((0..8).map(|_| store.look(id)));
        let (looks, settled) = join(looks, settled).await;
        assert_eq!(settled, Ok(Replaced::Applied));
        for seen in looks {
            let seen = seen.unwrap().unwrap();
            assert_eq!(seen.lapse, Lapse::Live, "{:?}", seen.record.state);
            met[usize::from(seen.record.state == State::Completed)] += 1;
        }
        let seen = store.look(id).await.unwrap().unwrap();
        met[usize::from(seen.record.state == State::Completed)] += 1;
    }
    assert!(met.iter().all(|times| *times > 0), "{met:?}");
}

#[tokio::test]
async fn a_heartbeat_needs_the_token_and_a_claim_in_flight() {
    let (server, store) = fresh().await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    server.command(&["PEXPIRE", &key(1), "100000"]);
    assert_eq!(store.renew(id(1), claim().token).await, Ok(Replaced::Stale));
    assert!(left(&server, 1) <= 100_000);
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    assert!(
        left(&server, 1) > 3_000_000,
        "the record's own time to live"
    );
    store
        .replace(id(1), Expect::Held(first.token), &unknown(&first))
        .await
        .unwrap();
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Stale));
}

#[tokio::test]
async fn a_record_lives_for_its_time_to_live_and_not_for_its_lease() {
    let (server, store) = fresh().await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    assert!((3_000_000..=3_600_000).contains(&left(&server, 1)));
    let brief = Record {
        ttl: Duration::from_millis(200),
        ..completed(&first, 1)
    };
    store
        .replace(id(1), Expect::Held(first.token), &brief)
        .await
        .unwrap();
    eventually("the record expires", || async {
        store.look(id(1)).await == Ok(None)
    })
    .await;
    for (number, ttl) in [(2, Duration::ZERO), (3, Duration::MAX)] {
        let odd = Record {
            ttl,
            lease: Duration::MAX,
            ..claim()
        };
        assert_eq!(store.insert(id(number), &odd).await, Ok(Inserted::Created));
    }
    assert_eq!(store.look(id(3)).await.unwrap().unwrap().lapse, Lapse::Live);
    assert!(left(&server, 3) > 0);
}

#[tokio::test]
async fn without_an_expiry_a_lease_does_not_lapse() {
    let (server, store) = fresh().await;
    let first = Record {
        lease: Duration::ZERO,
        ..claim()
    };
    store.insert(id(1), &first).await.unwrap();
    server.command(&["PERSIST", &key(1)]);
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().lapse, Lapse::Live);
    assert_eq!(
        store
            .replace(id(1), Expect::Lapsed(first.token), &claim())
            .await,
        Ok(Replaced::Stale)
    );
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    assert!(left(&server, 1) > 0, "a heartbeat mends it");
}

#[tokio::test]
async fn what_is_no_record_that_this_version_reads_is_told_and_left_as_it_is() {
    let (server, store) = fresh().await;
    let mut newer = b"IDP\x03".to_vec();
    newer.extend([3; 200]);
    let newer = String::from_utf8(newer).unwrap();
    server.command(&["SET", &key(1), &newer]);
    server.command(&[
        "SET",
        &key(2),
        "something else altogether, long enough to hold a header",
    ]);
    server.command(&["SET", &key(3), ""]);
    server.command(&["HSET", &key(4), "a", "b"]);
    server.command(&["SET", &key(5), &newer.repeat(1000)]);
    server.command(&["SET", &key(6), &newer.replace("IDP\x03\x03", "IDP\x01\x09")]);
    let dump = |number| server.command(&["DUMP", &key(number)]);
    for number in 1..=6 {
        let before = dump(number);
        let unreadable = |what: &str, result: Option<StoreError>| {
            assert!(
                matches!(result, Some(StoreError::Unreadable(_))),
                "{what} of {number}: {result:?}"
            );
        };
        let next = claim();
        unreadable("insert", store.insert(id(number), &next).await.err());
        unreadable("look", store.look(id(number)).await.err());
        unreadable("renew", store.renew(id(number), next.token).await.err());
        for expect in [
            Expect::Released(next.token),
            Expect::Unknown(next.token),
            Expect::Lapsed(next.token),
            Expect::Held(next.token),
        ] {
            unreadable(
                "replace",
                store.replace(id(number), expect, &next).await.err(),
            );
            unreadable(
                "settle",
                store
                    .replace(id(number), expect, &completed(&next, 1))
                    .await
                    .err(),
            );
        }
        assert_eq!(dump(number), before);
    }
}

#[tokio::test]
async fn of_many_claims_at_once_one_wins() {
    let (_server, store) = fresh().await;
    let store = &store;
    let claims: Vec<Record> = (0..64).map(|_| claim()).collect();
    let results =
        futures_util::future::join_all(claims.iter().map(|claim| store.insert(id(1), claim))).await;
    let winners: Vec<&Record> = claims
        .iter()
        .zip(&results)
        .filter(|(_, result)| **result == Ok(Inserted::Created))
        .map(|(claim, _)| claim)
        .collect();
    assert_eq!(winners.len(), 1);
    for result in results
        .into_iter()
        .map(Result::unwrap)
        .filter(|result| *result != Inserted::Created)
    {
        assert_eq!(&occupied(result), winners[0]);
    }
}

#[tokio::test]
async fn stores_with_other_prefixes_do_not_meet() {
    let (server, store) = fresh().await;
    let other = idemproxy::store::StoreSettings {
        prefix: "other".to_owned(),
        ..settings()
    };
    let other = Redis::connect(&server.url(), &other).await.unwrap();
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert_eq!(other.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert_eq!(
        store.look(id(1)).await.unwrap().unwrap().record.state,
        State::InFlight
    );
}

fn left(server: &RedisServer, number: u8) -> i64 {
    redis::from_redis_value(server.command(&["PTTL", &key(number)])).unwrap()
}
