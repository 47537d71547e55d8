//! Steps four and five: ask the upstream, and settle by what it says.
//!
//! Every way out of here is an [`Ended`], and every `Ended` is settled.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::claim::Claim;
use super::limits::{Buffered, InFlight};
use super::payload::{Pieces, Received};
use super::policy::{CutUpload, Policy};
use super::records::Settled;
use super::relay::{RelaySender, relay};
use super::respond::{self, Answer};
use super::upload::{Progress, Stage};
use super::{Forward, Target, retry};
use crate::idempotency::{Finality, Fingerprint, Outcome, RecordId, State, built_in};
use crate::store::Store;
use crate::telemetry::{self, Limit};
use crate::upstream::{Gate, NotSentReason, Reuse, SendError, headers};
use crate::wire::{self, Body, BoxError, Code, Problem};

/// One request on its way through the upstream, with the claim under which it runs.
pub(super) struct Exchange {
    /// The claim.
    pub(super) claim: Claim,
    /// The head, ready for the upstream.
    pub(super) head: Parts,
    /// The body.
    pub(super) received: Received,
    /// What a streamed body adds its hash to.
    pub(super) fingerprint: Fingerprint,
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to run.
    pub(super) permit: InFlight,
}

/// How an exchange ended: what the record says, and what the client gets once it does.
struct Ended {
    outcome: Outcome,
    then: Then,
}

enum Then {
    /// A whole answer, kept.
    Answer(Response<Bytes>, HeaderMap),
    /// An answer that is not kept, passed on as it comes.
    Pass(Response<Body>),
    /// The answer is with the client already, but for its last piece where that is known to be the last.
    EndStream(RelaySender, Option<Frame<Bytes>>),
    /// The answer is with the client already, and broke off.
    Abort,
    /// There is no answer.
    Problem(Code, &'static str),
}

/// Runs an exchange to its end, and tells its answer as soon as there is one.
pub(super) async fn execute<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    exchange: Exchange,
    tell: oneshot::Sender<Answer>,
) {
    let Exchange {
        claim,
        head,
        received,
        mut fingerprint,
        mut held,
        permit,
    } = exchange;
    let (id, token, every) = (claim.id, claim.record.token, claim.heartbeat());
    let streamed = matches!(received, Received::Streamed(_));
    let progress = received.progress();
    let mut tell = Some(tell);
    let ended = {
        let work = work(
            proxy, &claim, head, received, &progress, &mut held, &mut tell,
        );
        tokio::select! {
            ended = work => ended,
            never = proxy.records.keep_alive(id, token, every) => match never {},
            () = proxy.stop.deadline.cancelled() => Ended::unknown(
                None,
                "the proxy stopped before the answer came",
                Then::Problem(Code::OutcomeUnknownDrain, "The proxy stopped before the upstream's answer came."),
            ),
        }
    };
    let fingerprint = (streamed && progress.stage() == Stage::Whole).then(|| {
        if let Some(digest) = progress.digest() {
            fingerprint.add_digest("body", digest);
        }
        fingerprint
    });
    let Ended { outcome, then } = ended;
    let settled = proxy
        .records
        .settle(claim, outcome, fingerprint, Some(held))
        .await;
    let (state, expires) = match &settled {
        Settled::Done(state, expires) => (*state, *expires),
        // The end is not told yet, so that the key is still in flight for everyone.
        Settled::Later => (State::InFlight, None),
        Settled::Lost => (State::Unknown, None),
    };
    let counted = match state {
        State::Completed | State::InFlight => telemetry::Outcome::Executed,
        State::Released => telemetry::Outcome::Released,
        State::Unknown => telemetry::Outcome::OutcomeUnknown,
    };
    let answer = match then {
        Then::Answer(response, trailers) => {
            let (mut head, body) = response.into_parts();
            respond::mark(&mut head.headers, id, state, expires);
            let body = wire::with_trailers(body, trailers);
            Answer {
                response: Response::from_parts(head, body),
                outcome: counted,
            }
        }
        Then::Pass(mut response) => {
            respond::mark(response.headers_mut(), id, state, None);
            Answer {
                response: response.map(|body| wire::holding(body, permit)),
                outcome: counted,
            }
        }
        Then::EndStream(mut stream, last) => {
            if let Some(frame) = last {
                stream.send(frame).await;
            }
            return stream.end().await;
        }
        Then::Abort => return,
        Then::Problem(code, detail) => Answer::problem(identified(code, detail, id, state)),
    };
    if let Some(tell) = tell {
        // A client that left needs no answer; the record has it.
        let _ = tell.send(answer);
    }
}

