//! The answers that the proxy makes itself: RFC 9457 problem documents.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};
use serde::Serialize;

use super::names::{ERROR, ID, STATE};
use super::{Body, Code, empty};

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

    /// The answer but for its words: [`Voice::say`](super::Voice::say) finds the problem in its extensions, and gives it a body.
    pub fn unsaid(self) -> Response<Body> {
        let mut response = self.head();
        response.extensions_mut().insert(self);
        response.map(|()| empty())
    }

    /// Status and headers.
    pub(super) fn head(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR, HeaderValue::from_static(self.code.kebab()));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(id) = self
            .id
            .as_deref()
            .and_then(|id| HeaderValue::try_from(id).ok())
        {
            headers.insert(ID, id);
        }
        if let Some(state) = self.state {
            headers.insert(STATE, HeaderValue::from_static(state));
        }
        if self.code.forbids_retry() {
            headers.insert(STRIPE_SHOULD_RETRY, HeaderValue::from_static("false"));
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }

    /// The problem document of RFC 9457.
    pub(super) fn document(&self) -> Bytes {
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

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const STRIPE_SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::wire::Voice;

    #[test]
    fn a_problem_with_a_record_says_so_in_document_and_headers() {
        let problem = Problem::new(Code::ResponseNotStored, "it was too large")
            .with_id("00112233445566778899aabbccddeeff")
            .with_state("completed")
            .with_status_code(201);
        let response: Response<Bytes> = Voice::default().answer(problem, None);
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
            let response = Problem::new(code, "").head();
            assert_eq!(
                response.headers().get("retry-after").unwrap(),
                "1",
                "{code:?}"
            );
            assert!(!response.headers().contains_key("x-should-retry"));
        }
    }
}
