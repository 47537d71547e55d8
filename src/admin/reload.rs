//! `POST /v1/reload`: another configuration for the running program.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};
use hyper::body::Body;
use serde_json::json;

use super::Admin;
use super::answer::{self, Answer, typed};
use super::body::{Fields, collected};
use super::flag::flag;
use crate::wire::BoxError;

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
pub(super) async fn answer<B>(admin: &Admin, request: Request<B>) -> Result<Answer, answer::Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    if request.method() != Method::POST {
        return Err(answer::Refusal::method("POST"));
    }
    let forget_keys = flag(request.uri().query(), "forget_keys")?;
    let (head, body) = request.into_parts();
    let body = collected(&head.headers, body, BODY_MAX).await?;
    if !Fields::parse(&body)?.into_members().is_empty() {
        let detail = "the body: expected no field; forget_keys=true belongs to the query";
        return Err(answer::Refusal::bad(detail));
    }
    let Some(reload) = admin.reload.get() else {
        return Err(answer::Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the program is starting",
        ));
    };
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

/// An object without fields, and some white space.
const BODY_MAX: u64 = 64 << 10;