/// Everything up to the end of the claim. Dropped where it stands when the proxy has to stop.
async fn work<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    claim: &Claim,
    head: Parts,
    received: Received,
    progress: &Progress,
    held: &mut Buffered,
    tell: &mut Option<oneshot::Sender<Answer>>,
) -> Ended {
    let policy = &*claim.policy;
    let began = Instant::now();
    let sent = tokio::select! {
        biased;
        sent = send(proxy, claim, head, received) => sent,
        () = progress.stalled_for(policy.upstream_timeout) => {
            return Ended::unknown(
                None,
                "upstream_timeout passed",
                Then::Problem(Code::UpstreamTimeout, "The upstream did not answer in time. It may have carried the request out."),
            );
        }
    };
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return failed(error, policy, progress.stage()),
    };
    proxy.metrics.upstream_took(began.elapsed());
    headers::prepare_response(response.headers_mut());
    let status = response.status().as_u16();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let then = Then::Problem(
            Code::UpstreamFailed,
            "The upstream switched protocols without being asked to.",
        );
        return Ended::unknown(Some(status), "the upstream switched protocols", then);
    }
    match built_in(status) {
        Finality::Release => {
            let outcome = Outcome::Released {
                status: Some(status),
                error: Some("the upstream's status says so"),
            };
            return Ended {
                outcome,
                then: Then::Pass(response.map(BodyExt::boxed_unsync)),
            };
        }
        Finality::Unknown => {
            let then = Then::Pass(response.map(BodyExt::boxed_unsync));
            return Ended::unknown(
                Some(status),
                "a gateway behind the proxy lost the answer",
                then,
            );
        }
        Finality::Store => {}
    }
    let (head, mut body) = response.into_parts();
    let ahead = if is_event_stream(&head.headers) {
        Pieces::default()
    } else {
        match collect(&mut body, policy, held).await {
            Collected::Whole(bytes, trailers) => {
                let kept = respond::keep(
                    head.status,
                    &head.headers,
                    bytes.clone(),
                    &trailers,
                    policy.store_set_cookie,
                );
                let outcome = Outcome::Completed {
                    status,
                    response: Some(kept),
                };
                return Ended {
                    outcome,
                    then: Then::Answer(Response::from_parts(head, bytes), trailers),
                };
            }
            Collected::Large(ahead) => {
                proxy.metrics.limit_reached(Limit::MaxStoredResponse);
                ahead
            }
            Collected::BrokeOff => {
                let then = Then::Problem(Code::UpstreamFailed, "The upstream's answer broke off.");
                return Ended::unknown(Some(status), "the upstream's answer broke off", then);
            }
        }
    };
    let (mut stream, relayed) = relay();
    let mut response = Response::from_parts(head, relayed.boxed_unsync());
    respond::mark(response.headers_mut(), claim.id, State::InFlight, None);
    if let Some(tell) = tell.take() {
        let _ = tell.send(Answer {
            response,
            outcome: telemetry::Outcome::Executed,
        });
    }
    match pump(ahead, &mut body, &mut stream).await {
        Ok(last) => Ended {
            outcome: Outcome::Completed {
                status,
                response: None,
            },
            then: Then::EndStream(stream, last),
        },
        Err(_) => Ended::unknown(Some(status), "the upstream's answer broke off", Then::Abort),
    }
}

/// Sends a request, again where it was provably not carried out and the policy says so.
async fn send<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    claim: &Claim,
    mut head: Parts,
    received: Received,
) -> Result<Response<F::Body>, SendError> {
    let policy = &*claim.policy;
    head.extensions.insert(Target {
        upstream: policy.upstream,
        reuse: Reuse::OnlyYoung,
    });
    head.extensions.insert(gate(proxy, claim));
    let (mut request, again) = match received {
        Received::Streamed(upload) => (Request::from_parts(head, upload.boxed_unsync()), None),
        // Nobody claims for a body that went by already.
        Received::Gone => (Request::from_parts(head, wire::empty()), None),
        Received::Whole { bytes, trailers } => {
            let again = (!policy.retry.on_status.is_empty())
                .then(|| (head.clone(), bytes.clone(), trailers.clone()));
            (
                Request::from_parts(head, wire::with_trailers(bytes, trailers)),
                again,
            )
        }
    };
    let mut tries = 1;
    loop {
        let may_retry = tries < policy.retry.attempts;
        let answer = proxy.inner.forward(request).await;
        request = match (answer, &again) {
            (Err(SendError::NotSent { request, reason }), _)
                if may_retry
                    && policy.retry.on_connect
                    && !matches!(reason, NotSentReason::GateClosed) =>
            {
                *request
            }
            (Ok(response), Some((head, bytes, trailers)))
                if may_retry && policy.retry.on_status.contains(&response.status().as_u16()) =>
            {
                Request::from_parts(
                    head.clone(),
                    wire::with_trailers(bytes.clone(), trailers.clone()),
                )
            }
            (answer, _) => return answer,
        };
        tokio::time::sleep(retry::wait(&policy.retry, tries)).await;
        tries += 1;
    }
}

