//! Records for tests.

use std::time::Duration;

use super::{Origin, Record, State, Token, UnixMillis};

/// A claim under a token of this number.
pub(crate) fn in_flight(token: u8) -> Record {
    Record {
        token: Token::from_bytes([token; 16]),
        state: State::InFlight,
        ttl: Duration::from_secs(60),
        lease: Duration::from_secs(3),
        attempts: 1,
        in_doubt: false,
        created: UnixMillis(1),
        settled: None,
        expires: None,
        fingerprint: None,
        credentials: None,
        origin: Origin::default(),
        status: None,
        error: None,
        trace: None,
        response: None,
    }
}
