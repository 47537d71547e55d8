//! Why the proxy answers instead of the upstream, by name.

use http::StatusCode;

/// What a [`Problem`](super::Problem) is, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 400: the request can be read in two ways, or in none.
    BadRequest,
    /// 431: the head is over `max_header_bytes`.
    HeaderTooLarge,
    /// 400: the route requires a key.
    KeyMissing,
    /// 400: the key is malformed, of the wrong format, or out of bounds.
    KeyInvalid,
    /// 400: a part of the scope occurs twice.
    ScopeAmbiguous,
    /// 409: the first request is still running.
    InProgress,
    /// 409: nobody can tell whether the first request was carried out.
    OutcomeUnknown,
    /// 504: as [`Code::OutcomeUnknown`], and under the same name, for the request that ran into the drain deadline.
    OutcomeUnknownDrain,
    /// 409: carried out, and the answer was not kept.
    ResponseNotStored,
    /// 409: carried out, and the answer belongs to credentials that nothing verified.
    CredentialsChanged,
    /// 413: the body is over a limit.
    BodyTooLarge,
    /// 422: the key was used for another request.
    KeyReused,
    /// 502: the request was provably not sent.
    UpstreamUnreachable,
    /// 502: the request was sent, and the answer lost.
    UpstreamFailed,
    /// 503: the store does not answer.
    StoreUnavailable,
    /// 503: the record was written by a newer version.
    RecordUnreadable,
    /// 503: a limit of this proxy is reached.
    Overloaded,
    /// 503: this proxy is stopping.
    Draining,
    /// 504: the client waited long enough; the exchange goes on.
    StillProcessing,
    /// 504: the upstream did not answer in time.
    UpstreamTimeout,
}

impl Code {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::KeyMissing | Self::KeyInvalid | Self::ScopeAmbiguous => {
                StatusCode::BAD_REQUEST
            }
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::InProgress
            | Self::OutcomeUnknown
            | Self::ResponseNotStored
            | Self::CredentialsChanged => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UpstreamUnreachable | Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::StoreUnavailable | Self::RecordUnreadable | Self::Overloaded | Self::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::OutcomeUnknownDrain | Self::StillProcessing | Self::UpstreamTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    /// The value of `X-Idempotency-Error`.
    pub fn kebab(self) -> &'static str {
        self.names().0
    }

    /// The member `code` of the document.
    pub fn screaming(self) -> &'static str {
        self.names().1
    }

    /// The member `title` of the document.
    pub fn title(self) -> &'static str {
        self.names().2
    }

    /// Every name of [`Code::kebab`], each once.
    pub fn all_kebab() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|code| code.kebab())
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::BadRequest => (
                "bad-request",
                "BAD_REQUEST",
                "The request is malformed or ambiguous",
            ),
            Self::HeaderTooLarge => (
                "header-too-large",
                "HEADER_TOO_LARGE",
                "The request head is too large",
            ),
            Self::KeyMissing => (
                "key-missing",
                "KEY_MISSING",
                "An idempotency key is required",
            ),
            Self::KeyInvalid => (
                "key-invalid",
                "KEY_INVALID",
                "The idempotency key is invalid",
            ),
            Self::ScopeAmbiguous => (
                "scope-ambiguous",
                "SCOPE_AMBIGUOUS",
                "A part of the key's scope occurs twice",
            ),
            Self::InProgress => (
                "in-progress",
                "REQUEST_IN_PROGRESS",
                "The first request is still running",
            ),
            Self::OutcomeUnknown | Self::OutcomeUnknownDrain => (
                "outcome-unknown",
                "OUTCOME_UNKNOWN",
                "The request may or may not have been carried out",
            ),
            Self::ResponseNotStored => (
                "response-not-stored",
                "RESPONSE_NOT_STORED",
                "The request was carried out and its answer was not kept",
            ),
            Self::CredentialsChanged => (
                "credentials-changed",
                "CREDENTIALS_CHANGED",
                "The request was carried out under other credentials",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                "BODY_TOO_LARGE",
                "The request body is too large",
            ),
            Self::KeyReused => (
                "key-reused",
                "KEY_REUSED",
                "The idempotency key was used for another request",
            ),
            Self::UpstreamUnreachable => (
                "upstream-unreachable",
                "UPSTREAM_UNREACHABLE",
                "The request could not be sent to the upstream",
            ),
            Self::UpstreamFailed => (
                "upstream-failed",
                "UPSTREAM_FAILED",
                "The request was sent and the upstream's answer was lost",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                "STORE_UNAVAILABLE",
                "The idempotency store is unavailable",
            ),
            Self::RecordUnreadable => (
                "record-unreadable",
                "RECORD_UNREADABLE",
                "The record of this key cannot be read by this version",
            ),
            Self::Overloaded => ("overloaded", "OVERLOADED", "The proxy is at its limit"),
            Self::Draining => ("draining", "DRAINING", "The proxy is stopping"),
            Self::StillProcessing => (
                "still-processing",
                "STILL_PROCESSING",
                "The request is still being processed",
            ),
            Self::UpstreamTimeout => (
                "upstream-timeout",
                "UPSTREAM_TIMEOUT",
                "The upstream did not answer in time",
            ),
        }
    }

    pub(super) fn invites_retry(self) -> bool {
        matches!(self, Self::InProgress | Self::StillProcessing)
            || self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the answer tells SDKs not to try again by themselves.
    pub(super) fn forbids_retry(self) -> bool {
        matches!(
            self,
            Self::OutcomeUnknown
                | Self::ResponseNotStored
                | Self::CredentialsChanged
                | Self::KeyReused
        )
    }
}

