//! What a network does, and what the crate makes of it: each of these was seen to go wrong.

use std::time::{Duration, Instant};

use idemproxy::idempotency::{Expect, Record};
use idemproxy::store::{Inserted, Redis, Replaced, Store, StoreError, StoreSettings};

use crate::records::*;
use crate::support::{Link, RedisServer, eventually};

/// Far beyond one timeout, for a busy machine; far below the nine seconds that the crate took.
const SOON: Duration = Duration::from_secs(3);

async fn behind_a_link() -> (RedisServer, Link, Redis) {
    let server = RedisServer::start();
    let link = Link::to(server.port()).await;
    let store = connect(&link.redis_url()).await;
    (server, link, store)
}

async fn works(store: &Redis) -> bool {
    store.look(id(99)).await.is_ok()
}

fn unanswered<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unanswered(_)))
}

#[tokio::test]
async fn a_claim_that_timed_out_may_be_applied_later_and_is_found_by_its_token() {
    let (server, link, store) = behind_a_link().await;
    let first = claim();
    link.delay_requests(TIMEOUT + Duration::from_millis(300));
    assert!(unanswered(store.insert(id(1), &first).await));
    assert_eq!(server.get(&key(1)), None, "it has not arrived yet");
    eventually("the claim arrives late", || async {
        server.get(&key(1)).is_some()
    })
    .await;
    link.pass();
    eventually("it works again", || works(&store)).await;
    let Ok(Inserted::Occupied(seen)) = store.insert(id(1), &first).await else {
        panic!("claimed twice");
    };
    assert_eq!(seen.record, first);
}

#[tokio::test]
async fn a_claim_that_is_given_up_before_it_arrives_finds_the_key_taken() {
    let (server, link, store) = behind_a_link().await;
    let first = claim();
    link.delay_requests(TIMEOUT * 2);
    assert!(unanswered(store.insert(id(1), &first).await));
    let direct = connect(&server.url()).await;
    assert_eq!(
        direct
            .replace(id(1), Expect::Held(first.token), &released(&first))
            .await,
        Ok(Replaced::Restored)
    );
    link.pass();
    eventually("it works again", || works(&store)).await;
    assert_eq!(
        direct.look(id(1)).await.unwrap().unwrap().record,
        released(&first)
    );
}

#[tokio::test]
async fn an_operation_whose_reply_was_lost_is_unanswered_and_may_be_sent_again() {
    let (server, link, store) = behind_a_link().await;
    let first = claim();
    link.swallow_replies();
    assert!(unanswered(store.insert(id(1), &first).await));
    assert!(server.get(&key(1)).is_some(), "it was carried out");
    link.pass();
    eventually("the silent connections are replaced", || works(&store)).await;
    link.swallow_replies();
    let done = completed(&first, 10);
    assert!(unanswered(
        store.replace(id(1), Expect::Held(first.token), &done).await
    ));
    link.pass();
    eventually("the silent connections are replaced", || works(&store)).await;
    assert_eq!(
        store.replace(id(1), Expect::Held(first.token), &done).await,
        Ok(Replaced::Applied)
    );
}

#[tokio::test]
async fn a_silently_dead_connection_is_replaced() {
    let (_server, link, store) = behind_a_link().await;
    let before = link.accepted();
    link.blackhole();
    assert!(unanswered(store.insert(id(1), &claim()).await));
    link.pass();
    // What lost bytes stays dead: only new connections can work.
    eventually("it works over new connections", || works(&store)).await;
    assert!(link.accepted() > before);
    assert_eq!(store.insert(id(2), &claim()).await, Ok(Inserted::Created));
}

#[tokio::test]
async fn a_connection_that_was_closed_costs_no_operation() {
    let (_server, link, store) = behind_a_link().await;
    for number in 1..=5 {
        // The keeper is patient with a session that lasted; a quick succession of losses is another matter.
        eventually("the session is settled", || async {
            store.steady(id(1)) > Duration::from_millis(1100)
        })
        .await;
        link.cut();
        let first = claim();
        assert_eq!(
            store.insert(id(number), &first).await,
            Ok(Inserted::Created)
        );
        assert_eq!(
            store.renew(id(number), first.token).await,
            Ok(Replaced::Applied)
        );
    }
}

