//! The shapes of what operators get.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// What an operator gets.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why an operator's request is not carried out; a problem without a type of its own (RFC 9457, section 4.2.1).
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// For programs, where the status alone does not tell.
    pub(super) code: Option<&'static str>,
    pub(super) detail: Cow<'static, str>,
    /// With 405: what the page takes.
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code: None,
            detail: detail.into(),
            allow: None,
        }
    }

    pub(super) fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn coded(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code: Some(code),
            ..Self::new(status, detail)
        }
    }

    /// Of a page that takes other methods.
    pub(super) fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("this page takes {allow}"),
            )
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut document = serde_json::json!({
            "title": refusal.status.canonical_reason().unwrap_or_default(),
            "status": refusal.status.as_u16(),
            "detail": refusal.detail,
        });
        if let Some(code) = refusal.code {
            document["code"] = code.into();
        }
        let page = document.to_string();
        let mut answer = typed(refusal.status, "application/problem+json", page);
        let headers = answer.headers_mut();
        if let Some(allow) = refusal.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if refusal.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"idemproxy\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

/// A page of plain text.
pub(super) fn text(status: StatusCode, page: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", page)
}

/// A JSON document, with its version where it has one.
pub(super) fn json(document: &impl Serialize, version: Option<&str>) -> Answer {
    let Ok(mut page) = serde_json::to_vec(document) else {
        let refusal = Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written as JSON",
        );
        return refusal.into();
    };
    page.push(b'\n');
    let mut answer = typed(StatusCode::OK, "application/json", page);
    let tag = version.map(|version| HeaderValue::try_from(format!("\"{version}\"")));
    if let Some(Ok(tag)) = tag {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

pub(super) fn typed(
    status: StatusCode,
    media_type: &'static str,
    page: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(page.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
