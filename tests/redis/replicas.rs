//! `wait_replicas`: what a replica must have before it counts.

use idemproxy::idempotency::Expect;
use idemproxy::store::{Inserted, Redis, Replaced, Store, StoreError, StoreSettings};

use crate::records::*;
use crate::support::{RedisServer, eventually};

async fn pair() -> (RedisServer, RedisServer, Redis) {
    let primary = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let settings = StoreSettings {
        wait_replicas: 1,
        ..settings()
    };
    let store = Redis::connect(&primary.url(), &settings).await.unwrap();
    // Just connected, a replica may still be loading.
    let first = claim();
    eventually("the replica follows", || async {
        store.insert(id(0), &first).await.is_ok()
    })
    .await;
    (primary, replica, store)
}

#[tokio::test]
async fn a_claim_and_a_settlement_are_on_the_replica_when_they_are_done() {
    let (_primary, replica, store) = pair().await;
    for number in 1..20 {
        let first = claim();
        assert_eq!(
            store.insert(id(number), &first).await,
            Ok(Inserted::Created)
        );
        assert!(replica.get(&key(number)).is_some());
        let done = completed(&first, 40_000);
        assert_eq!(
            store
                .replace(id(number), Expect::Held(first.token), &done)
                .await,
            Ok(Replaced::Applied)
        );
        assert!(replica.get(&key(number)).unwrap().len() > 40_000);
    }
}

#[tokio::test]
async fn what_a_replica_lacks_is_unanswered_however_often_it_is_asked() {
    let (primary, replica, store) = pair().await;
    let (held, first) = (claim(), claim());
    store.insert(id(1), &held).await.unwrap();
    replica.freeze();
    let done = completed(&held, 10);
    for _ in 0..3 {
        // Over connections that wrote nothing yet, for which WAIT would have nothing to wait for.
        let settings = StoreSettings {
            wait_replicas: 1,
            ..settings()
        };
        let store = Redis::connect(&primary.url(), &settings).await.unwrap();
        assert!(matches!(
            store.insert(id(2), &first).await,
            Err(StoreError::Unanswered(_))
        ));
        let settled = store.replace(id(1), Expect::Held(held.token), &done).await;
        assert!(
            matches!(settled, Err(StoreError::Unanswered(_))),
            "{settled:?}"
        );
    }
    assert!(primary.get(&key(2)).is_some(), "the primary has it");
    replica.thaw();
    eventually("the replica has the claim", || async {
        matches!(store.insert(id(2), &first).await, Ok(Inserted::Occupied(seen)) if seen.record == first)
    })
    .await;
    eventually("the replica has the settlement", || async {
        store.replace(id(1), Expect::Held(held.token), &done).await == Ok(Replaced::Applied)
    })
    .await;
    assert!(replica.get(&key(2)).is_some());
}

#[tokio::test]
async fn a_slow_replica_does_not_hold_up_what_needs_none() {
    let (_primary, replica, store) = pair().await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    replica.freeze();
    let number = claim();
    let waiting = store.insert(id(2), &number);
    let looking = store.look(id(1));
    let (waited, looked) = tokio::join!(waiting, looking);
    assert!(matches!(waited, Err(StoreError::Unanswered(_))));
    assert_eq!(looked.unwrap().unwrap().record, first);
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    replica.thaw();
}
