//! Which records an operator wants to see.

use std::time::Duration;

use super::entry::parse_id;
use crate::admin::answer::Refusal;
use crate::admin::flag::unknown;
use crate::idempotency::digest::Digest;
use crate::idempotency::{Key, RecordId, State, UnixMillis};
use crate::store::Listed;

/// Which records an operator wants to see.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    state: Option<State>,
    route: Option<String>,
    /// Of the key alone; it may have been sent in two ways.
    key: Option<[Digest; 2]>,
    /// Made at this time or before.
    until: Option<UnixMillis>,
    /// Made after this time.
    since: Option<UnixMillis>,
    /// At most so many.
    pub(super) limit: usize,
    /// Those after this one.
    pub(super) after: Option<RecordId>,
}

impl Query {
    /// Reads a query. `digest` tells what a record holds of a key.
    pub(super) fn parse(
        query: &str,
        digest: impl Fn(&Key) -> Digest,
        now: UnixMillis,
    ) -> Result<Self, Refusal> {
        let mut asked = Self {
            state: None,
            route: None,
            key: None,
            until: None,
            since: None,
            limit: LIMIT,
            after: None,
        };
        let mut names = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = &*value;
            match &*name {
                // A filter that is left empty, as by a form.
                "state" | "route" | "key" | "limit" | "cursor" | "older_than" | "newer_than"
                    if value.is_empty() => {}
                "state" => asked.state = Some(state(value)?),
                "route" => asked.route = Some(value.to_owned()),
                "key" => asked.key = Some(digests(value, &digest)?),
                "limit" => asked.limit = limit(value)?,
                "cursor" => {
                    let after = parse_id(value);
                    let after = after.ok_or_else(|| bad("cursor", "the cursor of a page"))?;
                    asked.after = Some(after);
                }
                "older_than" => asked.until = Some(ago(now, "older_than", value)?),
                "newer_than" => asked.since = Some(ago(now, "newer_than", value)?),
                _ => return Err(unknown(&name)),
            }
            if names.contains(&name) {
                return Err(bad(&name, "it once"));
            }
            names.push(name);
        }
        Ok(asked)
    }

    pub(super) fn wants(&self, listed: &Listed) -> bool {
        let record = &listed.record;
        self.state.is_none_or(|wanted| wanted == listed.state())
            && (self.route.as_ref()).is_none_or(|route| **route == *record.origin.route())
            && self.key.is_none_or(|key| key.contains(&record.origin.key))
            && self.until.is_none_or(|until| record.created <= until)
            && self.since.is_none_or(|since| record.created > since)
    }
}

fn state(name: &str) -> Result<State, Refusal> {
    let found = STATES.into_iter().find(|state| state.name() == name);
    found.ok_or_else(|| bad("state", "in-flight, unknown, released or completed"))
}

fn limit(value: &str) -> Result<usize, Refusal> {
    let limit = value.parse().ok();
    limit
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| bad("limit", &format!("a number from 1 to {LIMIT_MAX}")))
}

fn ago(UnixMillis(now): UnixMillis, name: &str, value: &str) -> Result<UnixMillis, Refusal> {
    let age: Duration = humantime::parse_duration(value)
        .map_err(|_| bad(name, "a duration, such as 90s, 5m or 2h"))?;
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Ok(UnixMillis(now.saturating_sub(age)))
}

/// What a record holds of the key: as it stands, and as a header would be read.
fn digests(key: &str, of: impl Fn(&Key) -> Digest) -> Result<[Digest; 2], Refusal> {
    let bare = Key::bare(key.as_bytes(), KEY_MAX);
    let header = Key::from_header(key.as_bytes(), KEY_MAX);
    match (bare, header) {
        (Ok(bare), Ok(header)) => Ok([of(&bare), of(&header)]),
        (Ok(key), Err(_)) | (Err(_), Ok(key)) => Ok([of(&key); 2]),
        (Err(_), Err(_)) => Err(bad("key", "an idempotency key")),
    }
}

/// Without the value, which may be a key.
fn bad(name: &str, expected: &str) -> Refusal {
    Refusal::bad(format!("{name}: expected {expected}"))
}

const STATES: [State; 4] = [
    State::InFlight,
    State::Unknown,
    State::Released,
    State::Completed,
];
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// More than any route takes.
const KEY_MAX: usize = 8 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::idempotency::{Secret, sample};

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const EMPTY: &str = "state=&route=&key=&limit=&cursor=&older_than=&newer_than=";

    fn query(text: &str) -> Query {
        Query::parse(text, |key| Secret::none().key(key), NOW).unwrap()
    }

    fn listed(change: impl FnOnce(&mut Listed)) -> Listed {
        let mut listed = Listed {
            id: RecordId::from_bytes([1; 16]),
            record: sample::in_flight(1),
            lapsed: false,
            response_bytes: None,
            expires_in: None,
        };
        change(&mut listed);
        listed
    }

    #[test]
    fn nothing_asked_for_is_everything_a_hundred_at_a_time() {
        for text in ["", EMPTY] {
            let all = query(text);
            assert_eq!((all.limit, all.after), (100, None));
            assert!(all.wants(&listed(|_| ())));
        }
    }

    #[test]
    fn a_lapsed_claim_is_asked_for_as_unknown() {
        let lapsed = listed(|listed| listed.lapsed = true);
        assert!(query("state=unknown").wants(&lapsed));
        assert!(!query("state=in-flight").wants(&lapsed));
        assert!(query("state=in-flight").wants(&listed(|_| ())));
        let settled = listed(|listed| listed.record.state = State::Released);
        assert!(query("state=released").wants(&settled));
    }

    #[test]
    fn age_counts_from_when_the_key_was_first_seen() {
        let of = |created| listed(|listed| listed.record.created = UnixMillis(created));
        assert!(query("older_than=1m").wants(&of(940_000)));
        assert!(!query("older_than=1m").wants(&of(940_001)));
        assert!(query("newer_than=1m").wants(&of(940_001)));
        assert!(!query("newer_than=1m").wants(&of(940_000)));
        assert!(query("newer_than=100years").wants(&of(1)));
    }

    #[test]
    fn a_key_is_found_however_it_is_quoted() {
        let key = Secret::none().key(&Key::bare(b"a b+c", KEY_MAX).unwrap());
        let record = listed(|listed| listed.record.origin.key = key);
        for text in ["key=a+b%2Bc", "key=a%20b%2bc", "key=%22a%20b%2Bc%22"] {
            assert!(query(text).wants(&record), "{text}");
        }
        assert!(!query("key=a").wants(&record));
    }

    #[test]
    fn what_is_wrong_is_named_and_a_key_is_not() {
        for (text, detail) in [
            ("limit=0", "limit: expected a number from 1 to 1000"),
            ("limit=1001", "limit: expected a number from 1 to 1000"),
            ("limit=-1", "limit: expected a number from 1 to 1000"),
            ("limit=1&limit=2", "limit: expected it once"),
            ("cursor=x", "cursor: expected the cursor of a page"),
            (
                "older_than=1",
                "older_than: expected a duration, such as 90s, 5m or 2h",
            ),
            (
                "state=done",
                "state: expected in-flight, unknown, released or completed",
            ),
            ("key=%00s3cret", "key: expected an idempotency key"),
            ("state=&state=", "state: expected it once"),
            ("stat=x%0A", "unknown parameter: stat"),
        ] {
            let refusal = Query::parse(text, |key| Secret::none().key(key), NOW).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert_eq!(refusal.detail, detail, "{text}");
        }
    }
}
