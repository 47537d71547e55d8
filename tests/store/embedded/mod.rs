//! The store in a file: what it keeps beyond the contract.

mod breaks;
mod crashes;
mod damage;
mod disk;
mod faults;
mod groups;
mod space;

use std::path::Path;
use std::time::Duration;

use idemproxy::idempotency::{Expect, State};
use idemproxy::store::{
    Embedded, Inserted, Listed, Location, Replaced, Store, StoreError, StoreSettings, Sync,
};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::contract::contract;
use crate::records::*;

contract!(super::fresh);

async fn fresh() -> (Embedded, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()), dir)
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, &settings(dir)).unwrap()
}

pub(crate) fn settings(dir: &Path) -> StoreSettings {
    StoreSettings {
        location: Location::Embedded(dir.to_owned()),
        prefix: "idemproxy".to_owned(),
        // No test asserts how fast a disk is.
        timeout: Duration::from_secs(20),
        sync: Sync::Always,
        max_bytes: 4 << 30,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    }
}

#[tokio::test]
async fn what_was_settled_is_there_when_it_opens_again_and_what_was_in_flight_is_unknown() {
    for sync in [Sync::Always, Sync::Never] {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            sync,
            ..settings(dir.path())
        };
        let store = Embedded::open(dir.path(), &settings).unwrap();
        let (done, free, running) = (claim(), claim(), claim());
        let ids = [fresh_id(), fresh_id(), fresh_id()];
        for (id, claim) in ids.into_iter().zip([&done, &free, &running]) {
            create(&store, id, claim).await;
        }
        let answer = completed(&done, vec![0, 255, 10]);
        let release = settled(&free, State::Released);
        store
            .replace(ids[0], Expect::Held(done.token), &answer)
            .await
            .unwrap();
        store
            .replace(ids[1], Expect::Held(free.token), &release)
            .await
            .unwrap();
        drop(store);

        let store = Embedded::open(dir.path(), &settings).unwrap();
        assert_eq!(store.look(ids[0]).await.unwrap().unwrap().record, answer);
        assert_eq!(store.look(ids[1]).await.unwrap().unwrap().record, release);
        let seen = store.look(ids[2]).await.unwrap().unwrap();
        assert_eq!(
            (seen.record.state, seen.record.token),
            (State::Unknown, running.token)
        );
        assert!(matches!(
            store.insert(ids[2], &claim()).await,
            Ok(Inserted::Occupied(seen)) if seen.record.state == State::Unknown
        ));
        assert_eq!(
            store.renew(ids[2], running.token).await,
            Ok(Replaced::Stale)
        );
        let listing = store.list(None, 10, &|_: &Listed| true).await.unwrap();
        let listed = |id| listing.records.iter().find(|it| it.id == id).unwrap();
        assert_eq!(listing.records.len(), 3);
        assert_eq!(listed(ids[0]).response_bytes, Some(3));
        assert_eq!(listed(ids[1]).record, release);
        assert_eq!(listed(ids[2]).record.state, State::Unknown);
        let lapsed = store
            .replace(ids[2], Expect::Lapsed(running.token), &claim())
            .await;
        assert_eq!(lapsed, Ok(Replaced::Stale));
        let next = claim();
        let taken = store
            .replace(ids[2], Expect::Unknown(running.token), &next)
            .await;
        assert_eq!(taken, Ok(Replaced::Applied));
        assert_eq!(store.renew(ids[2], next.token).await, Ok(Replaced::Applied));
    }
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_neither_read_nor_overwritten_and_expires() {
    const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
    const DUE: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("due");
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let (id, old) = (fresh_id(), claim());
    let expiry = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis() as u64
        + 5000;
    let mut frame = idemproxy::store::encode(&old).to_vec();
    frame[idemproxy::store::header::VERSION] = 3;
    let value = [&expiry.to_be_bytes()[..], &[1; 16], id.as_bytes(), &frame].concat();
    let database = Database::open(dir.path().join("records.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(RECORDS).unwrap().insert(0, &*value).unwrap();
    txn.open_table(DUE)
        .unwrap()
        .insert((expiry, 0), &id.as_bytes()[..])
        .unwrap();
    txn.commit().unwrap();
    drop(database);

    let store = open(dir.path());
    let unreadable = |error: Option<StoreError>| matches!(error, Some(StoreError::Unreadable(_)));
    assert!(unreadable(store.look(id).await.err()));
    assert!(unreadable(store.insert(id, &claim()).await.err()));
    for expect in [
        Expect::Held(old.token),
        Expect::Released(old.token),
        Expect::Unknown(old.token),
    ] {
        assert!(unreadable(
            store.replace(id, expect, &completed(&old, "")).await.err()
        ));
    }
    let listing = store.list(None, 10, &|_: &Listed| true).await.unwrap();
    assert_eq!((listing.records.len(), listing.unreadable), (0, 1));
    eventually("it expires", || async { store.look(id).await == Ok(None) }).await;
    let listing = store.list(None, 10, &|_: &Listed| true).await.unwrap();
    assert_eq!((listing.records.len(), listing.unreadable), (0, 0));
    create(&store, id, &claim()).await;
}

#[tokio::test]
async fn what_a_process_left_in_flight_is_counted_once_and_says_so() {
    for sync in [Sync::Always, Sync::Never] {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            sync,
            ..settings(dir.path())
        };
        let store = Embedded::open(dir.path(), &settings).unwrap();
        assert_eq!(store.health().left, 0);
        // More than are written in one transaction; and one is settled.
        let claims: Vec<_> = (0..600).map(|_| (fresh_id(), claim())).collect();
        let made = claims.iter().map(|(id, claim)| create(&store, *id, claim));
        futures_util::future::join_all(made).await;
        let (settled_id, settled_claim) = &claims[0];
        let answer = completed(settled_claim, vec![1]);
        store
            .replace(*settled_id, Expect::Held(settled_claim.token), &answer)
            .await
            .unwrap();
        drop(store);

        let store = Embedded::open(dir.path(), &settings).unwrap();
        assert_eq!(store.health().left, 599);
        let mut found = Vec::new();
        for (id, claim) in &claims[1..] {
            let seen = store.look(*id).await.unwrap().unwrap();
            assert_eq!(seen.record.state, State::Unknown);
            assert_eq!(seen.record.token, claim.token);
            assert_eq!(
                seen.record.error.as_deref(),
                Some("the proxy stopped while the request was running")
            );
            assert!(seen.record.settled >= Some(claim.created));
            found.push(seen.record);
        }
        drop(store);

        let store = Embedded::open(dir.path(), &settings).unwrap();
        assert_eq!(store.health().left, 0);
        for ((id, _), record) in claims[1..].iter().zip(found) {
            assert_eq!(store.look(*id).await.unwrap().unwrap().record, record);
        }
        let kept = store.look(*settled_id).await.unwrap().unwrap();
        assert_eq!(kept.record, answer);
        assert_eq!(store.statistics().records, 600);
    }
}
