//! The stores, with answers encrypted: the same contract, and what becomes of keys that come and go.

use std::sync::Arc;

use bytes::Bytes;
use idemproxy::idempotency::{Expect, Record, RecordId};
use idemproxy::store::{
    AnyStore, Codec, EncryptionKey, Inserted, Keyring, Replaced, Store, StoreError, StoreSettings,
};
use tempfile::TempDir;

use crate::contract::contract;
use crate::records::*;
use crate::support::RedisServer;
use crate::{embedded, redis};

mod memory {
    use super::*;
    use idemproxy::store::Memory;

    contract!(super::fresh);

    async fn fresh() -> (Memory, ()) {
        (Memory::with_codec(1 << 30, sealing(&[1])), ())
    }
}

mod in_a_file {
    use super::*;

    contract!(super::fresh);

    async fn fresh() -> (AnyStore, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&embedded::settings(dir.path()), sealing(&[1])).await;
        (store, dir)
    }
}

mod on_a_server {
    use super::*;

    contract!(super::fresh);

    async fn fresh() -> (AnyStore, RedisServer) {
        let server = RedisServer::start();
        let store = open(&redis::settings(&server), sealing(&[1])).await;
        (store, server)
    }
}

/// The codec of these keys.
fn sealing(keys: &[u8]) -> Codec {
    let keys = keys.iter().map(|key| EncryptionKey::new([*key; 32]));
    Codec::sealing(Keyring::of(keys.collect()).unwrap())
}

async fn open(settings: &StoreSettings, codec: Codec) -> AnyStore {
    let settings = StoreSettings {
        codec,
        ..settings.clone()
    };
    AnyStore::open(&settings).await.unwrap()
}

/// Writes a completed record through each of the codecs in turn, one after another on the same records.
async fn complete(store: &AnyStore, body: Vec<u8>) -> (RecordId, Record) {
    let (id, claim) = (fresh_id(), claim());
    create(store, id, &claim).await;
    let end = completed(&claim, body);
    let settled = store.replace(id, Expect::Held(claim.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    (id, end)
}

async fn holds(store: &AnyStore, (id, record): &(RecordId, Record)) {
    let seen = store.look(*id).await.unwrap().unwrap();
    assert_eq!(seen.record, *record);
    let met = store.insert(*id, &claim()).await;
    assert!(matches!(met, Ok(Inserted::Occupied(seen)) if seen.record == *record));
}

/// That a record is told as unreadable, whatever is asked for, and stays as it is.
async fn is_unreadable(store: &AnyStore, (id, record): &(RecordId, Record)) {
    let unreadable = |error: Option<StoreError>| {
        let error = error.unwrap();
        assert!(error.is_unreadable(), "{error}");
        assert!(error.to_string().contains("encryption_keys"), "{error}");
    };
    unreadable(store.look(*id).await.err());
    unreadable(store.insert(*id, &claim()).await.err());
    let expect = Expect::Released(record.token);
    // A server compares without reading the answer.
    match store.replace(*id, expect, &claim()).await {
        Err(error) => unreadable(Some(error)),
        Ok(replaced) => assert_eq!(replaced, Replaced::Stale),
    }
}

/// Keys come, change places and go, on one store that outlives the program.
async fn keys_come_and_go(settings: &StoreSettings) {
    for size in [10, 200_000] {
        let store = open(settings, Codec::clear()).await;
        let in_clear = complete(&store, vec![1; size]).await;
        drop(store);
        let store = open(settings, sealing(&[1])).await;
        let first = complete(&store, vec![2; size]).await;
        holds(&store, &in_clear).await;
        holds(&store, &first).await;
        drop(store);
        // A program that has the new key and does not use it yet, and one that does.
        let store = open(settings, sealing(&[1, 2])).await;
        let still_first = complete(&store, vec![3; size]).await;
        drop(store);
        let store = open(settings, sealing(&[2, 1])).await;
        let second = complete(&store, vec![4; size]).await;
        for record in [&in_clear, &first, &still_first, &second] {
            holds(&store, record).await;
        }
        drop(store);
        let store = open(settings, sealing(&[2])).await;
        for record in [&in_clear, &second] {
            holds(&store, record).await;
        }
        for record in [&first, &still_first] {
            is_unreadable(&store, record).await;
        }
        drop(store);
        // Without any, as after a step back.
        let store = open(settings, Codec::clear()).await;
        holds(&store, &in_clear).await;
        is_unreadable(&store, &second).await;
        drop(store);
        let store = open(settings, sealing(&[1])).await;
        holds(&store, &first).await;
    }
}

#[tokio::test]
async fn keys_come_and_go_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    keys_come_and_go(&embedded::settings(dir.path())).await;
}

#[tokio::test]
async fn keys_come_and_go_on_a_server() {
    let server = RedisServer::start();
    keys_come_and_go(&redis::settings(&server)).await;
}

#[tokio::test]
async fn an_answer_put_under_another_record_on_the_server_is_not_read() {
    let server = RedisServer::start();
    let store = open(&redis::settings(&server), sealing(&[1])).await;
    let (one, other) = (
        complete(&store, b"one".to_vec()).await,
        complete(&store, b"other".to_vec()).await,
    );
    let key = |id: RecordId| format!("contract:{id}");
    server.command(&["COPY", &key(one.0), &key(other.0), "REPLACE"]);
    holds(&store, &one).await;
    let read = store.look(other.0).await;
    assert!(read.unwrap_err().is_unreadable());
    let met = store.insert(other.0, &claim()).await;
    assert!(met.unwrap_err().is_unreadable());
}

#[tokio::test]
async fn fifty_large_answers_come_back_whole_at_once() {
    let server = RedisServer::start();
    let store = Arc::new(open(&redis::settings(&server), sealing(&[1])).await);
    let (id, record) = complete(&store, vec![7; 300_000]).await;
    let looks = (0..50).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.look(id).await })
    });
    for look in looks.collect::<Vec<_>>() {
        let seen = look.await.unwrap().unwrap().unwrap();
        let body = |record: Record| record.response.map_or(Bytes::new(), |it| it.body);
        assert_eq!(body(seen.record), body(record.clone()));
    }
}
