//! Disks and processes that stand still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idemproxy::store::{Inserted, Store};

use super::faults::Disk;
use super::settings;
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_stood_still_is_steady_only_from_then_on() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    let grown = || async { store.steady() > Duration::from_millis(300) };
    eventually("it grows while nothing is asked", grown).await;

    disk.hold(true);
    let insert = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.insert(fresh_id(), &claim()).await }
    });
    eventually("it stands still", || async { store.steady().is_zero() }).await;
    let resumed = Instant::now();
    disk.hold(false);
    assert_eq!(insert.await.unwrap(), Ok(Inserted::Created));
    eventually("it grows again", grown).await;
    assert!(store.steady() <= resumed.elapsed());
}
