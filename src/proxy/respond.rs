//! Step six: what the client gets.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::fault::{Seeded, seeded};
use crate::idempotency::{Fields, Record, RecordId, State, StoredResponse, UnixMillis};
use crate::telemetry::Outcome;
use crate::wire::names::{EXPIRES, HeaderNames, ID, STATE};
use crate::wire::{self, Body, Code, Problem};

/// What a client gets, and what is counted and logged of it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) outcome: Outcome,
}

impl Answer {
    /// One of the proxy's own, whose words come last.
    pub(super) fn problem(problem: Problem) -> Self {
        let outcome = outcome_of(problem.code);
        Self {
            response: problem.unsaid(),
            outcome,
        }
    }
}

/// Puts the proxy's headers on the first answer to a key; whatever the upstream set under these names is replaced.
pub(super) fn mark(
    names: &HeaderNames,
    headers: &mut HeaderMap,
    id: RecordId,
    state: State,
    expires: Option<UnixMillis>,
) {
    names.strip(headers);
    let stored = expires.is_some();
    headers.insert(
        &names.stored,
        HeaderValue::from_static(if stored { "true" } else { "false" }),
    );
    identify(headers, id, state, expires);
}

/// Says of an answer that came without a claim that nothing of it was kept; `ours` if the proxy made it.
pub(super) fn mark_unguarded(
    names: &HeaderNames,
    headers: &mut HeaderMap,
    id: RecordId,
    ours: bool,
) {
    if !ours {
        names.strip(headers);
    }
    headers.insert(&names.stored, HeaderValue::from_static("false"));
    if let Ok(id) = HeaderValue::from_bytes(&id.hex()) {
        headers.insert(ID, id);
    }
}

/// The stored answer, whose body keeps what is `held` until it is sent; a problem if the store gave back what no answer can hold.
pub(super) fn replay<T: Send + Unpin + 'static>(
    names: &HeaderNames,
    id: RecordId,
    record: Record,
    held: T,
) -> Answer {
    match record.response.map(|stored| rebuild(stored, held)) {
        Some(Some(mut response)) => {
            // Kept while other names were configured, or by somebody else.
            names.strip(response.headers_mut());
            response
                .headers_mut()
                .insert(&names.replay, HeaderValue::from_static("true"));
            identify(response.headers_mut(), id, State::Completed, record.expires);
            Answer {
                response,
                outcome: Outcome::Replayed,
            }
        }
        _ => Answer::problem(
            Problem::new(
                Code::RecordUnreadable,
                "The stored answer of this key is damaged.",
            )
            .with_id(id.to_string())
            .with_state(State::Completed.name()),
        ),
    }
}

/// What is kept of an answer. Its fields are copied: an answer would hold on to the whole buffer that it was read into.
pub(super) fn keep(
    names: &HeaderNames,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
    trailers: &HeaderMap,
    set_cookie: bool,
) -> StoredResponse {
    let kept = |name: &HeaderName| {
        let cookies = set_cookie || seeded(Seeded::CookiesStored);
        !names.is_ours(name) && name != DATE && (cookies || name != SET_COOKIE)
    };
    StoredResponse {
        status: status.as_u16(),
        headers: headers.iter().filter(|(name, _)| kept(name)).collect(),
        body,
        trailers: trailers.iter().collect(),
    }
}

fn identify(headers: &mut HeaderMap, id: RecordId, state: State, expires: Option<UnixMillis>) {
    if let Ok(id) = HeaderValue::from_bytes(&id.hex()) {
        headers.insert(ID, id);
    }
    headers.insert(STATE, HeaderValue::from_static(state.name()));
    if let Some(UnixMillis(millis)) = expires {
        headers.insert(EXPIRES, wire::http_date(millis / 1000));
    }
}

