//! What is asked of every node, and what is said of them.

use idemproxy::store::{Inserted, Redis, RedisSetupError, Store, StoreError};

use super::*;
use crate::support::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_primary_is_named_and_any_node_tells_of_all() {
    let (cluster, _turn) = shared().await;
    // A replica, and before it nobody.
    let nobody = RedisServer::absent(&[]).port();
    let url = format!(
        "redis+cluster://127.0.0.1:{nobody},127.0.0.1:{}",
        cluster.node(4).port()
    );
    let store = Redis::connect(&url, &patient()).await.unwrap();
    eventually("every node is reached", || async { store.health().up }).await;
    let notes = store.health().notes;
    assert_eq!(notes.len(), 3, "{notes:?}");
    for node in 0..3 {
        let name = format!(
            "redis at 127.0.0.1:{}: connected",
            cluster.node(node).port()
        );
        assert!(
            notes.iter().any(|note| note.starts_with(&name)),
            "{notes:?}"
        );
    }
    for number in 0..60 {
        assert_eq!(
            store.insert(id(number), &claim()).await,
            Ok(Inserted::Created)
        );
        assert!(store.renew(id(number), claim().token).await.is_ok());
        let holder = cluster.node(cluster.holder(cluster.slot(&key(number))));
        assert!(holder.get(&key(number)).is_some());
        holder.command(&["DEL", &key(number)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_that_may_drop_records_is_one_too_many() {
    let (cluster, _turn) = shared().await;
    let policy = |policy| {
        let words = ["CONFIG", "SET", "maxmemory-policy", policy];
        cluster.node(2).command(&words);
    };
    policy("allkeys-lru");
    let refused = Redis::connect(&cluster.url(), &patient()).await.err();
    let allowed = StoreSettings {
        allow_eviction: true,
        ..patient()
    };
    let store = Redis::connect(&cluster.url(), &allowed).await;
    policy("noeviction");
    assert_eq!(
        refused,
        Some(RedisSetupError::Evicts("allkeys-lru".to_owned()))
    );
    assert!(store.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_without_a_hostname_are_found_by_their_ip_and_never_guessed() {
    let (cluster, _turn) = shared().await;
    let prefer = |kind| {
        let words = ["CONFIG", "SET", "cluster-preferred-endpoint-type", kind];
        for node in 0..cluster.size() {
            cluster.node(node).command(&words);
        }
    };
    prefer("hostname");
    // By another name than their ip, so that who was asked can be told from who is meant.
    let url = cluster.url().replace("127.0.0.1", "localhost");
    let (settings, slot) = tagged(cluster, "nameless");
    let store = Redis::connect(&url, &settings).await.unwrap();
    eventually("every node is reached", || async { store.health().up }).await;
    let notes = store.health().notes;
    let mut refused = false;
    for number in 0..20 {
        cluster.move_slot(slot, other_than(cluster.holder(slot)));
        let said = Err(StoreError::Refused("redis says MOVED".to_owned()));
        refused = store.insert(id(number), &claim()).await == said;
        eventually("the map tells where it is", || async {
            store.look(id(number)).await.is_ok()
        })
        .await;
        if refused {
            break;
        }
    }
    let after = store.health().notes;
    prefer("ip");
    assert!(refused, "it was never redirected");
    for notes in [notes, after] {
        assert_eq!(notes.len(), 3, "{notes:?}");
        let by_ip = |note: &String| note.starts_with("redis at 127.0.0.1:");
        assert!(notes.iter().all(by_ip), "{notes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_with_the_fewest_rights_follows_slots_too() {
    let (cluster, _turn) = shared().await;
    let rights = "on >s3cret resetkeys ~{rights}:* -@all +set +get +getrange +strlen +exists +pttl +pexpire +evalsha \
        +script|load +info +ping +asking +cluster|info +cluster|slots";
    for node in 0..cluster.size() {
        let mut words = vec!["ACL", "SETUSER", "app"];
        words.extend(rights.split_whitespace());
        cluster.node(node).command(&words);
    }
    let (settings, slot) = tagged(cluster, "rights");
    let url = cluster.url().replace("//", "//app:s3cret@");
    let store = Redis::connect(&url, &settings).await.unwrap();
    eventually("every node is reached", || async { store.health().up }).await;
    let first = claim();
    assert_eq!(store.insert(id(1), &first).await, Ok(Inserted::Created));
    let to = other_than(cluster.holder(slot));
    cluster.begin_to_move(slot, to);
    assert_eq!(store.insert(id(2), &first).await, Ok(Inserted::Created));
    while !cluster.move_keys(slot, to, 10) {}
    cluster.end_move(slot, to);
    for number in [1, 2] {
        assert!(store.renew(id(number), first.token).await.is_ok());
        assert!(store.look(id(number)).await.unwrap().is_some());
    }
    assert!(!format!("{:?}", store.health()).contains("s3cret"));
}

#[tokio::test]
async fn a_cluster_that_is_away_or_none_is_said_to_be_and_takes_nothing() {
    let nobody = RedisServer::absent(&[]).port();
    let single = RedisServer::start();
    for (port, why) in [(nobody, "refused"), (single.port(), "ERR")] {
        let url = format!("redis+cluster://:s3cret@127.0.0.1:{port}");
        let url = if port == nobody {
            url
        } else {
            url.replace(":s3cret@", "")
        };
        let store = Redis::connect(&url, &patient()).await.unwrap();
        let refused = store.insert(id(1), &claim()).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{refused:?}"
        );
        let health = store.health();
        assert!(!health.up && store.steady(id(1)).is_zero());
        assert!(health.notes[0].contains(why), "{health:?}");
        assert!(!format!("{health:?}{refused:?}").contains("s3cret"));
    }
}
