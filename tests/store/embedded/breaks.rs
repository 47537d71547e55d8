//! Disks that stand still, are gone for a while, or fail in the middle of a recovery.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use idemproxy::idempotency::Expect;
use idemproxy::store::{Inserted, Replaced, Store, StoreError, StoreSettings};

use super::faults::{Disk, Reads};
use super::settings;
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_stood_still_is_steady_only_from_then_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    let grown = || async { store.steady(fresh_id()) > Duration::from_millis(300) };
    eventually("it grows while nothing is asked", grown).await;

    disk.hold(true);
    let insert = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.insert(fresh_id(), &claim()).await }
    });
    eventually("it stands still", || async {
        store.steady(fresh_id()).is_zero()
    })
    .await;
    let resumed = Instant::now();
    disk.hold(false);
    assert_eq!(insert.await.unwrap(), Ok(Inserted::Created));
    eventually("it grows again", grown).await;
    assert!(store.steady(fresh_id()) <= resumed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_file_is_closed_an_insert_is_refused_and_afterwards_taken() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let settings = StoreSettings {
        timeout: Duration::from_millis(500),
        ..settings(dir.path())
    };
    let store = disk.open(dir.path(), &settings);
    disk.read(Reads::None);
    let _ = store.insert(fresh_id(), &claim()).await;
    eventually("it is closed", || async { !store.health().up }).await;
    let (id, next) = (fresh_id(), claim());
    let refused = store.insert(id, &next).await;
    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    eventually("it is not steady", || async {
        store.steady(fresh_id()) < Duration::from_millis(300)
    })
    .await;
    disk.read(Reads::Whole);
    eventually("claims are taken again", || async {
        store.insert(id, &next).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_while_it_recovers_makes_no_answer_untrue() {
    let tries = (0..40).map(|n| async move {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
        let store = disk.open(dir.path(), &settings(dir.path()));
        let (id, held) = (fresh_id(), claim());
        create(&store, id, &held).await;
        let answer = completed(&held, "done");
        disk.read(Reads::OneAfterSync(n % 2, n / 2));
        let settle = || store.replace(id, Expect::Held(held.token), &answer);
        let settled = settle().await;
        disk.read(Reads::Whole);
        eventually("it is read again", || async {
            store.look(id).await.is_ok()
        })
        .await;
        let seen = store.look(id).await.unwrap().unwrap();
        match &settled {
            Ok(replaced) => {
                assert_eq!((*replaced, &seen.record), (Replaced::Applied, &answer));
            }
            Err(StoreError::Refused(_)) => assert_eq!(seen.record, held, "try {n}"),
            Err(_) => {}
        }
        eventually("it is settled", || async {
            settle().await == Ok(Replaced::Applied)
        })
        .await;
        matches!(settled, Err(StoreError::Unanswered(_)))
    });
    let unanswered = join_all(tries).await;
    assert!(unanswered.contains(&true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_waits_for_any_more_is_not_begun() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    disk.hold(true);
    let syncs = disk.syncs.load(Ordering::SeqCst);
    let first = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.insert(fresh_id(), &claim()).await }
    });
    eventually("the first is being synced", || async {
        disk.syncs.load(Ordering::SeqCst) > syncs
    })
    .await;
    let (id, answer) = (fresh_id(), completed(&claim(), "x"));
    let mut abandoned = Box::pin(store.replace(id, Expect::Held(answer.token), &answer));
    assert!(poll!(&mut abandoned).is_pending());
    drop(abandoned);
    disk.hold(false);
    assert_eq!(first.await.unwrap(), Ok(Inserted::Created));
    create(&*store, fresh_id(), &claim()).await;
    assert_eq!(store.look(id).await, Ok(None));
}