/// Checks names, values and length again: a store that others can write to must not split an answer. Its body keeps what is `held`.
pub fn rebuild<T: Send + Unpin + 'static>(
    stored: StoredResponse,
    held: T,
) -> Option<Response<Body>> {
    let map = |fields: &Fields, more: usize| {
        let mut headers = HeaderMap::try_with_capacity(fields.len() + more).ok()?;
        for (name, value) in fields.shared() {
            let name = HeaderName::from_bytes(name).ok()?;
            let value = HeaderValue::from_maybe_shared(value).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(headers)
    };
    let headers = map(&stored.headers, ADDED)?;
    // An answer to HEAD tells a length and has no body.
    let length = stored.body.len().to_string();
    let told = headers.get_all(CONTENT_LENGTH);
    if !stored.body.is_empty() && told.iter().any(|told| *told != *length) {
        return None;
    }
    let trailers = map(&stored.trailers, 0)?;
    let mut response = Response::new(wire::whole_holding(stored.body, trailers, held));
    *response.status_mut() = StatusCode::from_u16(stored.status)
        .ok()
        .filter(|status| status.as_u16() >= 200)?;
    *response.headers_mut() = headers;
    crate::upstream::headers::strip_hop_by_hop(response.headers_mut());
    Some(response)
}

/// What is counted of a problem.
pub(super) fn outcome_of(code: Code) -> Outcome {
    match code {
        Code::BadRequest | Code::HeaderTooLarge => Outcome::BadRequest,
        Code::KeyMissing => Outcome::KeyMissing,
        Code::KeyInvalid => Outcome::KeyInvalid,
        Code::ScopeAmbiguous => Outcome::ScopeAmbiguous,
        Code::InProgress => Outcome::InProgress,
        Code::OutcomeUnknown | Code::OutcomeUnknownDrain => Outcome::OutcomeUnknown,
        Code::ResponseNotStored => Outcome::ResponseNotStored,
        Code::CredentialsChanged => Outcome::CredentialsChanged,
        Code::BodyTooLarge => Outcome::BodyTooLarge,
        Code::KeyReused => Outcome::KeyReused,
        Code::UpstreamUnreachable => Outcome::UpstreamUnreachable,
        Code::UpstreamFailed => Outcome::UpstreamFailed,
        Code::StoreUnavailable | Code::RecordUnreadable => Outcome::StoreError,
        Code::Overloaded => Outcome::Overloaded,
        Code::Draining => Outcome::Draining,
        Code::StillProcessing => Outcome::StillProcessing,
        Code::UpstreamTimeout => Outcome::UpstreamTimeout,
    }
}

/// Header lines that a replay gets of ours, and `Date`.
const ADDED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: Vec<(&'static str, &'static [u8])>, status: u16) -> Record {
        let stored = StoredResponse {
            status,
            headers: headers.into_iter().collect(),
            body: Bytes::from_static(b"\0\xff"),
            trailers: Default::default(),
        };
        let mut record = crate::idempotency::sample::in_flight(1);
        record.state = State::Completed;
        record.response = Some(stored);
        record
    }

    #[test]
    fn a_poisoned_record_splits_no_answer() {
        let id = RecordId::from_bytes([7; 16]);
        for (fields, status) in [
            (vec![("x-a", &b"b\r\nset-cookie: stolen=1"[..])], 201),
            (vec![("x a", &b"b"[..])], 201),
            (vec![("content-length", &b"1"[..])], 201),
            (
                vec![("content-length", &b"2"[..]), ("content-length", b"1")],
                201,
            ),
            (vec![("x-a", &b"b"[..]); 40_000], 201),
            (vec![], 100),
            (vec![], 7),
        ] {
            let answer = replay(&HeaderNames::default(), id, record(fields, status), ());
            assert_eq!(answer.response.status(), 503);
            assert_eq!(
                answer.response.headers()["x-idempotency-error"],
                "record-unreadable"
            );
        }
    }

    #[test]
    fn a_replay_carries_no_hop_by_hop_field_even_if_the_record_does() {
        let fields = vec![
            ("transfer-encoding", &b"chunked"[..]),
            ("connection", b"x-b"),
            ("x-b", b"1"),
            ("x-c", b"2"),
        ];
        let answer = replay(
            &HeaderNames::default(),
            RecordId::from_bytes([7; 16]),
            record(fields, 201),
            (),
        );
        assert_eq!(answer.response.status(), 201);
        assert_eq!(answer.response.headers()["x-c"], "2");
        for name in ["transfer-encoding", "connection", "x-b"] {
            assert!(!answer.response.headers().contains_key(name), "{name}");
        }
    }
}
