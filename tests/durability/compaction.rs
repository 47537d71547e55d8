//! The power going at each step of what opening a file may do: recovery, and compaction.

use std::fs;
use std::sync::Arc;

use futures_util::future::join_all;
use idemproxy::idempotency::{Expect, Record, RecordId, State};
use idemproxy::store::{Embedded, Replaced, Store};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::check::is_afterwards;
use crate::disk::Disk;
use crate::mishap::{Cut, Mood};
use crate::records::{claim, completed, create, fresh_id};
use crate::{headroom, length, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_at_any_step_of_recovery_loses_nothing() {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let store = disk.open(dir.path(), &settings(dir.path())).unwrap();
    let records = write(&store, 30).await;
    disk.cut();
    drop(store);
    let mut chance = Chance::of_this_run("recovery");
    disk.power_on(Mood::any(&mut chance), &mut chance).unwrap();
    let image = fs::read(dir.path().join("records.redb")).unwrap();
    let (steps, _) = cut_each_step(&image, &records, 3, &mut chance).await;
    assert!(steps >= 3, "{steps}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_at_any_step_of_a_compaction_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Embedded::open(dir.path(), &settings(dir.path())).unwrap();
    let (mut records, mut large) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let released = (0..10).map(|_| {
            let record = completed(&claim(), vec![1; 250_000]);
            (
                fresh_id(),
                Record {
                    state: State::Released,
                    ..record
                },
            )
        });
        large.extend(released);
        let writes = large.iter().rev().take(10);
        join_all(writes.map(|(id, record)| create(&store, *id, record))).await;
        records.extend(write(&store, 6).await);
    }
    for (id, released) in large {
        let (next, expect) = (claim(), Expect::Released(released.token));
        let replaced = store.replace(id, expect, &next).await;
        assert_eq!(replaced, Ok(Replaced::Applied));
        records.push((id, next));
    }
    let size = store.statistics().file_bytes;
    assert!(size > 16 << 20, "{size} bytes");
    // As a kill leaves it: closing would cut it.
    let image = fs::read(dir.path().join("records.redb")).unwrap();
    drop(store);
    let mut chance = Chance::of_this_run("compaction");
    let (steps, shrunk) = cut_each_step(&image, &records, 1, &mut chance).await;
    assert!(
        steps > 20 && shrunk > 0,
        "{steps} steps, shrunk {shrunk} times"
    );
}

/// Opens a file that is `image`, again and again, each time with the power going one step later, until it is open before that. How many
/// steps there were, and how often the file was cut.
async fn cut_each_step(
    image: &[u8],
    records: &[(RecordId, Record)],
    times: usize,
    chance: &mut Chance,
) -> (usize, usize) {
    // In the short form some are left out where there are many.
    let stride = if length("IDEMPROXY_POWER_LOSSES", 150) > 150 {
        1
    } else {
        30
    };
    let (mut step, mut shrunk, mut cuts) = (0, 0, 0);
    loop {
        for _ in 0..times {
            let (again, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
            let settings = settings(again.path());
            fs::write(again.path().join("records.redb"), image).unwrap();
            headroom(again.path());
            disk.arm(Cut::Any, step);
            let opened = disk.open(again.path(), &settings);
            let cut = disk.is_off();
            if !cut {
                println!("cut at {cuts} of {} steps", step);
                return (step, shrunk);
            }
            drop(opened);
            cuts += 1;
            disk.power_on(Mood::any(chance), chance).unwrap();
            headroom(again.path());
            let store = disk.open(again.path(), &settings);
            let store = store.unwrap_or_else(|error| panic!("after a cut at step {step}: {error}"));
            shrunk += disk.figures().shrunk;
            for (id, record) in records {
                let seen = store.look(*id).await.unwrap().map(|seen| seen.record);
                assert!(
                    seen.as_ref()
                        .is_some_and(|seen| is_afterwards(record, seen)),
                    "cut at step {step}: {record:?}, and {seen:?} is there"
                );
            }
        }
        step += if step < 12 { 1 } else { stride };
    }
}

/// Claims, every second one completed.
async fn write(store: &Embedded, count: u8) -> Vec<(RecordId, Record)> {
    let mut records = Vec::new();
    for number in 0..count {
        let (id, mut record) = (fresh_id(), claim());
        if number % 2 == 0 {
            record = completed(&record, vec![number; 100 * usize::from(number)]);
        }
        create(store, id, &record).await;
        records.push((id, record));
    }
    records
}
