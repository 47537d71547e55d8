//! What there is to see.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use hyper::body::Body;

use super::answer::{Answer, Refusal, json, text, typed};
use super::keys::Caller;
use super::{Admin, activity, flag, guard, keys, page, reload};
use crate::telemetry::{AdminRefusal, Metrics};
use crate::wire::BoxError;

/// The answer to a request from `caller`.
pub(super) async fn answer<B>(admin: &Admin, request: Request<B>, caller: Caller) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    found(admin, request, caller)
        .await
        .unwrap_or_else(Answer::from)
}

async fn found<B>(admin: &Admin, request: Request<B>, caller: Caller) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let refused = |reason| admin.metrics.admin_refused(reason);
    guard::check(&request, &admin.hosts).inspect_err(|refusal| {
        refused(match refusal.status {
            StatusCode::FORBIDDEN => AdminRefusal::Origin,
            _ => AdminRefusal::Host,
        });
    })?;
    let path = request.uri().path().to_owned();
    let probe: Option<fn(&Admin, Option<&str>) -> Answer> = match path.as_str() {
        "/" => Some(|_, _| page::answer()),
        "/livez" => Some(|_, _| text(StatusCode::OK, "ok\n")),
        "/readyz" => Some(ready),
        "/metrics" => Some(metrics),
        _ => None,
    };
    if let Some(probe) = probe {
        only_read(&request)?;
        return Ok(probe(admin, request.uri().query()));
    }
    let admitted = admin
        .token
        .as_ref()
        .is_none_or(|token| token.admits(request.headers()));
    if !admitted {
        refused(match request.headers().contains_key(AUTHORIZATION) {
            true => AdminRefusal::TokenWrong,
            false => AdminRefusal::TokenMissing,
        });
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "expected the token of admin.token_file, as Authorization: Bearer TOKEN",
        ));
    }
    match path.strip_prefix("/v1/") {
        Some("config") => {
            only_read(&request)?;
            flag::none(request.uri().query())?;
            Ok(json(&admin.operated.settings(), None))
        }
        Some("activity") => {
            only_read(&request)?;
            flag::none(request.uri().query())?;
            Ok(activity::answer(admin))
        }
        Some("reload") => reload::answer(admin, request).await,
        Some("keys") => {
            only_read(&request)?;
            keys::list(admin, request.uri().query()).await
        }
        Some(rest) => match rest.strip_prefix("keys/") {
            Some(rest) => keys::one(admin, rest, request, caller).await,
            None => Err(no_such_page()),
        },
        None => Err(no_such_page()),
    }
}

fn only_read<B>(request: &Request<B>) -> Result<(), Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refusal::method("GET, HEAD")),
    }
}

pub(super) fn no_such_page() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such page")
}

fn ready(admin: &Admin, query: Option<&str>) -> Answer {
    let (status, mut page) = match admin.report.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    };
    let query = query.unwrap_or_default();
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

fn metrics(admin: &Admin, _: Option<&str>) -> Answer {
    admin.report.observe();
    match admin.metrics.encode() {
        Ok(page) => typed(StatusCode::OK, Metrics::CONTENT_TYPE, page),
        Err(_) => Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded",
        )
        .into(),
    }
}