#[tokio::test]
async fn a_refusal_of_the_second_try_says_nothing_of_a_first_that_was_lost() {
    let server = RedisServer::start();
    let link = Link::to(server.port()).await;
    let patient = StoreSettings {
        timeout: Duration::from_secs(5),
        ..settings()
    };
    let store = Redis::connect(&link.redis_url(), &patient).await.unwrap();
    let (held, first) = (claim(), claim());
    let done = completed(&held, 10);
    store.insert(id(1), &held).await.unwrap();
    // So that the server knows the script.
    store
        .replace(id(3), Expect::Held(held.token), &done)
        .await
        .unwrap();
    eventually("the session is settled", || async {
        store.steady(id(1)) > Duration::from_millis(1100)
    })
    .await;
    link.delay_replies(Duration::from_secs(60));
    let breaking = async {
        eventually("both are carried out", || async {
            server.get(&key(1)).is_some_and(|frame| frame[4] == 4) && server.get(&key(2)).is_some()
        })
        .await;
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        link.pass();
        link.cut();
    };
    let (settled, claimed, ()) = tokio::join!(
        store.replace(id(1), Expect::Held(held.token), &done),
        store.insert(id(2), &first),
        breaking
    );
    assert!(unanswered(settled));
    assert!(unanswered(claimed));
    let other = store.insert(id(2), &claim()).await;
    assert!(matches!(other, Ok(Inserted::Occupied(seen)) if seen.record == first));
}

