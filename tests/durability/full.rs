//! A disk that is full, is freed, and is full again; always under the same process.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{Embedded, Inserted, Replaced, Store, StoreError};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::faults::Disk;
use crate::records::{claim, completed, create, eventually, fresh_id};
use crate::support::{Answer, Gate, Process, Reply, Request, Upstream, patiently, post};
use crate::world::{PROGRAM, Says, configuration};
use crate::{length, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_again_and_again_refuses_claims_and_replays_and_recovers() {
    let times = length("IDEMPROXY_FULL_DISKS", 10);
    let mut chance = Chance::of_this_run("full disks");
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = disk.open(dir.path(), &settings(dir.path()));
    let mut done: Vec<(RecordId, Record)> = Vec::new();
    for _ in 0..times {
        let (running, held) = (fresh_id(), claim());
        create(&store, running, &held).await;
        let failed = disk.refused.load(Ordering::SeqCst);
        let room = chance.below(30_000) as u64;
        disk.limit(Some(disk.written.load(Ordering::SeqCst) + room));
        let rejected = loop {
            let (id, next) = (fresh_id(), claim());
            let record = completed(&next, vec![1; chance.within(100..6000)]);
            match store.insert(id, &record).await {
                Ok(Inserted::Created) => done.push((id, record)),
                Err(StoreError::Refused(_)) => break id,
                other => panic!("{other:?}"),
            }
        };
        assert!(
            disk.refused.load(Ordering::SeqCst) > failed,
            "it was never full"
        );
        assert_eq!(store.look(rejected).await, Ok(None));
        assert_eq!(
            store.renew(running, held.token).await,
            Ok(Replaced::Applied)
        );
        replays(&store, &done[done.len().saturating_sub(20)..]).await;
        let end = completed(&held, vec![2; 7000]);
        let settle = || store.replace(running, Expect::Held(held.token), &end);
        // The headroom is not on this disk: there may be room for it, or not.
        match settle().await {
            Ok(Replaced::Applied) => {}
            Err(StoreError::Refused(_)) => {
                let seen = store.look(running).await.unwrap().unwrap();
                assert_eq!(seen.record, held);
            }
            other => panic!("{other:?}"),
        }

        disk.limit(None);
        let next = claim();
        eventually("claims are taken again", || async {
            match store.insert(rejected, &next).await {
                Ok(inserted) => inserted == Inserted::Created,
                Err(StoreError::Refused(_)) => false,
                other => panic!("{other:?}"),
            }
        })
        .await;
        eventually("it is well again", || async { store.health().up }).await;
        assert_eq!(settle().await, Ok(Replaced::Applied));
        done.push((running, end));
    }
    replays(&store, &done).await;
    drop(store);
    let store = disk.open(dir.path(), &settings(dir.path()));
    replays(&store, &done).await;
    println!(
        "full disks: {times}, each refused claims and recovered; {} answers replayed",
        done.len()
    );
}

/// The same with the program itself, on a file system of 64 MiB, where a namespace of one's own may mount one.
#[test]
fn a_file_system_that_is_full_again_and_again_stops_no_replay() {
    let dir = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=64m none \"$IDEMPROXY_TEST_TMPFS\" || exit 77; \
                  exec \"$0\" full::child_on_a_small_disk --exact --nocapture";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("IDEMPROXY_TEST_TMPFS", dir.path())
        .output();
    let Ok(child) = child else {
        println!("not tried, since there is no unshare here");
        return;
    };
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    match child.status.code() {
        Some(0) => {
            let figures = said
                .lines()
                .find(|line| line.starts_with("full file systems"));
            println!("{}", figures.unwrap_or_else(|| panic!("{said}")));
        }
        // Of `unshare`, and of `mount`.
        Some(1 | 77) => println!("not tried, since nothing can be mounted here: {complained}"),
        _ => panic!("{}: {said}{complained}", child.status),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_on_a_small_disk() {
    let Some(dir) = std::env::var_os("IDEMPROXY_TEST_TMPFS").map(PathBuf::from) else {
        return;
    };
    let times = length("IDEMPROXY_FULL_DISKS", 10);
    let upstream = Upstream::start().await;
    let store = format!("embedded:{}", dir.join("data").display());
    let config = configuration(&upstream, &store, "");
    let mut shop = Shop {
        process: Process::start(PROGRAM, &config).await,
        upstream,
        scripted: 0,
        orders: 0,
    };
    let mut done = Vec::new();
    let (mut refused, mut late) = (0, 0);
    for time in 0..times {
        let gate = Gate::new();
        let running = post("/orders", &format!("running-{time}"), "a");
        shop.upstream
            .next(Reply::new(201).body(vec![1; 10_000]).after(&gate));
        shop.scripted += 1;
        let mut client = shop.process.connect().await;
        client.send(&running.bytes()).await;
        shop.upstream.asked_for(shop.scripted).await;

        fill(&dir.join("ballast"));
        loop {
            let (request, answer) = shop.order().await;
            if answer.status == 503 {
                answer.is_problem(503, "store-unavailable");
                break;
            }
            if answer.all("x-idempotency-stored") == ["true"] {
                done.push((request, answer));
            } else {
                late += 1;
            }
        }
        let asked = shop.upstream.asked();
        for _ in 0..3 {
            let (_, answer) = shop.order().await;
            answer.is_problem(503, "store-unavailable");
            refused += 1;
        }
        assert_eq!(shop.upstream.asked(), asked);
        for (request, first) in done.iter().rev().take(10) {
            shop.process.send(request).await.replays(first);
        }
        // What ran when it became full is settled into the headroom.
        gate.cancel();
        let first = client.answer().await;
        first.is_first(201, true, "completed");
        shop.process.send(&running).await.replays(&first);
        done.push((running, first));

        std::fs::remove_file(dir.join("ballast")).unwrap();
        let again = patiently(async {
            loop {
                let (request, answer) = shop.order().await;
                if answer.status == 201 {
                    return (request, answer);
                }
                answer.is_problem(503, "store-unavailable");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let (request, answer) = again.await;
        answer.is_first(201, true, "completed");
        done.push((request, answer));
    }
    shop.process.kill().await;
    shop.process = Process::start(PROGRAM, &config).await;
    for (request, first) in &done {
        shop.process.send(request).await.replays(first);
    }
    println!(
        "full file systems: {times}, {refused} claims refused while one was full, {} answers replayed, \
         {late} stored after they were given",
        done.len()
    );
}

/// The program, its upstream, and a client that orders.
struct Shop {
    process: Process,
    upstream: Upstream,
    /// Acts that the upstream was told.
    scripted: usize,
    orders: usize,
}

impl Shop {
    /// A new key, whose answer takes some pages.
    async fn order(&mut self) -> (Request, Answer) {
        if self.upstream.asked() == self.scripted {
            self.upstream.next(Reply::new(201).body(vec![0; 10_000]));
            self.scripted += 1;
        }
        self.orders += 1;
        let request = post("/orders", &format!("order-{}", self.orders), "a");
        let answer = self.process.send(&request).await;
        (request, answer)
    }
}

/// Another program takes all that is free.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    for size in [1 << 20, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

async fn replays(store: &Embedded, records: &[(RecordId, Record)]) {
    for (id, record) in records {
        match store.insert(*id, &claim()).await.unwrap() {
            Inserted::Occupied(seen) => assert_eq!(&seen.record, record),
            Inserted::Created => panic!("an answer was forgotten"),
        }
    }
}
