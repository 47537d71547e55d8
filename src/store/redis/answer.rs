//! Reads what the server answers.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use super::Named;
use super::failure::Failure;
use super::script::{self, MAX_TTL};
use crate::idempotency::{Lapse, Record, Seen, State};
use crate::store::{CodecError, Head, HeadError, Replaced, decode_head};

/// What a look with a limit found.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, and a box would cost an allocation a duplicate"
)]
pub(super) enum Look {
    /// This record, or nothing; after a claim, nothing is the claim.
    Whole(Option<Seen>),
    /// A record beyond the limit.
    Large,
}

/// What the first bytes of a record told.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, and a box would cost an allocation a record"
)]
pub(super) enum Beginning {
    /// There is none.
    Nothing,
    /// Not enough: so many may.
    Needs(usize),
    /// This, and what is left of its time to live.
    Told {
        head: Head,
        lapsed: bool,
        expires_in: Option<Duration>,
    },
}

/// Reads the answer to `SET NX GET`.
pub(super) fn found(named: Named<'_>, answer: Value) -> Result<Option<Seen>, Failure> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(frame) => {
            let record = read(named, frame)?;
            let lapse = match record.state {
                State::InFlight | State::Unknown => Lapse::Untold,
                State::Released | State::Completed => Lapse::Live,
            };
            Ok(Some(Seen {
                record,
                lapse,
                quiet: None,
            }))
        }
        _ => Err(unexpected()),
    }
}

/// Reads the answer of the scripts that look.
pub(super) fn looked(named: Named<'_>, answer: Value) -> Result<Look, Failure> {
    let Value::Array(parts) = answer else {
        return Err(unexpected());
    };
    match parts.as_slice() {
        [Value::Int(script::NOTHING)] => Ok(Look::Whole(None)),
        [Value::Int(script::LARGE)] => Ok(Look::Large),
        [Value::Int(script::UNREADABLE)] => Err(foreign()),
        [
            Value::Int(script::FOUND),
            Value::Int(left),
            Value::BulkString(_),
        ] => {
            let left = *left;
            let frame = match parts.into_iter().nth(2) {
                Some(Value::BulkString(frame)) => frame,
                _ => return Err(unexpected()),
            };
            let record = read(named, frame)?;
            let (lapse, quiet) = (lapse(&record, left), quiet(&record, left));
            Ok(Look::Whole(Some(Seen {
                record,
                lapse,
                quiet,
            })))
        }
        _ => Err(unexpected()),
    }
}

/// Reads the answer of the script that reads the beginning of a record.
pub(super) fn began(answer: Value) -> Result<Beginning, Failure> {
    let Value::Array(parts) = answer else {
        return Err(unexpected());
    };
    match parts.as_slice() {
        [Value::Int(script::NOTHING)] => Ok(Beginning::Nothing),
        [Value::Int(script::UNREADABLE)] => Err(foreign()),
        [
            Value::Int(script::FOUND),
            Value::Int(left),
            Value::Int(length),
            Value::BulkString(beginning),
        ] => match decode_head(beginning, u64::try_from(*length).unwrap_or_default()) {
            Ok(head) => Ok(Beginning::Told {
                lapsed: lapse(&head.record, *left) == Lapse::Lapsed,
                expires_in: u64::try_from(*left).ok().map(Duration::from_millis),
                head,
            }),
            Err(HeadError::Needs(bytes)) => Ok(Beginning::Needs(bytes)),
            Err(HeadError::Unreadable(error)) => Err(Failure::Unreadable(error.to_string())),
        },
        _ => Err(unexpected()),
    }
}

/// Reads the answer to `SCAN`: where to go on, and the keys.
pub(super) fn scanned(answer: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>), Failure> {
    ::redis::from_redis_value(answer).map_err(|_| unexpected())
}

/// Takes a look without a limit for what it found.
pub(super) fn whole(look: Look) -> Result<Option<Seen>, Failure> {
    match look {
        Look::Whole(seen) => Ok(seen),
        Look::Large => Err(unexpected()),
    }
}

