//! What a server may be, and may turn into.

use idemproxy::idempotency::{Expect, Lapse, Record};
use idemproxy::store::{
    Inserted, Redis, RedisSetupError, Replaced, Store, StoreError, StoreSettings,
};

use crate::records::*;
use crate::support::{Link, RedisServer, eventually};

fn refused<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused(_)))
}

fn noted(store: &Redis, what: &str) -> bool {
    store.health().notes.iter().any(|note| note.contains(what))
}

/// Takes all memory that there is.
fn fill(server: &RedisServer) {
    let block = "x".repeat(100_000);
    for number in 0..1000 {
        if server
            .try_command(&["SET", &format!("filling:{number}"), &block])
            .is_err()
        {
            break;
        }
    }
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
}

#[tokio::test]
async fn a_full_server_takes_no_claims_and_still_replays_renews_and_settles() {
    let server = RedisServer::with(&["--maxmemory", "8mb"]);
    let store = connect(&server.url()).await;
    let (held, done, free) = (claim(), claim(), claim());
    store.insert(id(1), &held).await.unwrap();
    store.insert(id(2), &done).await.unwrap();
    store
        .replace(id(2), Expect::Held(done.token), &completed(&done, 100))
        .await
        .unwrap();
    store.insert(id(3), &free).await.unwrap();
    store
        .replace(id(3), Expect::Held(free.token), &released(&free))
        .await
        .unwrap();
    fill(&server);
    assert_eq!(
        store.insert(id(4), &claim()).await,
        Err(StoreError::Refused("redis says OOM".to_owned()))
    );
    let Ok(Inserted::Occupied(seen)) = store.insert(id(2), &claim()).await else {
        panic!("a stored answer is not brought back");
    };
    assert_eq!(seen.record, completed(&done, 100));
    assert!(refused(
        store
            .replace(id(3), Expect::Released(free.token), &claim())
            .await
    ));
    assert_eq!(store.renew(id(1), held.token).await, Ok(Replaced::Applied));
    assert_eq!(
        store
            .replace(id(1), Expect::Held(held.token), &completed(&held, 1000))
            .await,
        Ok(Replaced::Applied)
    );
    eventually("it is said", || async {
        noted(&store, "memory is full") && !store.health().up
    })
    .await;
    server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    assert_eq!(store.insert(id(4), &claim()).await, Ok(Inserted::Created));
    eventually("it is well", || async { store.health().up }).await;
}

#[tokio::test]
async fn a_server_that_may_evict_is_refused_at_the_start_unless_that_is_allowed() {
    let server = RedisServer::with(&["--maxmemory-policy", "volatile-ttl"]);
    let refused = Redis::connect(&server.url(), &settings()).await.err();
    assert_eq!(
        refused,
        Some(RedisSetupError::Evicts("volatile-ttl".to_owned()))
    );
    let allowing = StoreSettings {
        allow_eviction: true,
        ..settings()
    };
    let store = Redis::connect(&server.url(), &allowing).await.unwrap();
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert!(noted(&store, "volatile-ttl"), "and it is said");
}

