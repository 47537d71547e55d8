//! Files that are not as they were written.

use std::fs;
use std::path::Path;

use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{Embedded, OpenError, Store};
use redb::{Database, TableDefinition};

use super::{open, settings};
use crate::records::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_refused_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let store = open(dir.path());
    let records = fill(&store).await;
    let left = fs::read(&path).unwrap();
    drop(store);
    let closed = fs::read(&path).unwrap();
    let mut refused = 0;
    for (crashed, whole) in [(true, left), (false, closed)] {
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for offset in (0..320).step_by(3).chain((320..end).step_by(6007)) {
            if offset == 9 && crashed {
                // The byte by which a commit becomes the newest: turned back, it is a crash before that commit.
                continue;
            }
            for flip in if offset < 320 { &[1, 255][..] } else { &[255] } {
                let mut bytes = whole.clone();
                bytes[offset] ^= flip;
                fs::write(&path, &bytes).unwrap();
                refused += usize::from(!stands(dir.path(), &records, offset).await);
            }
        }
    }
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn a_file_cut_short_emptied_or_foreign_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let store = open(dir.path());
    fill(&store).await;
    drop(store);
    let whole = fs::read(&path).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("other.redb");
    drop(redb::Database::create(&other).unwrap());
    let files = [
        Vec::new(),
        b"not a database".to_vec(),
        vec![0; 100_000],
        whole[..100].to_vec(),
        whole[..4096].to_vec(),
        whole[..whole.len() / 2].to_vec(),
    ];
    let files = files.into_iter().map(|bytes| (bytes, false));
    for (bytes, foreign) in files.chain([(fs::read(other).unwrap(), true)]) {
        fs::write(&path, &bytes).unwrap();
        match Embedded::open(dir.path(), &settings(dir.path())) {
            Err(error @ OpenError::Damaged { .. }) => {
                let said = error.to_string();
                assert!(
                    said.contains(path.to_str().unwrap()) && said.contains("move it away"),
                    "{said}"
                );
            }
            other => panic!("{} bytes: {other:?}", bytes.len()),
        }
        // Of the foreign one, its own close is noted in it.
        assert!(foreign || fs::read(&path).unwrap() == bytes);
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(open(dir.path()).statistics().records, 40);
}

#[tokio::test]
async fn a_file_of_another_format_is_refused_and_says_which() {
    const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("idemproxy");
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for (format, of) in [(2, "before 0.1.0 (format 2)"), (9, "newer version")] {
        let database = Database::open(dir.path().join("records.redb")).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(ABOUT)
            .unwrap()
            .insert("format", format)
            .unwrap();
        txn.commit().unwrap();
        drop(database);
        let error = Embedded::open(dir.path(), &settings(dir.path())).unwrap_err();
        assert!(error.to_string().contains(of), "{error}");
    }
}

#[tokio::test]
async fn a_crash_while_the_file_is_first_made_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    for left in [&b""[..], b"half a file"] {
        let dir = dir.path().join(left.len().to_string());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("records.redb.new"), left).unwrap();
        create(&open(&dir), fresh_id(), &claim()).await;
        assert!(!dir.join("records.redb.new").exists());
    }
}

#[tokio::test]
async fn nobody_else_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    let _store = open(&dir);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("records.redb")), 0o600);
}

/// Writes forty settled records, a quarter of them large.
async fn fill(store: &Embedded) -> Vec<(RecordId, Record)> {
    let mut records = Vec::new();
    for i in 0..40 {
        let (id, claim) = (fresh_id(), claim());
        create(store, id, &claim).await;
        let answer = completed(&claim, vec![i; if i % 4 == 0 { 9000 } else { 300 }]);
        store
            .replace(id, Expect::Held(claim.token), &answer)
            .await
            .unwrap();
        records.push((id, answer));
    }
    records
}

/// Whether the store opens, and then holds all of `records` as they were written.
async fn stands(dir: &Path, records: &[(RecordId, Record)], offset: usize) -> bool {
    let Ok(store) = Embedded::open(dir, &settings(dir)) else {
        return false;
    };
    for (id, record) in records {
        let seen = store.look(*id).await.unwrap();
        let seen = seen.unwrap_or_else(|| panic!("forgotten in silence: flipped at {offset}"));
        assert_eq!(&seen.record, record, "flipped at {offset}");
    }
    true
}
