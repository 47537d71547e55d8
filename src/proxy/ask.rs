//! Questions to the upstream beside the requests themselves: GETs under a client's own credentials, small and soon answered.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, FORWARDED, HOST, RANGE, TE, TRAILER, USER_AGENT, VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
};

use super::collect::{Collected, collect};
use super::limits::Buffered;
use super::media::is_event_stream;
use super::policy::{KeySource, Policy};
use super::{Forward, Shared, Way};
use crate::store::Store;
use crate::telemetry::Limit;
use crate::upstream::{Reuse, headers};
use crate::wire;

/// A question: its headers, and the path and query that it is about.
pub(super) struct Question {
    headers: HeaderMap,
    /// What else is known of whoever asks, by a service of this program.
    extensions: Extensions,
    target: String,
}

/// On whose behalf something is asked: of a request's head, as it goes upstream, what that takes.
pub(super) struct Asking {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Asking {
    /// Of a head that is ready for the upstream.
    pub(super) fn of(head: &Parts) -> Self {
        Self {
            headers: head.headers.clone(),
            extensions: head.extensions.clone(),
        }
    }
}

/// What the upstream answered.
#[expect(clippy::large_enum_variant, reason = "one a question, and soon gone")]
pub(super) enum Told {
    /// This.
    Whole(Response<Bytes>, HeaderMap),
    /// With this status, and more than can be kept.
    Large(StatusCode),
}

impl Question {
    /// About an operation: with the head of the request for it, as it goes upstream, but for what is of its body, its key and its
    /// conditions.
    pub(super) fn about(request: &Asking, policy: &Policy, target: String) -> Self {
        let foreign = |name: &HeaderName| {
            PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
                || OF_THE_REQUEST.contains(&name.as_str())
                || [RANGE, TE, TRAILER].contains(name)
                || policy.key.contains(&KeySource::Header(name.clone()))
        };
        let lines = request.headers.iter();
        let lines = lines.filter(|(name, _)| !foreign(name));
        let mut headers: HeaderMap = lines
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        // A stale answer would be believed.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Self {
            headers,
            extensions: request.extensions.clone(),
            target,
        }
    }

    /// Whether the credentials stand that name the caller: with those and no others, since a cookie beside them may be somebody else's.
    pub(super) fn of_caller(request: &Asking, target: String) -> Self {
        let of_the_way = |name: &HeaderName| *name == VIA || name.as_str().starts_with("trace");
        let sent = |name: &HeaderName| Self::tells_caller(name) || of_the_way(name);
        let lines = request.headers.iter().filter(|(name, _)| sent(name));
        let mut headers: HeaderMap = lines
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Self {
            headers,
            // What else was found out of the request may be by a cookie.
            extensions: Extensions::new(),
            target,
        }
    }

    /// Whether the answer about a caller may depend on this header.
    pub(super) fn tells_caller(name: &HeaderName) -> bool {
        [AUTHORIZATION, HOST, USER_AGENT, ACCEPT, FORWARDED].contains(name)
            || name.as_str().starts_with("x-forwarded-")
    }
}

/// Asks the upstream; nothing where no whole answer came in time. Redirects are answers like others.
pub(super) async fn ask<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    policy: &Policy,
    question: Question,
    held: &mut Buffered,
) -> Option<Told> {
    let target = PathAndQuery::try_from(question.target).ok()?;
    let mut request = Request::new(wire::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = question.headers;
    *request.extensions_mut() = question.extensions;
    // It goes by no connection of the client's.
    headers::strip_hop_by_hop(request.headers_mut());
    let way = Way {
        upstream: policy.upstream,
        reuse: Reuse::OnlyYoung,
        gate: None,
    };
    let answer = async {
        let mut response = match proxy.inner.ask(request, way).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(route = policy.route, %error, "the upstream could not be asked");
                return None;
            }
        };
        proxy.prepare_answer(&mut response);
        let (head, mut body) = response.into_parts();
        if head.status.is_informational() {
            return None;
        }
        if is_event_stream(&head.headers) {
            return Some(Told::Large(head.status));
        }
        match collect(&mut body, policy, held).await {
            Collected::Whole(bytes, trailers) => {
                Some(Told::Whole(Response::from_parts(head, bytes), trailers))
            }
            Collected::Large(_, Limit::MaxStoredResponse) => Some(Told::Large(head.status)),
            Collected::Large(_, limit) => {
                proxy.metrics.limit_reached(limit);
                None
            }
            Collected::BrokeOff => None,
        }
    };
    let told = tokio::select! {
        biased;
        told = tokio::time::timeout(PATIENCE.min(policy.upstream_timeout), answer) => told.ok().flatten(),
        () = proxy.stop.deadline.cancelled() => None,
    };
    if told.is_none() {
        tracing::warn!(
            route = policy.route,
            "a question to the upstream got no answer"
        );
    }
    told
}

impl Told {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Whole(response, _) => response.status(),
            Self::Large(status) => *status,
        }
    }
}

/// How long an answer may take: somebody waits for it already.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of a body, of conditions, and of this proxy.
const PREFIXES: [&str; 3] = ["content-", "if-", "x-idempotency-"];

/// What else belongs to the request itself. The last three have some frameworks take a GET for another method.
const OF_THE_REQUEST: [&str; 9] = [
    "idempotency-key",
    "digest",
    "repr-digest",
    "expect",
    "transfer-encoding",
    "prefer",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];
