//! What operators are told of a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::admin::{Handling, Operated};
use crate::idempotency::digest::Hasher;
use crate::idempotency::observation::is_marked;
use crate::idempotency::{Lapse, Record, RecordId, Seen, State, UnixMillis};
use crate::store::Listed;

/// What operators are told of a record: never a body, a credential or a key.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    id: String,
    /// Stands for the record as it is shown; a change that names it is refused if the record is another by then.
    pub(super) version: String,
    /// As a duplicate would find it: a lapsed claim is unknown.
    pub(super) state: &'static str,
    /// Whether it is a claim whose holder was not heard of for a whole lease.
    lapsed: bool,
    route: String,
    method: String,
    path: String,
    created: Option<String>,
    settled: Option<String>,
    expires: Option<String>,
    attempts: u32,
    /// Whether an earlier attempt may have been carried out.
    in_doubt: bool,
    status: Option<u16>,
    error: Option<String>,
    /// Bytes of the body that duplicates get; nothing where no answer is kept.
    response_bytes: Option<u64>,
    /// Whether it is of a request that was only observed, and so holds no duplicate.
    observed: bool,
    /// What duplicates meet, as its route is configured now; nothing where there is no such route any more.
    #[serde(flatten)]
    handling: Option<Handling>,
}

impl Entry {
    pub(super) fn listed(listed: &Listed, now: UnixMillis) -> Self {
        let record = &listed.record;
        Self {
            id: listed.id.to_string(),
            version: version(record),
            state: listed.state().name(),
            lapsed: listed.lapsed,
            route: record.origin.route().to_owned(),
            method: record.origin.method().to_owned(),
            path: record.origin.path().to_owned(),
            created: time(record.created),
            settled: record.settled.and_then(time),
            expires: match (record.expires, listed.expires_in) {
                (Some(expires), _) => time(expires),
                (None, Some(left)) => time(whole_seconds(now.after(left))),
                (None, None) => None,
            },
            attempts: record.attempts,
            in_doubt: record.in_doubt,
            status: record.status,
            error: record.error.clone(),
            response_bytes: listed.response_bytes,
            observed: is_marked(record),
            handling: None,
        }
    }

    /// Tells what duplicates meet, too.
    pub(super) fn under(mut self, operated: &dyn Operated) -> Self {
        self.handling = operated.handling(&self.route);
        self
    }

    pub(super) fn seen(id: RecordId, seen: &Seen, now: UnixMillis) -> Self {
        let response = seen.record.response.as_ref();
        let listed = Listed {
            id,
            lapsed: seen.record.state == State::InFlight && seen.lapse == Lapse::Lapsed,
            response_bytes: response.map(|response| response.body.len() as u64),
            expires_in: seen
                .quiet
                .map(|quiet| seen.record.ttl.saturating_sub(quiet)),
            record: Record {
                response: None,
                ..seen.record.clone()
            },
        };
        Self::listed(&listed, now)
    }
}

/// A tag of a record: every write but a heartbeat makes another. It is a hash, since tokens are nobody's business.
pub(super) fn version(record: &Record) -> String {
    let mut hasher = Hasher::new("version of a record");
    hasher.part(record.token.as_bytes());
    hasher.part(record.state.name().as_bytes());
    format!("{:032x}", u128::from_be_bytes(hasher.finish()))
}

/// Reads 32 hex digits.
pub(super) fn parse_id(text: &str) -> Option<RecordId> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(RecordId::from_bytes(number.to_be_bytes()))
}

pub(super) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// RFC 3339; nothing for a time after the year 9999, which it cannot write.
fn time(UnixMillis(millis): UnixMillis) -> Option<String> {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis))?;
    (millis <= LAST_TIME).then(|| humantime::format_rfc3339_millis(at).to_string())
}

/// The end of a time to live is known no better.
fn whole_seconds(UnixMillis(millis): UnixMillis) -> UnixMillis {
    UnixMillis(millis / 1000 * 1000)
}

/// The last second of the year 9999.
const LAST_TIME: u64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::sample;

    #[test]
    fn times_that_cannot_be_written_are_left_out() {
        let written = |millis| time(UnixMillis(millis));
        assert_eq!(written(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(
            written(LAST_TIME).as_deref(),
            Some("9999-12-31T23:59:59.000Z")
        );
        for far in [LAST_TIME + 1, u64::MAX] {
            assert_eq!(written(far), None);
        }
    }

    #[test]
    fn only_what_was_shown_as_an_id_is_one() {
        let id = RecordId::from_bytes([0xab; 16]);
        assert_eq!(parse_id(&id.to_string()), Some(id));
        let signed = format!("+{}", "1".repeat(31));
        for bad in ["", "ab", &"g".repeat(32), &"1".repeat(33), &signed] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_token_or_state_is_another_version() {
        let claim = sample::in_flight(1);
        let mut renewed = claim.clone();
        renewed.attempts += 1;
        assert_eq!(version(&claim), version(&renewed));
        assert_ne!(version(&claim), version(&sample::in_flight(2)));
        renewed.state = State::Released;
        assert_ne!(version(&claim), version(&renewed));
    }
}
