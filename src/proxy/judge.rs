//! What an upstream's answer says: by the operator's rules, and else by the built-in ones.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use super::collect::collect_answer;
use super::decode::decoded;
use super::ended::Then;
use super::limits::Buffered;
use super::media::{Kind, is_event_stream};
use super::payload::Pieces;
use super::policy::Policy;
use crate::idempotency::json::{Json, JsonError, unmarked};
use crate::idempotency::response_rule::{self, Answer, Judged};
use crate::idempotency::{Finality, ResponseRule, Template, built_in};
use crate::telemetry::{Limit, Metrics};
use crate::wire::{self, BoxError, Code, names};

/// An answer that was judged.
pub(super) struct Verdict<'p, B> {
    /// The upstream's status.
    pub(super) status: u16,
    /// The answer, as far as it had to be read for it.
    pub(super) answer: Read<B>,
    /// What it says.
    pub(super) finality: Finality,
    /// The operator's rule that says so.
    pub(super) rule: Option<&'p ResponseRule>,
    /// Why nothing is kept of it, where it is not.
    pub(super) error: &'static str,
}

/// An answer, and how much of it was read. In boxes, since it goes through many hands, and each would copy it.
pub(super) enum Read<B> {
    /// Its head.
    Head(Box<Response<B>>),
    /// So much, and it is too large for this limit.
    Large(Box<Response<B>>, Pieces, Limit),
    /// All of it.
    Whole(Box<Whole>),
}

/// All of an answer.
pub(super) struct Whole {
    /// Its head and its body.
    pub(super) response: Response<Bytes>,
    /// Its trailer fields.
    pub(super) trailers: HeaderMap,
}

/// It ended early, and what its rules say depends on the rest.
pub(super) struct BrokeOff;

/// Judges an answer by its head; gives it back where that is not enough.
pub(super) fn judge_head<B>(
    response: Box<Response<B>>,
    policy: &Policy,
) -> Result<Verdict<'_, B>, Box<Response<B>>> {
    let judged = |body| ruled(policy, response.status(), response.headers(), body);
    let judged = match judged(response_rule::Body::Unread) {
        Judged::ReadOn if is_event_stream(response.headers()) => {
            judged(response_rule::Body::Opaque)
        }
        Judged::ReadOn => return Err(response),
        judged => judged,
    };
    Ok(Verdict::of(judged, policy, Read::Head(response)))
}

/// Judges an answer by all of it. One that there is no memory to read leaves the outcome unknown: the rules might have said so.
pub(super) async fn judge_whole<'p, B>(
    response: Box<Response<B>>,
    policy: &'p Policy,
    held: &mut Buffered,
    metrics: &Metrics,
) -> Result<Verdict<'p, B>, BrokeOff>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let read = collect_answer(response, policy, held).await?;
    let judged = |body| ruled(policy, read.status(), read.headers(), body);
    let judged = match &read {
        Read::Whole(whole) => {
            let response = &whole.response;
            match read_json(response.headers(), response.body(), policy) {
                Ok(json) => judged(response_rule::Body::Json(&json)),
                Err(otherwise) => judged(otherwise),
            }
        }
        Read::Large(_, _, limit @ Limit::MaxBufferedTotal) => {
            metrics.limit_reached(*limit);
            return Ok(Verdict {
                status: read.status().as_u16(),
                answer: read,
                finality: Finality::Unknown,
                rule: None,
                error: "there was no room to read the answer for its rules",
            });
        }
        Read::Large(..) | Read::Head(_) => judged(response_rule::Body::Opaque),
    };
    Ok(Verdict::of(judged, policy, read))
}

/// Whether the operator's rules leave it to `retry.on` what the status says, or say themselves that nothing was carried out.
pub(super) fn may_be_sent_again<B>(response: &Response<B>, policy: &Policy) -> bool {
    let unread = response_rule::Body::Unread;
    match ruled(policy, response.status(), response.headers(), unread) {
        Judged::Rule(rule) => rule.outcome == Finality::Release,
        Judged::Unruled => true,
        Judged::ReadOn | Judged::Undecided(_) => false,
    }
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

/// The JSON of an answer, or what it is instead.
pub(super) fn read_json(
    headers: &HeaderMap,
    bytes: &[u8],
    policy: &Policy,
) -> Result<Json, response_rule::Body<'static>> {
    let kind = Kind::of(headers);
    let otherwise = |unreadable| match unreadable {
        true => response_rule::Body::Unreadable,
        false => response_rule::Body::Opaque,
    };
    if bytes.is_empty() {
        return Err(response_rule::Body::Opaque);
    }
    let content = decoded(headers, bytes, policy.max_stored_response)
        .map_err(|_| otherwise(kind != Kind::Other))?;
    let text = unmarked(&content);
    if text.trim_ascii().is_empty() {
        return Err(response_rule::Body::Opaque);
    }
    Json::parse(text).map_err(|error| match error {
        JsonError::Malformed(_) => otherwise(kind == Kind::Json),
        _ => otherwise(kind != Kind::Other),
    })
}