/// All of them, but for the second one of a name.
const ALL: [Code; 19] = [
    Code::BadRequest,
    Code::HeaderTooLarge,
    Code::KeyMissing,
    Code::KeyInvalid,
    Code::ScopeAmbiguous,
    Code::InProgress,
    Code::OutcomeUnknown,
    Code::ResponseNotStored,
    Code::CredentialsChanged,
    Code::BodyTooLarge,
    Code::KeyReused,
    Code::UpstreamUnreachable,
    Code::UpstreamFailed,
    Code::StoreUnavailable,
    Code::RecordUnreadable,
    Code::Overloaded,
    Code::Draining,
    Code::StillProcessing,
    Code::UpstreamTimeout,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_request_has_the_name_of_an_unknown_outcome_and_another_status() {
        assert_eq!(
            Code::OutcomeUnknownDrain.kebab(),
            Code::OutcomeUnknown.kebab()
        );
        assert_eq!(
            (
                Code::OutcomeUnknown.status().as_u16(),
                Code::OutcomeUnknownDrain.status().as_u16()
            ),
            (409, 504)
        );
    }

    #[test]
    fn every_code_is_listed_once_by_its_name() {
        let mut names: Vec<_> = Code::all_kebab().collect();
        // Written so that a code that is added has to be put in the list too.
        for code in ALL {
            match code {
                Code::BadRequest
                | Code::HeaderTooLarge
                | Code::KeyMissing
                | Code::KeyInvalid
                | Code::ScopeAmbiguous
                | Code::InProgress
                | Code::OutcomeUnknown
                | Code::OutcomeUnknownDrain
                | Code::ResponseNotStored
                | Code::CredentialsChanged
                | Code::BodyTooLarge
                | Code::KeyReused
                | Code::UpstreamUnreachable
                | Code::UpstreamFailed
                | Code::StoreUnavailable
                | Code::RecordUnreadable
                | Code::Overloaded
                | Code::Draining
                | Code::StillProcessing
                | Code::UpstreamTimeout => (),
            }
        }
        assert_eq!(names.len(), 19);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 19);
    }
}
