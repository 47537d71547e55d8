//! Records to write, and ways to wait.

use std::time::{Duration, Instant};

use bytes::Bytes;
use idemproxy::idempotency::{
    Fingerprint, Origin, Part, Record, RecordId, State, StoredResponse, Token, UnixMillis,
};
use idemproxy::store::{Inserted, Store};

/// An id that no other test uses.
pub(crate) fn fresh_id() -> RecordId {
    RecordId::from_bytes(uuid::Uuid::now_v7().into_bytes())
}

/// A token that nobody else has.
pub(crate) fn fresh_token() -> Token {
    Token::from_bytes(uuid::Uuid::now_v7().into_bytes())
}

/// A claim that lapses only after the test, and is kept beyond it.
pub(crate) fn claim() -> Record {
    Record {
        token: fresh_token(),
        state: State::InFlight,
        ttl: Duration::from_secs(3600),
        lease: Duration::from_secs(600),
        attempts: 1,
        in_doubt: false,
        created: UnixMillis(1_790_000_000_000),
        settled: None,
        expires: None,
        fingerprint: Some(Fingerprint::from_iter([Part {
            name: "body",
            digest: [7; 16],
        }])),
        credentials: Some([9; 16]),
        origin: Origin::new("orders", "POST", "/orders", [3; 16]),
        status: None,
        error: None,
        trace: None,
        response: None,
    }
}

/// A claim that lapses at once.
pub(crate) fn short_claim() -> Record {
    Record {
        lease: Duration::from_millis(200),
        ..claim()
    }
}

/// `claim`, settled in `state`.
pub(crate) fn settled(claim: &Record, state: State) -> Record {
    Record {
        state,
        settled: Some(UnixMillis(1_790_000_001_000)),
        status: Some(201),
        ..claim.clone()
    }
}

/// `claim`, completed with an answer.
pub(crate) fn completed(claim: &Record, body: impl Into<Bytes>) -> Record {
    Record {
        expires: Some(UnixMillis(1_790_000_009_000)),
        response: Some(StoredResponse {
            status: 201,
            headers: [
                ("content-type", &b"application/octet-stream"[..]),
                ("x-twice", b"one"),
                ("x-twice", b"tw\xf6"),
                ("x-empty", b""),
            ]
            .into_iter()
            .collect(),
            body: body.into(),
            trailers: [("x-sum", "1")].into_iter().collect(),
        }),
        ..settled(claim, State::Completed)
    }
}

/// Inserts where nothing is.
pub(crate) async fn create(store: &impl Store, id: RecordId, record: &Record) {
    assert_eq!(store.insert(id, record).await, Ok(Inserted::Created));
}

/// Waits for a condition that must come true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