/// What follows from it, or else from the status alone.
pub(super) fn finality<'p>(
    judged: Judged<'p>,
    policy: &Policy,
    status: StatusCode,
    headers: &HeaderMap,
) -> (Finality, Option<&'p ResponseRule>) {
    let status = status.as_u16();
    let rule = match judged {
        Judged::Rule(rule) | Judged::Undecided(Some(rule)) => Some(rule),
        Judged::Unruled | Judged::Undecided(None) | Judged::ReadOn => None,
    };
    let finality = match rule {
        Some(rule) => rule.outcome,
        None if is_claimed_behind(headers) => Finality::Unknown,
        // By these the operator says that nothing was carried out.
        None if policy.retry.on_status.contains(&status) => Finality::Release,
        None => built_in(status),
    };
    match (judged, finality) {
        (Judged::Undecided(_), Finality::Release) => (Finality::Unknown, None),
        _ => (finality, rule),
    }
}

/// Whether a proxy like this one stands behind, whose record of the key is not released: then the operation was or may be carried out,
/// and what it says of that, mostly by 409, does not free the key.
fn is_claimed_behind(headers: &HeaderMap) -> bool {
    let codes = [
        Code::RecordUnreadable,
        Code::InProgress,
        Code::OutcomeUnknown,
        Code::ResponseNotStored,
        Code::CredentialsChanged,
    ];
    let said = headers.get(names::ERROR);
    said.is_some_and(|said| codes.iter().any(|code| said == code.kebab()))
}

impl<'p, B> Verdict<'p, B> {
    fn of(judged: Judged<'p>, policy: &Policy, answer: Read<B>) -> Self {
        let (finality, rule) = finality(judged, policy, answer.status(), answer.headers());
        let error = match (finality, rule, judged) {
            (Finality::Release, None, _) => "the upstream's status says so",
            (Finality::Release, Some(_), _) => "a response rule says so",
            (_, None, Judged::Undecided(_)) => "the answer could not be read for its rules",
            (_, None, _) => "the upstream's answer leaves it open",
            (_, Some(_), _) => "a response rule leaves it open",
        };
        Self {
            status: answer.status().as_u16(),
            answer,
            finality,
            rule,
            error,
        }
    }

    /// Where to ask for another answer in its place, if the rule says so.
    pub(super) fn reply_from(&self) -> Option<&'p Template> {
        self.rule?.reply_from.as_ref()
    }
}

impl<B> Read<B> {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Head(response) | Self::Large(response, ..) => response.status(),
            Self::Whole(whole) => whole.response.status(),
        }
    }

    fn headers(&self) -> &HeaderMap {
        match self {
            Self::Head(response) | Self::Large(response, ..) => response.headers(),
            Self::Whole(whole) => whole.response.headers(),
        }
    }
}

impl<B> Read<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    /// Gives an answer to anything but HEAD another status, and a body with it: one that had none may tell the length of another (304).
    pub(super) fn set_status(&mut self, status: StatusCode, to_head: bool) {
        let (empty, headers) = match self {
            Self::Head(response) => {
                *response.status_mut() = status;
                (response.body().is_end_stream(), response.headers_mut())
            }
            Self::Large(response, ..) => {
                *response.status_mut() = status;
                return;
            }
            Self::Whole(whole) => {
                let response = &mut whole.response;
                *response.status_mut() = status;
                (response.body().is_empty(), response.headers_mut())
            }
        };
        if empty && !to_head && headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }

    /// The answer for the client, of which nothing is kept. What was read ahead keeps its memory until it is sent.
    pub(super) fn pass(self, held: Buffered) -> Then {
        match self {
            Self::Head(response) => Then::Pass(response.map(BodyExt::boxed_unsync)),
            Self::Large(response, ahead, _) => Then::Pass(response.map(|body| {
                let body = wire::after(ahead.join(), body.boxed_unsync());
                wire::holding(body, held)
            })),
            Self::Whole(whole) => {
                let Whole { response, trailers } = *whole;
                Then::Pass(response.map(|bytes| wire::whole_holding(bytes, trailers, held)))
            }
        }
    }
}
