//! What an upstream's answer says: by the operator's rules, and else by the built-in ones.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::collect::{Collected, collect};
use super::ended::Then;
use super::limits::Buffered;
use super::media::is_event_stream;
use super::payload::Pieces;
use super::policy::Policy;
use crate::idempotency::json::Json;
use crate::idempotency::response_rule::{self, Answer, Judged};
use crate::idempotency::{Finality, ResponseRule, built_in};
use crate::telemetry::Limit;
use crate::wire::{self, BoxError};

/// An answer that was judged.
pub(super) struct Verdict<'p, B> {
    /// The answer, as far as it had to be read for it.
    pub(super) answer: Read<B>,
    /// What it says.
    pub(super) finality: Finality,
    /// The operator's rule that says so.
    pub(super) rule: Option<&'p ResponseRule>,
}

/// An answer, and how much of it was read.
pub(super) enum Read<B> {
    /// Its head.
    Head(Response<B>),
    /// So much, and it is too large for this limit.
    Large(Response<B>, Pieces, Limit),
    /// All of it.
    Whole(Response<Bytes>, HeaderMap),
}

/// It ended early, and what its rules say depends on the rest.
pub(super) struct BrokeOff;

/// Judges an answer, by its head where that is enough. One that there is no memory to read leaves the outcome unknown: the rules
/// might have said so.
pub(super) async fn judge<'p, B>(
    response: Response<B>,
    policy: &'p Policy,
    held: &mut Buffered,
) -> Result<Verdict<'p, B>, BrokeOff>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let judged = |body| ruled(policy, head.status, &head.headers, body);
    let (judged, read) = match judged(response_rule::Body::Unread) {
        Judged::ReadOn if is_event_stream(&head.headers) => {
            (judged(response_rule::Body::Opaque), None)
        }
        Judged::ReadOn => match collect(&mut body, policy, held).await {
            Collected::Whole(bytes, trailers) => {
                let judged = match Json::parse(&bytes) {
                    Ok(json) => judged(response_rule::Body::Json(&json)),
                    Err(_) => judged(response_rule::Body::Opaque),
                };
                let whole = Response::from_parts(head, bytes);
                return Ok(Verdict::of(judged, policy, Read::Whole(whole, trailers)));
            }
            Collected::Large(ahead, limit) => {
                (judged(response_rule::Body::Opaque), Some((ahead, limit)))
            }
            Collected::BrokeOff => return Err(BrokeOff),
        },
        judged => (judged, None),
    };
    let response = Response::from_parts(head, body);
    Ok(match read {
        None => Verdict::of(judged, policy, Read::Head(response)),
        Some((ahead, Limit::MaxBufferedTotal)) => Verdict {
            answer: Read::Large(response, ahead, Limit::MaxBufferedTotal),
            finality: Finality::Unknown,
            rule: None,
        },
        Some((ahead, limit)) => Verdict::of(judged, policy, Read::Large(response, ahead, limit)),
    })
}

/// The operator's rule that an answer falls under.
pub(super) fn ruled<'p>(
    policy: &'p Policy,
    status: StatusCode,
    headers: &HeaderMap,
    body: response_rule::Body<'_>,
) -> Judged<'p> {
    let has = |name: &str, value: &str| {
        let mut lines = headers.get_all(name).iter();
        lines.any(|line| line.as_bytes() == value.as_bytes())
    };
    let status = status.as_u16();
    response_rule::judge(&policy.responses, &Answer { status, has, body })
}

/// What follows from it, or else from the status alone.
pub(super) fn finality<'p>(
    judged: Judged<'p>,
    policy: &Policy,
    status: StatusCode,
) -> (Finality, Option<&'p ResponseRule>) {
    let status = status.as_u16();
    match judged {
        Judged::Rule(rule) => (rule.outcome, Some(rule)),
        // By these the operator says that nothing was carried out.
        _ if policy.retry.on_status.contains(&status) => (Finality::Release, None),
        _ => (built_in(status), None),
    }
}

impl<'p, B> Verdict<'p, B> {
    fn of(judged: Judged<'p>, policy: &Policy, answer: Read<B>) -> Self {
        let (finality, rule) = finality(judged, policy, answer.status());
        Self {
            answer,
            finality,
            rule,
        }
    }
}

impl<B> Read<B> {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Head(response) | Self::Large(response, ..) => response.status(),
            Self::Whole(response, _) => response.status(),
        }
    }

    /// Gives it another status.
    pub(super) fn set_status(&mut self, status: StatusCode) {
        match self {
            Self::Head(response) | Self::Large(response, ..) => *response.status_mut() = status,
            Self::Whole(response, _) => *response.status_mut() = status,
        }
    }
}

impl<B> Read<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    /// The answer for the client, of which nothing is kept. What was read ahead keeps its memory until it is sent.
    pub(super) fn pass(self, held: Buffered) -> Then {
        match self {
            Self::Head(response) => Then::Pass(response.map(BodyExt::boxed_unsync)),
            Self::Large(response, ahead, _) => Then::Pass(response.map(|body| {
                let body = wire::after(ahead.join(), body.boxed_unsync());
                wire::holding(body, held)
            })),
            Self::Whole(response, trailers) => {
                let passed = |bytes| wire::with_trailers(bytes, trailers);
                Then::Pass(response.map(|bytes| wire::holding(passed(bytes), held)))
            }
        }
    }
}
