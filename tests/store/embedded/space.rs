//! The room a file takes.

use std::time::Duration;

use idemproxy::idempotency::{Expect, Record};
use idemproxy::store::{Embedded, Replaced, Store, StoreError, StoreSettings};

use super::{open, settings};
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_does_not_grow_for_ever_and_shrinks_when_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let writes = (0..120).map(|_| async {
            let ttl = Duration::from_millis(500);
            let record = completed(&Record { ttl, ..claim() }, vec![1; 300_000]);
            store
                .replace(fresh_id(), Expect::Held(record.token), &record)
                .await
                .unwrap();
        });
        futures_util::future::join_all(writes).await;
        eventually("it is swept", || async { store.statistics().records == 0 }).await;
        sizes.push(store.statistics().file_bytes);
    }
    // 216 MB were written, of which a fresh round needs 36.
    assert!(sizes.iter().all(|size| *size < 110_000_000), "{sizes:?}");
    drop(store);
    let opened = open(dir.path()).statistics().file_bytes;
    assert!(opened < 17 << 20, "{opened} of {sizes:?}");
}

#[tokio::test]
async fn beyond_max_bytes_there_are_no_new_claims_and_settlements_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        max_bytes: 1 << 20,
        ..settings(dir.path())
    };
    let store = Embedded::open(dir.path(), &settings).unwrap();
    let (id, held) = (fresh_id(), claim());
    create(&store, id, &held).await;
    let ttl = Duration::from_secs(2);
    let refused = loop {
        let record = Record { ttl, ..claim() };
        let id = fresh_id();
        if let Err(error) = store.insert(id, &record).await {
            break error;
        }
        let answer = completed(&record, vec![1; 60_000]);
        store
            .replace(id, Expect::Held(record.token), &answer)
            .await
            .unwrap();
    };
    assert!(matches!(&refused, StoreError::Refused(why) if why.contains("max_bytes")));
    assert!(!store.health().up);
    let settled = store
        .replace(
            id,
            Expect::Held(held.token),
            &completed(&held, vec![1; 90_000]),
        )
        .await;
    assert_eq!(settled, Ok(Replaced::Applied));
    let (next, next_claim) = (fresh_id(), claim());
    eventually("claims are taken again", || async {
        store.insert(next, &next_claim).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_renewed_is_swept_neither_here_nor_after_it_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, ttl) = (fresh_id(), Duration::from_secs(6));
    let claim = Record { ttl, ..claim() };
    create(&store, id, &claim).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < ttl * 4 / 3 {
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied));
        tokio::time::sleep(ttl / 30).await;
    }
    drop(store);
    // Its expiry was moved in the file as well.
    let store = open(dir.path());
    assert_eq!(
        store.look(id).await.unwrap().unwrap().record.token,
        claim.token
    );
}

#[tokio::test]
async fn a_record_lives_as_long_as_it_was_written_for_last_and_then_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (short, long) = (Duration::from_secs(3), Duration::from_secs(600));
    let mut ids = Vec::new();
    for (claimed, settled) in [(short, long), (long, short), (short, short * 4 / 3)] {
        let (id, running) = (fresh_id(), claim());
        let running = Record {
            ttl: claimed,
            ..running
        };
        create(&store, id, &running).await;
        let answer = Record {
            ttl: settled,
            ..completed(&running, "x")
        };
        let written = store.replace(id, Expect::Held(running.token), &answer);
        assert_eq!(written.await, Ok(Replaced::Applied));
        ids.push(id);
    }
    assert_eq!(store.statistics().records, 3);
    eventually("two are removed", || async {
        store.statistics().records == 1
    })
    .await;
    assert!(store.look(ids[0]).await.unwrap().is_some());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.statistics().records, 1);
    assert!(store.look(ids[0]).await.unwrap().is_some());
}
