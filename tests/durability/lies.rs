//! Disks that say a sync is done and have not written it.

use std::sync::Arc;

use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{OpenError, Store};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::check::is_afterwards;
use crate::disk::Disk;
use crate::mishap::Mood;
use crate::records::{claim, completed, create, fresh_id};
use crate::{headroom, settings};

/// What a store on such a disk says when it opens.
#[derive(Debug, Default)]
struct Sum {
    /// Nothing that was acknowledged is missing.
    whole: usize,
    /// It does not open, and says why and what to do.
    refused: usize,
    /// It opens, and acknowledged writes are missing.
    silent: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_a_disk_lost_are_an_error_and_never_a_silent_loss() {
    let mut chance = Chance::of_this_run("disks that lie of pages");
    let mut sum = Sum::default();
    for kept in [0, 50, 90, 98, 99, 99, 100, 100].repeat(4) {
        let mood = Mood {
            kept,
            torn: usize::from(kept < 98),
            header_kept: true,
        };
        lie(mood, &mut chance, &mut sum).await;
    }
    println!("disks that lied of pages: {sum:?}");
    assert!(sum.refused > 10 && sum.whole > 0, "{sum:?}");
    assert_eq!(sum.silent, 0);
}

/// A header of long ago names commits of long ago: nothing in the file tells that there were later ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opens_on_a_disk_that_lost_any_sector_is_whole_in_each_record() {
    let mut chance = Chance::of_this_run("disks that lie of anything");
    let mut sum = Sum::default();
    for _ in 0..32 {
        let mood = Mood::any(&mut chance);
        lie(mood, &mut chance, &mut sum).await;
    }
    println!("disks that lied of anything: {sum:?}");
    assert!(sum.refused > 0, "{sum:?}");
}

/// One store on a disk that lies for a while, and is then without power.
async fn lie(mood: Mood, chance: &mut Chance, sum: &mut Sum) {
    let (dir, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
    let settings = settings(dir.path());
    headroom(dir.path());
    let store = disk.open(dir.path(), &settings).unwrap();
    let mut past: Vec<(RecordId, Vec<Record>)> = Vec::new();
    for write in 0..40 {
        disk.lie(write >= 20);
        let (id, held) = (fresh_id(), claim());
        create(&store, id, &held).await;
        let mut records = vec![held.clone()];
        if write % 5 > 0 {
            let size = chance.pick(&[10, 300, 3000, 70_000]);
            let answer = completed(&held, vec![write; size]);
            let expect = Expect::Held(held.token);
            store.replace(id, expect, &answer).await.unwrap();
            records.push(answer);
        }
        past.push((id, records));
    }
    assert!(disk.figures().lied >= 20);
    disk.cut();
    drop(store);
    disk.lie(false);
    disk.power_on(mood, chance).unwrap();
    headroom(dir.path());
    match disk.open(dir.path(), &settings) {
        Err(error @ OpenError::Damaged { .. }) => {
            let said = error.to_string();
            let path = dir.path().join("records.redb");
            assert!(
                said.contains(path.to_str().unwrap()) && said.contains("from a backup"),
                "{said}"
            );
            sum.refused += 1;
        }
        Ok(store) => {
            let mut lost = false;
            for (id, records) in past {
                let seen = store.look(id).await.unwrap().map(|seen| seen.record);
                if let Some(seen) = &seen {
                    assert!(
                        records.iter().any(|record| is_afterwards(record, seen)),
                        "half a record"
                    );
                }
                lost |= match (&seen, records.last()) {
                    (Some(seen), Some(last)) => !is_afterwards(last, seen),
                    (seen, last) => seen.is_some() != last.is_some(),
                };
            }
            *if lost {
                &mut sum.silent
            } else {
                &mut sum.whole
            } += 1;
        }
        Err(other) => panic!("{other}"),
    }
}
