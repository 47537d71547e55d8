//! `POST /v1/reload`: another configuration for the running program.

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use serde_json::json;

use super::Admin;
use super::answer::{self, Answer, typed};

/// Who can have the program go by another configuration.
pub trait Reload: Send + Sync {
    /// Reads the configuration again and has the program go by it, also where keys that were used are forgotten by that, if
    /// `forget_keys` says so.
    fn reload(&self, forget_keys: bool) -> BoxFuture<'static, Result<Reloaded, Refusal>>;
}

/// The program goes by the configuration as it is now.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Names it, as the metrics do.
    pub hash: String,
    /// What of it weakens the guarantee.
    pub warnings: Vec<String>,
}

/// The program goes on as before.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// 422 for a configuration that is none, 409 for one that cannot take the place of this one.
    pub status: StatusCode,
    /// Why.
    pub detail: String,
    /// Everything that is wrong, each with its place.
    pub faults: Vec<String>,
}

/// The answer to a request for it.
pub(super) async fn answer<B: Body>(
    admin: &Admin,
    request: &Request<B>,
) -> Result<Answer, answer::Refusal> {
    if request.method() != Method::POST {
        return Err(answer::Refusal::method("POST"));
    }
    // No form of a page can say so.
    let is_json = |value: &HeaderValue| {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next();
        media_type.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    };
    let fits = match request.headers().get(CONTENT_TYPE) {
        Some(media_type) => is_json(media_type),
        None => request.body().is_end_stream(),
    };
    if !fits {
        let detail = "a write has to be application/json, or empty";
        return Err(answer::Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            detail,
        ));
    }
    let Some(reload) = admin.reload.get() else {
        return Err(answer::Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the program is starting",
        ));
    };
    let query = request.uri().query().unwrap_or_default();
    let forget_keys = query.split('&').any(|part| part == "forget_keys=true");
    let (status, media_type, document) = match reload.reload(forget_keys).await {
        Ok(Reloaded { hash, warnings }) => (
            StatusCode::OK,
            "application/json",
            json!({ "reloaded": true, "hash": hash, "warnings": warnings }),
        ),
        Err(Refusal {
            status,
            detail,
            faults,
        }) => (
            status,
            "application/problem+json",
            json!({
                "title": status.canonical_reason().unwrap_or_default(),
                "status": status.as_u16(),
                "detail": detail,
                "reloaded": false,
                "faults": faults,
            }),
        ),
    };
    Ok(typed(status, media_type, document.to_string()))
}
