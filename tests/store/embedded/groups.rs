//! Group commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::poll;
use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{Inserted, Replaced, Store};

use super::faults::Disk;
use super::settings;
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_that_come_while_the_disk_syncs_share_the_next_sync() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    let settle = |(id, record): (RecordId, Record)| {
        let store = Arc::clone(&store);
        async move {
            store
                .replace(id, Expect::Held(record.token), &completed(&record, "x"))
                .await
        }
    };
    let known = (fresh_id(), claim());
    settle(known.clone()).await.unwrap();
    let before = store.statistics();

    disk.hold(true);
    let syncs = disk.syncs.load(Ordering::SeqCst);
    let first = tokio::spawn(settle((fresh_id(), claim())));
    eventually("the first is being synced", || async {
        disk.syncs.load(Ordering::SeqCst) > syncs
    })
    .await;
    let mut others: Vec<_> = (0..200)
        .map(|_| Box::pin(settle((fresh_id(), claim()))))
        .collect();
    for other in &mut others {
        assert!(poll!(other).is_pending());
    }
    // A duplicate waits for no writer.
    let met = store.insert(known.0, &claim()).await.unwrap();
    assert!(matches!(met, Inserted::Occupied(seen) if seen.record.token == known.1.token));
    disk.hold(false);

    assert_eq!(first.await.unwrap(), Ok(Replaced::Restored));
    for other in join_all(others).await {
        assert_eq!(other, Ok(Replaced::Restored));
    }
    let after = store.statistics();
    assert_eq!(after.operations - before.operations, 201);
    assert_eq!(after.commits - before.commits, 2);
}
