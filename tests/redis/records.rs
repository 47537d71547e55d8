//! Records and stores for these tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idemproxy::idempotency::{Origin, Record, RecordId, State, StoredResponse, Token, UnixMillis};
use idemproxy::store::{Location, Redis, StoreSettings, Sync};

/// Short, so that what is to time out does so soon; long enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);

pub(crate) fn settings() -> StoreSettings {
    StoreSettings {
        location: Location::Memory,
        prefix: "test".to_owned(),
        timeout: TIMEOUT,
        sync: Sync::Always,
        max_bytes: 0,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    }
}

pub(crate) async fn connect(url: &str) -> Redis {
    Redis::connect(url, &settings()).await.unwrap()
}

pub(crate) fn id(number: u8) -> RecordId {
    RecordId::from_bytes([number; 16])
}

pub(crate) fn key(number: u8) -> String {
    format!("test:{}", id(number))
}

pub(crate) fn token() -> Token {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0xff; 16];
    // Bytes that Lua patterns or text would trip over are part of it.
    bytes[..4].copy_from_slice(b"%.\0\n");
    bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Token::from_bytes(bytes)
}

/// A claim of an hour, with a lease of half a minute.
pub(crate) fn claim() -> Record {
    Record {
        token: token(),
        state: State::InFlight,
        ttl: Duration::from_secs(3600),
        lease: Duration::from_secs(30),
        attempts: 1,
        in_doubt: false,
        created: UnixMillis(1),
        settled: None,
        expires: None,
        fingerprint: None,
        credentials: None,
        origin: Origin::new("r", "POST", "/a", [7; 16]),
        status: None,
        error: None,
        trace: None,
        response: None,
    }
}

pub(crate) fn released(claim: &Record) -> Record {
    Record {
        state: State::Released,
        settled: Some(UnixMillis(2)),
        ..claim.clone()
    }
}

pub(crate) fn unknown(claim: &Record) -> Record {
    Record {
        state: State::Unknown,
        settled: Some(UnixMillis(2)),
        ..claim.clone()
    }
}

/// Completed, with a body of so many bytes that are no text.
pub(crate) fn completed(claim: &Record, length: usize) -> Record {
    let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    Record {
        state: State::Completed,
        settled: Some(UnixMillis(2)),
        status: Some(201),
        response: Some(StoredResponse {
            status: 201,
            headers: [("a", &b"\xff\0\r\n"[..]), ("a", b"2")]
                .into_iter()
                .collect(),
            body: body.into(),
            trailers: Default::default(),
        }),
        ..claim.clone()
    }
}