#[tokio::test]
async fn a_server_that_begins_to_evict_takes_no_claims_until_that_is_mended() {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    let (held, free) = (claim(), claim());
    store.insert(id(1), &held).await.unwrap();
    store.insert(id(2), &free).await.unwrap();
    store
        .replace(id(2), Expect::Held(free.token), &released(&free))
        .await
        .unwrap();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    eventually("it is found out", || async {
        let tried = refused(store.insert(id(3), &claim()).await);
        server.command(&["DEL", &key(3)]);
        tried
    })
    .await;
    assert!(!store.health().up && noted(&store, "allkeys-lru"));
    assert!(refused(
        store
            .replace(id(2), Expect::Released(free.token), &claim())
            .await
    ));
    assert!(
        matches!(store.insert(id(1), &claim()).await, Ok(Inserted::Occupied(seen)) if seen.record == held)
    );
    assert_eq!(store.renew(id(1), held.token).await, Ok(Replaced::Applied));
    assert_eq!(
        store
            .replace(id(1), Expect::Held(held.token), &completed(&held, 1))
            .await,
        Ok(Replaced::Applied)
    );
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    eventually("it is mended", || async {
        store.insert(id(3), &claim()).await == Ok(Inserted::Created)
    })
    .await;
    eventually("it is well", || async { store.health().up }).await;
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_left_and_nothing_is_claimed_there() {
    let (primary, server) = (RedisServer::start(), RedisServer::start());
    let store = connect(&server.url()).await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    assert!(refused(store.insert(id(2), &claim()).await));
    assert!(refused(
        store
            .replace(id(1), Expect::Held(first.token), &completed(&first, 1))
            .await
    ));
    eventually("it is said", || async { noted(&store, "replica") }).await;
    assert!(store.steady(id(1)).is_zero() && !store.health().up);
    assert!(
        refused(store.look(id(1)).await),
        "and what it holds is not believed"
    );
    server.command(&["REPLICAOF", "NO", "ONE"]);
    eventually("it is taken again", || async {
        store.insert(id(3), &claim()).await == Ok(Inserted::Created)
    })
    .await;
    assert!(store.health().epoch_changes > 0, "its history is another");
}

#[tokio::test]
async fn a_server_that_lost_everything_is_another_and_gets_the_settlement_back() {
    let mut server = RedisServer::start();
    let store = connect(&server.url()).await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    assert_eq!(store.health().epoch_changes, 0);
    server.restart();
    eventually("it is noticed", || async {
        store.health().epoch_changes == 1
    })
    .await;
    assert!(noted(&store, "another server"));
    assert_eq!(
        store
            .replace(id(1), Expect::Held(first.token), &completed(&first, 1))
            .await,
        Ok(Replaced::Restored)
    );
}

#[tokio::test]
async fn what_is_written_to_an_append_only_file_outlives_a_crash() {
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = connect(&server.url()).await;
    assert!(!noted(&store, "persistence") && !noted(&store, "append-only"));
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    server.restart();
    eventually("it is back", || async { store.look(id(1)).await.is_ok() }).await;
    assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, first);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    for _ in 0..3 {
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(store.look(id(1)).await.unwrap().unwrap().record, first);
    }
    server.command(&["SCRIPT", "FLUSH"]);
    let done = completed(&first, 100_000);
    assert_eq!(
        store.replace(id(1), Expect::Held(first.token), &done).await,
        Ok(Replaced::Applied)
    );
}

#[tokio::test]
async fn a_server_that_wants_more_replicas_than_it_has_takes_no_heartbeat_and_is_not_steady() {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    let first = claim();
    store.insert(id(1), &first).await.unwrap();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(refused(store.insert(id(2), &claim()).await));
    assert!(
        matches!(store.insert(id(1), &claim()).await, Ok(Inserted::Occupied(seen)) if seen.record == first)
    );
    assert!(refused(store.renew(id(1), first.token).await));
    eventually("it is said", || async { noted(&store, "NOREPLICAS") }).await;
    assert!(store.steady(id(1)).is_zero());
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    eventually("it is well", || async {
        store.health().up && !store.steady(id(1)).is_zero()
    })
    .await;
}

#[tokio::test]
async fn a_server_without_persistence_says_so() {
    let server = RedisServer::start();
    let store = connect(&server.url()).await;
    assert!(noted(&store, "no persistence"), "{:?}", store.health());
    assert!(noted(&store, "version "));
    let calls = |command: &str| {
        let info: String =
            redis::from_redis_value(server.command(&["INFO", "commandstats"])).unwrap();
        let after = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(&after));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok())
            .unwrap_or_default()
    };
    let heard = store.steady(id(1)) + std::time::Duration::from_secs(4);
    eventually("it is asked about itself again", || async {
        store.steady(id(1)) > heard
    })
    .await;
    // A session begins with three times INFO.
    assert!(
        calls("config|get") * 3 < calls("info"),
        "what may be refused, and logged, is asked once a session"
    );
    assert!(noted(&store, "no persistence"));
}

#[tokio::test]
async fn a_server_that_no_longer_says_whether_it_evicts_is_held_to_what_it_said() {
    let server = RedisServer::start();
    server.command(&[
        "ACL", "SETUSER", "app", "on", ">geheim", "~test:*", "+@all", "-config",
    ]);
    let store = connect(&format!("redis://app:geheim@127.0.0.1:{}", server.port())).await;
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    eventually("it is found out", || async { noted(&store, "allkeys-lru") }).await;
    server.command(&["ACL", "SETUSER", "app", "-info"]);
    eventually("it says no more", || async {
        noted(&store, "INFO is forbidden")
    })
    .await;
    assert!(refused(store.insert(id(1), &claim()).await));
    assert!(noted(&store, "allkeys-lru"));
}

