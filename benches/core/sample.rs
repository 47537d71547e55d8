//! Records and requests as they are every day.

use std::time::Duration;

use idemproxy::idempotency::{
    Attempt, Fingerprint, Origin, Outcome, Payload, Record, RecordId, StoredResponse, Terms, Token,
    UnixMillis, Verified, settle,
};

/// The durations of a policy.
pub(crate) const TERMS: Terms = Terms {
    lease: Duration::from_secs(30),
    retention: Duration::from_secs(24 * 3600),
    failed_retention: Duration::from_secs(24 * 3600),
    unknown_retention: Duration::from_secs(7 * 24 * 3600),
};

/// A request under a token of this number.
pub(crate) fn attempt(token: u8) -> Attempt {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add("method", b"POST");
    fingerprint.add("path", b"/payments");
    fingerprint.add("query", b"");
    fingerprint.add("body", &json(200));
    Attempt {
        token: Token::from_bytes([token; 16]),
        terms: TERMS,
        now: UnixMillis(1),
        payload: Payload::Whole(fingerprint),
        credentials: Some([7; 16]),
        named: true,
        verified: Verified::Untold,
        origin: Origin::new("/payments", "POST", "/payments", [3; 16]),
        trace: None,
    }
}

/// What the first of those leaves, its answer's body of this size.
pub(crate) fn completed(size: usize) -> Record {
    let outcome = Outcome::Completed {
        status: 201,
        response: Some(response(size)),
    };
    settle(attempt(1).claim(), TERMS, outcome, None, UnixMillis(2))
}

/// An answer with a body of this size.
pub(crate) fn response(size: usize) -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: [
            ("content-type", "application/json"),
            ("date", "Sat, 21 Nov 2026 13:28:42 GMT"),
            ("x-request-id", "req_0123456789"),
            ("cache-control", "no-store"),
        ]
        .into_iter()
        .collect(),
        body: json(size).into(),
        trailers: Default::default(),
    }
}

/// A JSON text of about this size.
pub(crate) fn json(size: usize) -> Vec<u8> {
    let item = r#"{"sku":"A-1042","count":3,"price":19.99,"note":"ü, as it comes"}"#;
    let items = vec![item; (size / (item.len() + 1)).max(1)];
    format!(r#"{{"items":[{}]}}"#, items.join(",")).into_bytes()
}

/// A record's name.
pub(crate) const fn id() -> RecordId {
    RecordId::from_bytes([9; 16])
}
