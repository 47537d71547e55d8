//! The store in memory.

use std::time::Duration;

use idemproxy::idempotency::{Expect, Origin, Record, State};
use idemproxy::store::{Inserted, Memory, Replaced, Store, StoreError};

use crate::contract::contract;
use crate::records::*;

contract!(super::fresh);

async fn fresh() -> (Memory, ()) {
    (Memory::new(1 << 30), ())
}

#[tokio::test]
async fn a_full_store_refuses_claims_and_takes_settlements() {
    let store = Memory::new(10_000);
    let (id, first) = (fresh_id(), claim());
    create(&store, id, &first).await;
    let refused = loop {
        if let Err(error) = store.insert(fresh_id(), &claim()).await {
            break error;
        }
    };
    assert!(matches!(refused, StoreError::Refused(_)));
    assert!(!store.health().up);
    let end = completed(&first, vec![0; 100_000]);
    let settled = store.replace(id, Expect::Held(first.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, end);
}

#[tokio::test]
async fn a_full_store_still_brings_back_what_is_there() {
    let store = Memory::new(10_000);
    let (id, first) = (fresh_id(), claim());
    create(&store, id, &first).await;
    while store.insert(fresh_id(), &claim()).await.is_ok() {}
    match store.insert(id, &claim()).await.unwrap() {
        Inserted::Occupied(seen) => assert_eq!(seen.record, first),
        Inserted::Created => panic!("created twice"),
    }
}

#[tokio::test]
async fn a_record_that_is_written_over_gives_back_its_room() {
    let store = Memory::new(10_000);
    let (id, first) = (fresh_id(), claim());
    create(&store, id, &first).await;
    let large = completed(&first, vec![0; 100_000]);
    let held = Expect::Held(first.token);
    let settled = store.replace(id, held, &large).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert!(store.insert(fresh_id(), &claim()).await.is_err());
    let shown = Expect::Shown(first.token, State::Completed);
    let small = completed(&claim(), "by hand");
    let replaced = store.replace(id, shown, &small).await;
    assert_eq!(replaced, Ok(Replaced::Applied));
    create(&store, fresh_id(), &claim()).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_store_looks_for_expired_records_at_most_once_a_second() {
    let store = Memory::new(10_000);
    let short = || Record {
        ttl: Duration::from_millis(500),
        ..claim()
    };
    while store.insert(fresh_id(), &short()).await.is_ok() {}
    tokio::time::advance(Duration::from_millis(600)).await;
    assert!(store.insert(fresh_id(), &claim()).await.is_err());
    tokio::time::advance(Duration::from_millis(400)).await;
    create(&store, fresh_id(), &claim()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_for_less_than_it_was_claimed_for_leaves_its_room_when_that_is_over() {
    let store = Memory::new(10_000);
    let (id, first) = (fresh_id(), claim());
    create(&store, id, &first).await;
    let end = Record {
        ttl: first.ttl / 2,
        ..completed(&first, vec![0; 100_000])
    };
    let settled = store.replace(id, Expect::Held(first.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert!(store.insert(fresh_id(), &claim()).await.is_err());
    tokio::time::advance(end.ttl).await;
    create(&store, fresh_id(), &claim()).await;
}

#[tokio::test]
async fn a_long_path_and_the_name_of_a_route_take_their_room() {
    for member in [
        |record: &mut Record| record.origin = Origin::new("", "", &"p".repeat(10_000), [0; 16]),
        |record: &mut Record| record.origin = Origin::new(&"r".repeat(10_000), "", "", [0; 16]),
    ] {
        let store = Memory::new(10_000);
        let mut long = claim();
        member(&mut long);
        create(&store, fresh_id(), &long).await;
        assert!(store.insert(fresh_id(), &claim()).await.is_err());
    }
}