#[tokio::test]
async fn a_wall_clock_that_steps_forward_is_a_break() {
    let server = RedisServer::start();
    let link = Link::to(server.port()).await;
    let store = connect(&link.redis_url()).await;
    eventually("it is steady", || async {
        store.steady(id(1)) > std::time::Duration::from_millis(1500)
    })
    .await;
    link.rewrite_replies("server_time_usec:1", "server_time_usec:2");
    eventually("the step is seen", || async {
        store.steady(id(1)) < std::time::Duration::from_millis(1000)
    })
    .await;
    eventually("it is steady again", || async {
        store.steady(id(1)) > std::time::Duration::from_millis(2500)
    })
    .await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_for_info_is_served_and_told() {
    let server = RedisServer::start();
    server.command(&[
        "ACL", "SETUSER", "app", "on", ">geheim", "~test:*", "+@all", "-info", "-config",
    ]);
    let store = connect(&format!("redis://app:geheim@127.0.0.1:{}", server.port())).await;
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    assert!(noted(&store, "INFO is forbidden"));
}

#[tokio::test]
async fn the_fewest_rights_that_do() {
    let server = RedisServer::start();
    server.command(&[
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">geheim",
        "~test:*",
        "+set",
        "+get",
        "+getrange",
        "+strlen",
        "+exists",
        "+pttl",
        "+pexpire",
        "+evalsha",
        "+script|load",
        "+info",
        "+ping",
    ]);
    let store = connect(&format!("redis://app:geheim@127.0.0.1:{}", server.port())).await;
    let first = claim();
    assert_eq!(store.insert(id(1), &first).await, Ok(Inserted::Created));
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    assert_eq!(
        store
            .replace(id(1), Expect::Held(first.token), &completed(&first, 50_000))
            .await,
        Ok(Replaced::Applied)
    );
    assert!(store.look(id(1)).await.unwrap().is_some());
    eventually("it is well", || async { store.health().up }).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_without_being_quoted() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "right"]);
    let store = connect(&format!("redis://:geheim@127.0.0.1:{}", server.port())).await;
    let Err(StoreError::Refused(why)) = store.insert(id(1), &claim()).await else {
        panic!("it was not refused");
    };
    assert!(why.contains("WRONGPASS"), "{why}");
    let told = format!("{why} {:?}", store.health());
    assert!(!told.contains("geheim"), "{told}");
}

#[tokio::test]
async fn an_older_server_is_claimed_by_script() {
    let server = RedisServer::with(&["--maxmemory", "8mb"]);
    let link = Link::to(server.port()).await;
    link.rewrite_replies("redis_version:7", "redis_version:6");
    let store = connect(&link.redis_url()).await;
    assert!(noted(&store, "before 7.0"), "{:?}", store.health());
    let first = claim();
    assert_eq!(store.insert(id(1), &first).await, Ok(Inserted::Created));
    let Ok(Inserted::Occupied(seen)) = store.insert(id(1), &claim()).await else {
        panic!("claimed twice");
    };
    assert_eq!((seen.record, seen.lapse), (first.clone(), Lapse::Live));
    assert_eq!(store.renew(id(1), first.token).await, Ok(Replaced::Applied));
    for length in [10, 100_000] {
        let done = completed(&first, length);
        store
            .replace(id(1), Expect::Held(first.token), &done)
            .await
            .unwrap();
        assert!(
            matches!(store.insert(id(1), &claim()).await, Ok(Inserted::Occupied(seen)) if seen.record == done)
        );
        server.command(&["DEL", &key(1)]);
    }
    let brief = Record {
        lease: std::time::Duration::ZERO,
        ..claim()
    };
    store.insert(id(2), &brief).await.unwrap();
    eventually("it is taken over", || async {
        store
            .replace(id(2), Expect::Lapsed(brief.token), &first)
            .await
            == Ok(Replaced::Applied)
    })
    .await;
    server.command(&["HSET", &key(3), "a", "b"]);
    assert!(matches!(
        store.insert(id(3), &claim()).await,
        Err(StoreError::Unreadable(_))
    ));
    assert!(matches!(
        store.look(id(3)).await,
        Err(StoreError::Unreadable(_))
    ));
    fill(&server);
    assert!(refused(store.insert(id(4), &claim()).await));
    assert!(
        matches!(store.insert(id(2), &claim()).await, Ok(Inserted::Occupied(seen)) if seen.record == first)
    );
}