#[tokio::test]
async fn a_server_that_is_down_is_told_within_the_timeout_and_found_again() {
    let mut server = RedisServer::start();
    let store = connect(&server.url()).await;
    server.stop();
    eventually("its absence is noticed", || async { !works(&store).await }).await;
    for number in 0..20 {
        let asked = Instant::now();
        let result = store.insert(id(number), &claim()).await;
        assert!(
            matches!(
                result,
                Err(StoreError::Refused(_) | StoreError::Unanswered(_))
            ),
            "{result:?}"
        );
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
    eventually("what is never sent is refused", || async {
        matches!(
            store.insert(id(1), &claim()).await,
            Err(StoreError::Refused(_))
        )
    })
    .await;
    assert!(!store.health().up);
    server.restart();
    eventually("it is found again", || works(&store)).await;
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    eventually("it is well", || async { store.health().up }).await;
}

#[tokio::test]
async fn a_frozen_server_is_told_within_the_timeout_and_found_again() {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    server.freeze();
    let first = claim();
    let mut refused = 0;
    for _ in 0..10 {
        let asked = Instant::now();
        let result = store.insert(id(1), &first).await;
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        match result {
            Err(StoreError::Unanswered(_)) => {}
            Err(StoreError::Refused(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "a server known to be away is not waited for");
    server.thaw();
    eventually("it is found again", || works(&store)).await;
    match store.insert(id(1), &first).await.unwrap() {
        Inserted::Created => {}
        Inserted::Occupied(seen) => assert_eq!(seen.record, first),
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_found_when_it_comes() {
    let mut server = RedisServer::absent(&[]);
    let store = connect(&server.url()).await;
    assert!(matches!(
        store.insert(id(1), &claim()).await,
        Err(StoreError::Refused(_))
    ));
    assert!(!store.health().up && store.steady(id(1)).is_zero());
    server.restart();
    eventually("it is found", || works(&store)).await;
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert_eq!(store.health().epoch_changes, 0);
}

#[tokio::test]
async fn steadiness_ends_with_every_break_and_grows_on_its_own() {
    let (mut server, link, store) = {
        let server = RedisServer::start();
        let link = Link::to(server.port()).await;
        let store = connect(&link.redis_url()).await;
        (server, link, store)
    };
    let steady = |at_least: u64| {
        let store = &store;
        move || async move { store.steady(id(1)) > Duration::from_millis(at_least) }
    };
    let begun = Instant::now();
    eventually("it grows while nothing is asked", steady(1500)).await;
    assert!(store.steady(id(1)) < begun.elapsed() + SOON);
    let shaken = || async { store.steady(id(1)) < Duration::from_millis(1000) };
    link.blackhole();
    eventually("silence ends it", shaken).await;
    link.pass();
    eventually("it grows again", steady(1200)).await;
    link.cut();
    eventually("a cut ends it", shaken).await;
    eventually("it grows again", steady(1200)).await;
    server.freeze();
    eventually("a frozen server ends it", shaken).await;
    server.thaw();
    eventually("it grows again", steady(1200)).await;
    server.restart();
    eventually("another server ends it", shaken).await;
    eventually("the new server is met", || async {
        store.health().epoch_changes == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_do_not_hold_up_small_claims() {
    let server = RedisServer::start();
    let direct = connect(&server.url()).await;
    let large: Vec<Record> = (0..8).map(|_| completed(&claim(), 4_000_000)).collect();
    for (number, record) in (100..).zip(&large) {
        assert_eq!(
            direct.insert(id(number), record).await,
            Ok(Inserted::Created)
        );
    }
    let link = Link::to(server.port()).await;
    let patient = StoreSettings {
        timeout: Duration::from_secs(1),
        ..settings()
    };
    let store = std::sync::Arc::new(Redis::connect(&link.redis_url(), &patient).await.unwrap());
    let connections = link.accepted();
    // 32 MB at 8 MB/s: four seconds, several timeouts.
    link.throttle(8_000_000);
    let fetching: Vec<_> = (100..)
        .zip(large)
        .map(|(number, record)| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let inserted = store.insert(id(number), &claim()).await;
                matches!(inserted, Ok(Inserted::Occupied(seen)) if seen.record == record)
            })
        })
        .collect();
    let mut small = 0;
    while !fetching.iter().all(tokio::task::JoinHandle::is_finished) {
        let first = claim();
        let number = (small % 90) as u8;
        assert_eq!(
            store.insert(id(number), &first).await,
            Ok(Inserted::Created),
            "claim {small}"
        );
        assert_eq!(
            store.renew(id(number), first.token).await,
            Ok(Replaced::Applied)
        );
        server.command(&["DEL", &key(number)]);
        small += 1;
    }
    assert!(small > 5, "{small} small claims went by");
    for fetched in fetching {
        assert!(fetched.await.unwrap(), "a slow answer is waited for");
    }
    assert_eq!(
        link.accepted(),
        connections,
        "a slow connection is no dead one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_settlements_do_not_hold_up_small_claims() {
    let server = RedisServer::start();
    let link = Link::to(server.port()).await;
    let patient = StoreSettings {
        timeout: Duration::from_secs(1),
        ..settings()
    };
    let store = std::sync::Arc::new(Redis::connect(&link.redis_url(), &patient).await.unwrap());
    let connections = link.accepted();
    let large: Vec<Record> = (0..4).map(|_| completed(&claim(), 4_000_000)).collect();
    // 16 MB at 6 MB/s: several timeouts.
    link.throttle(6_000_000);
    let settling: Vec<_> = (100..)
        .zip(large)
        .map(|(number, record)| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .replace(id(number), Expect::Held(record.token), &record)
                    .await
            })
        })
        .collect();
    let mut small = 0;
    while !settling.iter().all(tokio::task::JoinHandle::is_finished) {
        let number = (small % 90) as u8;
        assert_eq!(
            store.insert(id(number), &claim()).await,
            Ok(Inserted::Created),
            "claim {small}"
        );
        server.command(&["DEL", &key(number)]);
        small += 1;
    }
    for settled in settling {
        assert_eq!(
            settled.await.unwrap(),
            Ok(Replaced::Restored),
            "a slow write is waited for"
        );
    }
    assert!(small > 5, "{small} small claims went by");
    assert_eq!(
        link.accepted(),
        connections,
        "a slow connection is no dead one"
    );
}

#[tokio::test]
async fn a_claim_whose_answer_is_slow_is_answered_all_the_same() {
    let (_server, link, store) = behind_a_link().await;
    // Beyond the point where a claim is asked after, and below the timeout.
    link.delay_replies(TIMEOUT / 3);
    let first = claim();
    match store.insert(id(1), &first).await.unwrap() {
        Inserted::Created => {}
        Inserted::Occupied(seen) => assert_eq!(seen.record, first),
    }
}
