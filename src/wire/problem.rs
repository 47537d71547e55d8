//! The answers that the proxy makes itself: RFC 9457 problem documents.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

/// Why the proxy answered instead of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong; decides status, title and headers.
    pub code: Code,
    /// A sentence for whoever reads the answer; never holds a key, a credential or a part of a body.
    pub detail: Cow<'static, str>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u32>,
    /// The record id in hex digits: `instance`, and `X-Idempotency-Id`.
    pub id: Option<String>,
    /// State of the record: `X-Idempotency-State`.
    pub state: Option<&'static str>,
    /// Status of the first answer, where that is all that may be told: member `status_code`.
    pub status_code: Option<u16>,
}

impl Problem {
    /// A problem without a record. Codes that invite a retry start with a `Retry-After` of one second.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = code.invites_retry().then_some(1);
        Self {
            code,
            detail: detail.into(),
            retry_after,
            id: None,
            state: None,
            status_code: None,
        }
    }

    /// With the record id (hex digits).
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// With the state of the record.
    #[must_use]
    pub fn with_state(mut self, state: &'static str) -> Self {
        self.state = Some(state);
        self
    }

    /// With the status of the first answer.
    #[must_use]
    pub fn with_status_code(mut self, status: u16) -> Self {
        self.status_code = Some(status);
        self
    }

    /// The answer.
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.document()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR, HeaderValue::from_static(self.code.kebab()));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(id) = self.id.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(ID, id);
        }
        if let Some(state) = self
            .state
            .and_then(|state| HeaderValue::try_from(state).ok())
        {
            headers.insert(STATE, state);
        }
        if self.code.forbids_retry() {
            headers.insert(STRIPE_SHOULD_RETRY, HeaderValue::from_static("false"));
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }

    fn document(&self) -> Bytes {
        let document = Document {
            r#type: format!("urn:idemproxy:problem:{}", self.code.kebab()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance: self.id.as_deref(),
            code: self.code.screaming(),
            status_code: self.status_code,
            error: ErrorObject {
                r#type: "idempotency_error",
                code: self.code.screaming(),
                message: &self.detail,
            },
        };
        serde_json::to_vec(&document)
            .expect("strings and numbers serialise")
            .into()
    }
}

/// What a [`Problem`] is, in the words of the contract.
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

    fn invites_retry(self) -> bool {
        matches!(self, Self::InProgress | Self::StillProcessing)
            || self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the answer tells SDKs not to try again by themselves.
    fn forbids_retry(self) -> bool {
        matches!(
            self,
            Self::OutcomeUnknown
                | Self::ResponseNotStored
                | Self::CredentialsChanged
                | Self::KeyReused
        )
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    // stripe-node resolves a 409 as a success unless the document has this object.
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    r#type: &'static str,
    code: &'static str,
    message: &'a str,
}

const ERROR: HeaderName = HeaderName::from_static("x-idempotency-error");
const ID: HeaderName = HeaderName::from_static("x-idempotency-id");
const STATE: HeaderName = HeaderName::from_static("x-idempotency-state");
const STRIPE_SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_with_a_record_says_so_in_document_and_headers() {
        let response: Response<Bytes> = Problem::new(Code::ResponseNotStored, "it was too large")
            .with_id("00112233445566778899aabbccddeeff")
            .with_state("completed")
            .with_status_code(201)
            .into_response();
        assert_eq!(response.status(), 409);
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap());
        assert_eq!(header("content-type"), Some("application/problem+json"));
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(header("x-idempotency-error"), Some("response-not-stored"));
        assert_eq!(
            header("x-idempotency-id"),
            Some("00112233445566778899aabbccddeeff")
        );
        assert_eq!(header("x-idempotency-state"), Some("completed"));
        assert_eq!(header("stripe-should-retry"), Some("false"));
        assert_eq!(header("x-should-retry"), Some("false"));
        assert_eq!(header("retry-after"), None);
        let document: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "urn:idemproxy:problem:response-not-stored",
                "title": "The request was carried out and its answer was not kept",
                "status": 409,
                "detail": "it was too large",
                "instance": "00112233445566778899aabbccddeeff",
                "code": "RESPONSE_NOT_STORED",
                "status_code": 201,
                "error": {"type": "idempotency_error", "code": "RESPONSE_NOT_STORED", "message": "it was too large"},
            })
        );
    }

    #[test]
    fn a_passing_condition_invites_a_retry() {
        for code in [
            Code::InProgress,
            Code::Overloaded,
            Code::Draining,
            Code::StoreUnavailable,
            Code::StillProcessing,
        ] {
            let response: Response<Bytes> = Problem::new(code, "").into_response();
            assert_eq!(
                response.headers().get("retry-after").unwrap(),
                "1",
                "{code:?}"
            );
            assert!(!response.headers().contains_key("x-should-retry"));
        }
    }

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
}
