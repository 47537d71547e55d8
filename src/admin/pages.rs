//! What there is to see.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use super::{Admin, guard, reload};
use crate::telemetry::Metrics;

/// The answer to a request; its body, if it has one, is not looked at.
pub(super) async fn answer<B: Body>(admin: &Admin, request: &Request<B>) -> Response<Full<Bytes>> {
    if let Err((status, detail)) = guard::check(request.headers(), &admin.hosts) {
        return refusal(status, detail);
    }
    let page: fn(&Admin, &Request<B>) -> Response<Full<Bytes>> = match request.uri().path() {
        "/livez" => |_, _| text(StatusCode::OK, "ok\n"),
        "/readyz" => ready,
        "/metrics" => metrics,
        "/v1/reload" => return reload::answer(admin, request).await,
        _ => return refusal(StatusCode::NOT_FOUND, "there is no such page"),
    };
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return page(admin, request);
    }
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn ready<B>(admin: &Admin, request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, mut page) = match admin.report.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    };
    let query = request.uri().query().unwrap_or_default();
    if query
        .split('&')
        .any(|part| part == "verbose" || part.starts_with("verbose="))
    {
        for line in admin.report.details() {
            page.push_str(&line);
            page.push('\n');
        }
    }
    text(status, page)
}

fn metrics<B>(admin: &Admin, _: &Request<B>) -> Response<Full<Bytes>> {
    admin.report.observe();
    match admin.metrics.encode() {
        Ok(page) => typed(StatusCode::OK, Metrics::CONTENT_TYPE, page),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded",
        ),
    }
}

fn text(status: StatusCode, page: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", page)
}

/// A problem without a type of its own, RFC 9457, 4.2.1.
pub(super) fn refusal(status: StatusCode, detail: &'static str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let document =
        serde_json::json!({ "title": title, "status": status.as_u16(), "detail": detail });
    typed(status, "application/problem+json", document.to_string())
}

pub(super) fn typed(
    status: StatusCode,
    media_type: &'static str,
    page: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(page.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
