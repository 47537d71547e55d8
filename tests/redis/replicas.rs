//! `wait_replicas`: what a replica must have before it counts.

use idemproxy::idempotency::Expect;
use idemproxy::store::{Inserted, Redis, Replaced, Store, StoreError, StoreSettings};

use crate::records::*;
use crate::support::{Link, RedisServer, eventually};

fn replicated() -> StoreSettings {
    StoreSettings {
        wait_replicas: 1,
        ..settings()
    }
}

fn unanswered<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unanswered(_)))
}

async fn pair() -> (RedisServer, RedisServer, Redis) {
    let primary = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let store = Redis::connect(&primary.url(), &replicated()).await.unwrap();
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
        let store = Redis::connect(&primary.url(), &replicated()).await.unwrap();
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

#[tokio::test]
async fn a_claim_that_no_replica_has_is_not_won_where_writes_are_refused_since() {
    let (primary, replica, store) = pair().await;
    let first = claim();
    replica.freeze();
    assert!(unanswered(store.insert(id(1), &first).await));
    assert!(primary.get(&key(1)).is_some());
    primary.command(&["CONFIG", "SET", "min-replicas-to-write", "2"]);
    assert!(unanswered(store.insert(id(1), &first).await));
    let other = store.insert(id(1), &claim()).await;
    assert!(matches!(other, Ok(Inserted::Occupied(seen)) if seen.record == first));
    replica.thaw();
}

#[tokio::test]
async fn a_refused_wait_is_no_refusal_of_what_was_written() {
    let (primary, _replica, store) = pair().await;
    let held = claim();
    store.insert(id(1), &held).await.unwrap();
    primary.command(&[
        "ACL", "SETUSER", "app", "on", ">geheim", "~test:*", "+@all", "-wait",
    ]);
    let url = format!("redis://app:geheim@127.0.0.1:{}", primary.port());
    let store = Redis::connect(&url, &replicated()).await.unwrap();
    assert!(unanswered(store.insert(id(2), &claim()).await));
    assert!(primary.get(&key(2)).is_some(), "it was carried out");
    let done = completed(&held, 10);
    assert!(unanswered(
        store.replace(id(1), Expect::Held(held.token), &done).await
    ));
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_settlement_over_a_slow_link_is_confirmed() {
    let (primary, replica, _store) = pair().await;
    let link = Link::to(primary.port()).await;
    let patient = StoreSettings {
        timeout: std::time::Duration::from_secs(1),
        ..replicated()
    };
    let store = Redis::connect(&link.redis_url(), &patient).await.unwrap();
    let held = claim();
    store.insert(id(1), &held).await.unwrap();
    // 6 MB at 3 MB/s: two timeouts.
    link.throttle(3_000_000);
    let done = completed(&held, 6_000_000);
    assert_eq!(
        store.replace(id(1), Expect::Held(held.token), &done).await,
        Ok(Replaced::Applied)
    );
    assert!(replica.get(&key(1)).unwrap().len() > 6_000_000);
}

#[tokio::test]
async fn a_further_connection_that_leads_to_another_server_ends_the_session() {
    let (primary, _replica, _store) = pair().await;
    let link = Link::to(primary.port()).await;
    let patient = StoreSettings {
        timeout: std::time::Duration::from_secs(5),
        ..replicated()
    };
    let store = Redis::connect(&link.redis_url(), &patient).await.unwrap();
    eventually("the session is settled", || async {
        store.steady(id(1)) > std::time::Duration::from_millis(1100)
    })
    .await;
    let before = link.accepted();
    // Who answers from now on does not say that it is the one from before.
    link.rewrite_replies("run_id:", "not_id:");
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert_eq!(
        link.accepted(),
        before + 5,
        "the stranger, a session, and a connection beside it"
    );
}
