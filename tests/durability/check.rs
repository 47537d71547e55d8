//! What must hold when a store opens after the power went.

use idemproxy::idempotency::{Expect, Record, State};
use idemproxy::store::{Embedded, Inserted, Replaced, Store, Sync};

use crate::records::{claim, completed};
use crate::workload::{Client, Key};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Acknowledged writes that are there, exactly.
    pub kept: usize,
    /// Claims acknowledged and not settled: unknown.
    pub unknown: usize,
    /// Writes that were not answered, and are there; and that are not.
    pub stood: usize,
    pub fell: usize,
    /// Records whose time was over and that were removed, by now.
    pub swept: u64,
    /// What a store that syncs late has forgotten.
    pub forgotten: usize,
}

/// Compares every key with what its client was told, and goes on from what is there.
pub async fn check(store: &Embedded, clients: &mut [Client], sync: Sync) -> Found {
    let mut found = Found::default();
    let (mut lasting, mut brief, mut ended) = (0, 0, 0);
    for client in clients {
        for key in &mut client.keys {
            check_key(store, key, sync, &mut found).await;
        }
        client.keys.retain(|key| key.known.is_some() || key.brief);
        let count = |of: fn(&Key) -> bool| client.keys.iter().filter(|key| of(key)).count() as u64;
        lasting += count(|key| !key.brief);
        brief += count(|key| key.brief);
        ended += count(|key| key.ended);
    }
    let there = store.statistics().records;
    assert!(
        (lasting..=lasting + brief).contains(&there),
        "{there} records: {lasting} that last, {brief} that end"
    );
    found.swept = ended.saturating_sub(there - lasting);
    found
}

async fn check_key(store: &Embedded, key: &mut Key, sync: Sync, found: &mut Found) {
    let seen = store.look(key.id).await.unwrap().map(|seen| seen.record);
    let matches = |record: &Record| {
        seen.as_ref()
            .is_some_and(|seen| is_afterwards(record, seen))
    };
    let stands = key.doubts.iter().any(matches);
    let id = key.id;
    match &key.known {
        _ if stands => found.stood += 1,
        Some(known) if matches(known) => {
            found.kept += 1;
            found.unknown += usize::from(known.state == State::InFlight);
        }
        Some(_) if seen.is_none() && key.brief => key.ended = true,
        None if seen.is_none() => {}
        known if sync == Sync::Never => {
            assert!(
                seen.is_none() || key.past.iter().any(matches),
                "{id}: {seen:?} was never written"
            );
            found.forgotten += usize::from(known.is_some());
        }
        known => panic!(
            "{id}: {known:?} was acknowledged, {:?} was not, {seen:?} is there",
            key.doubts
        ),
    }
    found.fell += key.doubts.len() - usize::from(stands);
    key.doubts.clear();
    key.known = seen;
    let Some(known) = key.known.as_ref().filter(|_| !key.brief) else {
        return;
    };
    let next = claim();
    match store.insert(id, &next).await {
        Ok(Inserted::Occupied(seen)) => assert_eq!(&seen.record, known),
        other => panic!("{id}: {other:?} of a claim over {:?}", known.state),
    }
    if u128::from_be_bytes(*next.token.as_bytes()).is_multiple_of(16) {
        let record = completed(&next, "never");
        let settled = store.replace(id, Expect::Held(next.token), &record).await;
        assert_eq!(settled, Ok(Replaced::Stale));
    }
}

/// Whether `seen` is `record` as the next process finds it: a claim is unknown then, and tells when that was found, and why.
pub fn is_afterwards(record: &Record, seen: &Record) -> bool {
    let mut expected = record.clone();
    if record.state == State::InFlight {
        expected.state = State::Unknown;
        expected.error = Some("the proxy stopped while the request was running".to_owned());
        expected.settled = seen.settled.filter(|settled| *settled > record.created);
        if expected.settled.is_none() {
            return false;
        }
    }
    expected == *seen
}
