//! Refusals of the core and failures of the store, as answers.

use std::time::Duration;

use super::acquire::Denied;
use crate::idempotency::{Lapse, RecordId, Refusal, Seen, State};
use crate::store::StoreError;
use crate::wire::{Code, Problem};

/// The answer to a refusal by what the record says.
pub(super) fn refusal(refusal: Refusal, id: RecordId, seen: &Seen) -> Problem {
    let state = match (seen.record.state, seen.lapse) {
        (State::InFlight, Lapse::Lapsed) => State::Unknown,
        (state, _) => state,
    };
    let problem = match refusal {
        Refusal::InProgress => return in_progress(id, state),
        Refusal::OutcomeUnknown => Problem::new(
            Code::OutcomeUnknown,
            "The first request with this key may or may not have been carried out. Look before you try again under a new key.",
        ),
        Refusal::KeyReused(parts) => Problem::new(
            Code::KeyReused,
            format!(
                "This key was used for another request. What differs: {}.",
                parts.join(", ")
            ),
        ),
        Refusal::ResponseNotStored(status) => with_status(
            Problem::new(
                Code::ResponseNotStored,
                "The request was carried out, and its answer was not kept.",
            ),
            status,
        ),
        Refusal::CredentialsChanged(status) => with_status(
            Problem::new(
                Code::CredentialsChanged,
                "The request was carried out under other credentials of this caller; its answer is shown under those.",
            ),
            status,
        ),
    };
    problem.with_id(id.to_string()).with_state(state.name())
}

/// The answer while somebody else is at work on the key.
pub(super) fn in_progress(id: RecordId, state: State) -> Problem {
    Problem::new(
        Code::InProgress,
        "A request with this key is being processed. Try again later.",
    )
    .with_id(id.to_string())
    .with_state(state.name())
}

/// The answer to a duplicate that waited for a record which is gone.
pub(super) fn gone(id: RecordId) -> Problem {
    Problem::new(
        Code::InProgress,
        "The record of the first request with this key is gone. Try again.",
    )
    .with_id(id.to_string())
}

/// The answer while somebody else asks the upstream whether the caller's other credentials stand.
pub(super) fn vouched(id: RecordId) -> Problem {
    Problem::new(
        Code::InProgress,
        "The request was carried out under other credentials of this caller; the upstream is being asked whether these stand. Try again later.",
    )
    .with_id(id.to_string())
    .with_state(State::Completed.name())
}

/// The answer while the upstream is asked about the key, or has to be asked again after a while.
pub(super) fn asked(id: RecordId, left: Option<Duration>) -> Problem {
    let words = match left {
        None => {
            "The upstream is being asked whether the first request with this key was carried out. Try again later."
        }
        Some(_) => {
            "The upstream does not know of the first request with this key, which may still be under way. It is asked again at a try after Retry-After."
        }
    };
    let mut problem = Problem::new(Code::InProgress, words);
    if let Some(left) = left {
        let seconds = left.as_millis().div_ceil(1000).max(1);
        problem.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    problem
        .with_id(id.to_string())
        .with_state(State::Unknown.name())
}

/// The answer where nothing was claimed and nothing forwarded.
pub(super) fn denied(denied: Denied, id: RecordId) -> Problem {
    match denied {
        Denied::Refused(problem) if problem.id.is_some() => problem,
        Denied::Refused(problem) => problem.with_id(id.to_string()),
        Denied::NoStore(error) | Denied::Unguarded(error) => {
            let problem = match &error {
                StoreError::Unreadable(_) => Problem::new(
                    Code::RecordUnreadable,
                    "The record of this key was written by another version of the proxy, is encrypted under a key that this one was not given, or is damaged.",
                ),
                StoreError::Refused(_) | StoreError::Unanswered(_) => Problem::new(
                    Code::StoreUnavailable,
                    "The store of idempotency records is not available. Nothing was forwarded.",
                ),
            };
            tracing::warn!(%id, %error, "a request was refused for its store");
            problem.with_id(id.to_string())
        }
    }
}

fn with_status(problem: Problem, status: Option<u16>) -> Problem {
    match status {
        Some(status) => problem.with_status_code(status),
        None => problem,
    }
}