/// Reads the answer of the scripts that write.
pub(super) fn replaced(answer: Value) -> Result<Replaced, Failure> {
    match answer {
        Value::Int(script::STALE) => Ok(Replaced::Stale),
        Value::Int(script::APPLIED) => Ok(Replaced::Applied),
        Value::Int(script::RESTORED) => Ok(Replaced::Restored),
        Value::Int(script::UNREADABLE) => Err(foreign()),
        _ => Err(unexpected()),
    }
}

fn read(named: Named<'_>, frame: Vec<u8>) -> Result<Record, Failure> {
    let record = named.codec.decode(named.id, Bytes::from(frame));
    record.map_err(|error: CodecError| Failure::Unreadable(error.to_string()))
}

/// How long ago a record was written or renewed, by what is left of its time to live; without an expiry nothing is known.
fn quiet(record: &Record, left: i64) -> Option<Duration> {
    let left = u64::try_from(left).ok()?;
    let whole = u64::try_from(bounded(record.ttl)).ok()?;
    Some(Duration::from_millis(whole.saturating_sub(left)))
}

fn bounded(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(MAX_TTL)
        .min(MAX_TTL)
}

/// Whether a lease lapsed, by what is left of the record's time to live. The scripts have the same rule.
fn lapse(record: &Record, left: i64) -> Lapse {
    let lapsed = record.state == State::InFlight
        && left >= 0
        && left < bounded(record.ttl) - bounded(record.lease);
    if lapsed { Lapse::Lapsed } else { Lapse::Live }
}

fn foreign() -> Failure {
    Failure::Unreadable("it is no record that this version reads".to_owned())
}

fn unexpected() -> Failure {
    Failure::Unintelligible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::{Origin, RecordId, Token, UnixMillis};
    use crate::store::Codec;

    #[test]
    fn lapse_is_judged_by_what_is_left_of_the_time_to_live() {
        let record = Record {
            token: Token::from_bytes([1; 16]),
            state: State::InFlight,
            ttl: Duration::from_millis(1000),
            lease: Duration::from_millis(300),
            attempts: 1,
            in_doubt: false,
            created: UnixMillis(0),
            settled: None,
            expires: None,
            fingerprint: None,
            credentials: None,
            origin: Origin::default(),
            status: None,
            error: None,
            trace: None,
            response: None,
        };
        assert_eq!(lapse(&record, 1000), Lapse::Live);
        assert_eq!(lapse(&record, 700), Lapse::Live);
        assert_eq!(lapse(&record, 699), Lapse::Lapsed);
        assert_eq!(lapse(&record, 0), Lapse::Lapsed);
        assert_eq!(
            lapse(&record, -1),
            Lapse::Live,
            "without an expiry nothing is known"
        );
        let settled = Record {
            state: State::Unknown,
            ..record.clone()
        };
        assert_eq!(lapse(&settled, 0), Lapse::Live);
        let ago = |left| quiet(&record, left).map(|quiet| quiet.as_millis());
        assert_eq!(
            [1000, 300, 1001, -1].map(ago),
            [Some(0), Some(700), Some(0), None]
        );
        let for_ever = Record {
            ttl: Duration::MAX,
            lease: Duration::MAX,
            ..record
        };
        assert_eq!(lapse(&for_ever, 1), Lapse::Live);
    }

    #[test]
    fn an_answer_of_another_form_tells_nothing_of_what_was_written() {
        let unknown = Some(Failure::Unintelligible);
        let named = Named {
            key: "k",
            id: RecordId::from_bytes([1; 16]),
            codec: &Codec::clear(),
        };
        assert_eq!(found(named, Value::Int(1)).err(), unknown);
        assert_eq!(
            looked(named, Value::Array(vec![Value::Int(9)])).err(),
            unknown
        );
        assert_eq!(replaced(Value::Nil).err(), unknown);
        let garbage = found(named, Value::BulkString(b"garbage".to_vec()));
        assert!(matches!(garbage, Err(Failure::Unreadable(_))));
    }
}
