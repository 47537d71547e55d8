//! What of a record decides over writes.

use std::time::Duration;

use super::{header, state_of};
use crate::idempotency::{Record, State, Token};

/// What of a record decides over writes; it stands at fixed places in its frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) token: Token,
    pub(in crate::store) state: State,
    pub(in crate::store) ttl: Duration,
    pub(in crate::store) lease: Duration,
}

impl Stamp {
    pub(in crate::store) fn of(record: &Record) -> Self {
        Self {
            token: record.token,
            state: record.state,
            ttl: record.ttl,
            lease: record.lease,
        }
    }

    /// The one in a frame, of which no more is read; nothing if this version does not read it.
    pub(in crate::store) fn read(frame: &[u8]) -> Option<Self> {
        let number = |at| {
            let bytes = frame.get(at..)?.first_chunk()?;
            Some(Duration::from_millis(u64::from_be_bytes(*bytes)))
        };
        Some(Self {
            state: state_of(frame)?,
            token: Token::from_bytes(*frame.get(header::TOKEN..)?.first_chunk()?),
            ttl: number(header::TTL)?,
            lease: number(header::LEASE)?,
        })
    }
}