/// The look at the clock before the first byte: a holder that was asleep renews first, and gives up if it lost its claim. Time
/// counts from when a write was sent: no more of the lease is left than that tells.
fn gate<F: Forward, S: Store>(proxy: &Arc<Shared<F, S>>, claim: &Claim) -> Gate {
    let (proxy, id, token, every) = (
        proxy.clone(),
        claim.id,
        claim.record.token,
        claim.heartbeat(),
    );
    Gate {
        fresh_until: claim.since + every,
        renew: Arc::new(move || {
            let proxy = proxy.clone();
            Box::pin(async move {
                let sent = Instant::now();
                (proxy.records.renew(id, token).await == Ok(true)).then(|| sent + every)
            })
        }),
    }
}

/// What is known of a request that got no answer.
fn failed(error: SendError, policy: &Policy, upload: Stage) -> Ended {
    match error {
        SendError::NotSent {
            reason: NotSentReason::GateClosed,
            ..
        } => Ended::released(
            "the claim was lost before the first byte",
            Then::Problem(
                Code::InProgress,
                "The claim was lost before the request was sent. Try again.",
            ),
        ),
        SendError::NotSent { reason, .. } => {
            tracing::warn!(%reason, "a request was not sent");
            Ended::released(
                "the upstream was not reached",
                Then::Problem(
                    Code::UpstreamUnreachable,
                    "The upstream could not be reached. Nothing was sent.",
                ),
            )
        }
        SendError::Unanswered(reason) => {
            tracing::warn!(%reason, "a request was sent and not answered");
            let then = match upload {
                Stage::TooLarge => Then::Problem(
                    Code::BodyTooLarge,
                    "The request body is over max_request_body.",
                ),
                Stage::Cut | Stage::Idle => {
                    Then::Problem(Code::BadRequest, "The request body ended early.")
                }
                Stage::Running | Stage::Whole => Then::Problem(
                    Code::UpstreamFailed,
                    "The upstream's answer was lost. It may have carried the request out.",
                ),
            };
            let cut = matches!(upload, Stage::Cut | Stage::Idle | Stage::TooLarge);
            if cut && policy.cut_upload == CutUpload::Release {
                Ended::released("the upload ended early", then)
            } else {
                let why = if cut {
                    "the upload ended early"
                } else {
                    "the upstream's answer was lost"
                };
                Ended::unknown(None, why, then)
            }
        }
    }
}

enum Collected {
    /// All of it.
    Whole(Bytes, HeaderMap),
    /// Too large to keep; this much was read.
    Large(Pieces),
    BrokeOff,
}

async fn collect<B>(body: &mut B, policy: &Policy, held: &mut Buffered) -> Collected
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    if body.size_hint().lower() > policy.max_stored_response {
        return Collected::Large(Pieces::default());
    }
    let mut pieces = Pieces::default();
    let mut trailers = HeaderMap::new();
    loop {
        let frame = match tokio::time::timeout(policy.upstream_timeout, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Collected::Whole(pieces.join(), trailers),
            Ok(Some(Err(_))) | Err(_) => return Collected::BrokeOff,
        };
        match frame.into_data() {
            Ok(data) => {
                let room = held.grow(data.len());
                pieces.push(data);
                if !room || pieces.len() > policy.max_stored_response {
                    return Collected::Large(pieces);
                }
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
}

/// Hands an answer on to its end, also where nobody listens any more: only the end tells that it was whole.
///
/// The last piece is given back, where it is known to be the last: a client that counts has all of the answer with it, and must
/// not before the record says so.
async fn pump<B>(
    ahead: Pieces,
    body: &mut B,
    stream: &mut RelaySender,
) -> Result<Option<Frame<Bytes>>, BoxError>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    let mut next = (ahead.len() > 0).then(|| Frame::data(ahead.join()));
    loop {
        if let Some(frame) = next {
            if body.is_end_stream() {
                return Ok(Some(frame));
            }
            stream.send(frame).await;
        }
        next = body.frame().await.transpose()?;
        if next.is_none() {
            return Ok(None);
        }
    }
}

impl Ended {
    fn released(error: &'static str, then: Then) -> Self {
        Self {
            outcome: Outcome::Released {
                status: None,
                error: Some(error),
            },
            then,
        }
    }

    fn unknown(status: Option<u16>, error: &'static str, then: Then) -> Self {
        Self {
            outcome: Outcome::Unknown {
                status,
                error: Some(error),
            },
            then,
        }
    }
}

fn identified(code: Code, detail: &'static str, id: RecordId, state: State) -> Problem {
    Problem::new(code, detail)
        .with_id(id.to_string())
        .with_state(state.name())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = |value: &[u8]| {
        value
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii()
            .to_owned()
    };
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| essence(value.as_bytes()).eq_ignore_ascii_case(b"text/event-stream"))
}
