//! Processes killed, and two at a time. The other process is this test binary, told by its environment what to do.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use idemproxy::idempotency::{Expect, RecordId, State, Token};
use idemproxy::store::{Embedded, OpenError, Store};

use super::{open, settings};
use crate::records::*;

const DIR: &str = "IDEMPROXY_TEST_DIR";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for kill in 0..20 {
        let mut child = spawn("embedded::crashes::child_that_writes", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Each child is killed at another point of its work.
        for _ in 0..20 + kill * 7 {
            acknowledged.extend(acknowledgement(&lines.next().unwrap().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged.extend(acknowledgement(&line));
        }

        let store = open(dir.path());
        for &(id, token, settled) in &acknowledged {
            let record = store.look(id).await.unwrap().unwrap().record;
            assert_eq!(record.token, token);
            match record.state {
                State::Completed => assert_eq!(record.response.unwrap().body, token.as_bytes()[..]),
                State::Unknown => assert!(!settled, "a settlement was lost"),
                state => panic!("{state:?}"),
            }
        }
    }
    assert!(
        acknowledged
            .iter()
            .filter(|(_, _, settled)| *settled)
            .count()
            > 500
    );
}

#[tokio::test]
async fn child_that_writes() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let store = Arc::new(Embedded::open(&dir, &settings(&dir)).unwrap());
    let say = |what: &str, id: RecordId, token: Token| {
        let mut out = std::io::stdout().lock();
        let token = u128::from_be_bytes(*token.as_bytes());
        writeln!(out, "{what} {id} {token:032x}").unwrap();
        out.flush().unwrap();
    };
    let workers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        async move {
            loop {
                let (id, claim) = (fresh_id(), claim());
                create(&*store, id, &claim).await;
                say("claimed", id, claim.token);
                let answer = completed(&claim, claim.token.as_bytes().to_vec());
                store
                    .replace(id, Expect::Held(claim.token), &answer)
                    .await
                    .unwrap();
                say("settled", id, claim.token);
            }
        }
    });
    let _: Vec<()> = futures_util::future::join_all(workers).await;
}

#[tokio::test]
async fn a_second_process_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, claim) = (fresh_id(), claim());
    create(&store, id, &claim).await;
    let child = spawn("embedded::crashes::child_that_opens", dir.path());
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("another process has this store open"),
        "{said}"
    );
    assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
    assert_eq!(store.look(id).await.unwrap().unwrap().record, claim);
    drop(store);
    let child = spawn("embedded::crashes::child_that_opens", dir.path());
    let said = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("opened"));
}

#[tokio::test]
async fn child_that_opens() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    match Embedded::open(&dir, &settings(&dir)) {
        Ok(_) => println!("opened"),
        Err(error @ OpenError::InUse { .. }) => println!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

/// Starts this test binary for one test alone.
fn spawn(test: &str, dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads a line that a child said: the id, the token, and whether it was settled. Nothing from the lines of the test harness, and
/// from one that was cut off.
fn acknowledgement(line: &str) -> Option<(RecordId, Token, bool)> {
    let mut words = line.split(' ');
    let settled = match words.next()? {
        "settled" => true,
        "claimed" => false,
        _ => return None,
    };
    let mut number = || {
        let word = words.next().filter(|word| word.len() == 32)?;
        Some(u128::from_str_radix(word, 16).ok()?.to_be_bytes())
    };
    Some((
        RecordId::from_bytes(number()?),
        Token::from_bytes(number()?),
        settled,
    ))
}
