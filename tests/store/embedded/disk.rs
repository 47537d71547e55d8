//! Full disks.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{Embedded, Inserted, Replaced, Store, StoreError};

use super::faults::Disk;
use super::settings;
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_closed_keeps_replaying_and_resumes() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    let done = fill(&store, 20).await;
    let (running, held) = (fresh_id(), claim());
    create(&*store, running, &held).await;

    disk.limit(Some(disk.written.load(Ordering::SeqCst)));
    let mut later = Vec::new();
    let refused = loop {
        let (id, claim) = (fresh_id(), claim());
        match settle(&store, id, &claim, 100_000).await {
            Ok(()) => later.push((id, completed(&claim, vec![1; 100_000]))),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    assert!(disk.refused.load(Ordering::SeqCst) > 0);
    replays(&store, &done).await;
    replays(&store, &later).await;
    // Its claim stands, and its heart beats on.
    assert_eq!(
        store.renew(running, held.token).await,
        Ok(Replaced::Applied)
    );
    let nothing = fresh_id();
    let large = completed(&claim(), vec![1; 1 << 20]);
    let lost = store
        .replace(nothing, Expect::Held(large.token), &large)
        .await;
    assert!(matches!(lost, Err(StoreError::Refused(_))), "{lost:?}");
    assert_eq!(store.look(nothing).await, Ok(None));
    eventually("it says so", || async { !store.health().up }).await;

    disk.limit(None);
    let next = fresh_id();
    let next_claim = claim();
    eventually("claims are taken again", || async {
        match store.insert(next, &next_claim).await {
            Ok(inserted) => inserted == Inserted::Created,
            Err(StoreError::Refused(_)) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    assert!(store.health().up);
    let end = completed(&held, "end");
    let settled = store.replace(running, Expect::Held(held.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    replays(&store, &done).await;
    drop(store);
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    replays(&store, &done).await;
    replays(&store, &later).await;
    replays(&store, &[(running, end)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_claims_on_a_filling_disk_are_each_told_what_became_of_them() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Disk::default()));
    let store = Arc::new(disk.open(dir.path(), &settings(dir.path())));
    fill(&store, 5).await;
    disk.limit(Some(disk.written.load(Ordering::SeqCst) + 300_000));
    let (mut created, mut refused) = (Vec::new(), Vec::new());
    while refused.is_empty() {
        let tries: Vec<_> = (0..100)
            .map(|_| {
                let (store, id, record) = (Arc::clone(&store), fresh_id(), claim());
                tokio::spawn(async move {
                    let answer = store.insert(id, &completed(&record, vec![7; 3000])).await;
                    (id, answer)
                })
            })
            .collect();
        for one in tries {
            match one.await.unwrap() {
                (id, Ok(Inserted::Created)) => created.push(id),
                (id, Err(StoreError::Refused(_))) => refused.push(id),
                (_, other) => panic!("{other:?}"),
            }
        }
    }
    disk.limit(None);
    for id in created {
        assert!(store.look(id).await.unwrap().is_some());
    }
    for id in refused {
        assert_eq!(store.look(id).await, Ok(None));
    }
}

/// The same on a real file system of 24 MiB, where a namespace of one's own may mount one.
#[test]
fn a_file_system_that_is_full_fails_closed_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=24m none \"$IDEMPROXY_TEST_TMPFS\" || exit 77; \
                  exec \"$0\" embedded::disk::child_on_a_small_disk --exact --nocapture";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("IDEMPROXY_TEST_TMPFS", dir.path())
        .output();
    match child {
        Ok(child) if child.status.success() => {
            let said = String::from_utf8_lossy(&child.stdout);
            assert!(said.contains("resumed"), "{said}");
        }
        Ok(child) if child.status.code() == Some(101) => {
            panic!(
                "{}{}",
                String::from_utf8_lossy(&child.stdout),
                String::from_utf8_lossy(&child.stderr)
            );
        }
        other => eprintln!("not tried, since nothing can be mounted here: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_on_a_small_disk() {
    let Some(dir) = std::env::var_os("IDEMPROXY_TEST_TMPFS").map(PathBuf::from) else {
        return;
    };
    let data = dir.join("data");
    let store = Arc::new(Embedded::open(&data, &settings(&data)).unwrap());
    let mut running = Vec::new();
    for _ in 0..20 {
        running.push((fresh_id(), claim()));
        let (id, claim) = running.last().unwrap();
        create(&*store, *id, claim).await;
    }
    let ballast = dir.join("ballast");
    // Another program takes the rest, all but what a few records need.
    let free = 24 * 1024 * 1024 - 6 * 1024 * 1024;
    let _ = std::fs::write(&ballast, vec![1; free]);
    let mut done = Vec::new();
    let refused = loop {
        let (id, claim) = (fresh_id(), claim());
        match settle(&store, id, &claim, 50_000).await {
            Ok(()) => done.push((id, completed(&claim, vec![1; 50_000]))),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    // What ran when it became full is settled into the headroom.
    for (id, claim) in running {
        settle(&store, id, &claim, 20_000).await.unwrap();
        done.push((id, completed(&claim, vec![1; 20_000])));
    }
    replays(&store, &done).await;
    assert!(!store.health().up);

    std::fs::remove_file(ballast).unwrap();
    let (next, next_claim) = (fresh_id(), claim());
    eventually("claims are taken again", || async {
        store.insert(next, &next_claim).await == Ok(Inserted::Created)
    })
    .await;
    replays(&store, &done).await;
    drop(store);
    replays(
        &Arc::new(Embedded::open(&data, &settings(&data)).unwrap()),
        &done,
    )
    .await;
    println!("resumed");
}

async fn fill(store: &Arc<Embedded>, count: usize) -> Vec<(RecordId, Record)> {
    let mut done = Vec::new();
    for _ in 0..count {
        let (id, claim) = (fresh_id(), claim());
        settle(store, id, &claim, 3000).await.unwrap();
        done.push((id, completed(&claim, vec![1; 3000])));
    }
    done
}

/// Claims `id` unless it is claimed already, and completes it.
async fn settle(
    store: &Arc<Embedded>,
    id: RecordId,
    claim: &Record,
    body: usize,
) -> Result<(), StoreError> {
    store.insert(id, claim).await?;
    let answer = completed(claim, vec![1; body]);
    let settled = store
        .replace(id, Expect::Held(claim.token), &answer)
        .await?;
    assert_eq!(settled, Replaced::Applied);
    Ok(())
}

async fn replays(store: &Arc<Embedded>, records: &[(RecordId, Record)]) {
    for (id, record) in records {
        match store.insert(*id, &claim()).await.unwrap() {
            Inserted::Occupied(seen) => assert_eq!(&seen.record, record),
            Inserted::Created => panic!("an answer was forgotten"),
        }
    }
}
