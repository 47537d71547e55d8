//! Steps four and five: ask the upstream, and settle by what it says.
//!
//! Every way out of here but one is an [`Ended`], and every `Ended` is settled: an answer that is not kept is settled where it ends
//! (`streaming`).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode};

use super::claim::Claim;
use super::collect::collect_answer;
use super::ended::{Ended, Then, failed};
use super::judge::{BrokeOff, Read, Verdict, Whole, judge_head, judge_whole};
use super::limits::{Buffered, InFlight};
use super::media::is_event_stream;
use super::payload::{Pieces, Received, Taken};
use super::policy::Policy;
use super::records::Settled;
use super::reply::Asker;
use super::respond::{self, Answer};
use super::send::send;
use super::streaming::{BROKE_OFF, Exchanging, STOPPED, Streaming};
use super::trail::Trail;
use super::upload::{Progress, Stage};
use super::{Forward, Shared};
use crate::fault::{self, Place};
use crate::idempotency::{Finality, Fingerprint, Outcome, RecordId, State};
use crate::lanes::now;
use crate::store::Store;
use crate::telemetry::{self, Limit};
use crate::wire::{self, Code, Problem};

/// One request on its way through the upstream, with the claim under which it runs.
pub(super) struct Exchange {
    /// The claim.
    pub(super) claim: Claim,
    /// The request, its head ready for the upstream.
    pub(super) taken: Box<Taken>,
    /// What a streamed body adds its hash to.
    pub(super) fingerprint: Fingerprint,
    /// What it takes to ask the upstream beside it, where the policy may.
    pub(super) asker: Option<Box<Asker>>,
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to run.
    pub(super) permit: InFlight,
}

/// Runs an exchange to its answer, and to its end: but for an answer that is handed on piece by piece, which goes on by itself.
///
/// What is large is in boxes, and each step is a function of its own: all that one future keeps, it keeps as long as it lasts.
pub(super) fn execute<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    exchange: Exchange,
    policy: &Arc<Policy>,
    trail: &Trail,
) -> impl Future<Output = Answer> + Send {
    let Exchange {
        claim,
        taken,
        fingerprint,
        asker,
        mut held,
        permit,
    } = exchange;
    async move {
        let id = claim.id;
        let progress = taken.received.progress();
        let uploaded = match taken.received {
            Received::Streamed(_) => Some(fingerprint),
            Received::Whole { .. } | Received::Gone => None,
        };
        let came = if proxy.stop.deadline.is_cancelled() {
            Comes::Ended(Ended::released(
                "the proxy stopped before it was sent",
                Then::Problem(Code::Draining, "The proxy is stopping. Nothing was sent."),
            ))
        } else {
            let asker = asker.as_deref();
            // Here, as it would be copied into the `select!`.
            let work = pin!(work(
                proxy, &claim, policy, trail, taken, asker, &progress, &mut held
            ));
            tokio::select! {
                // What is there is taken, though the deadline passed in the same moment.
                biased;
                came = work => came,
                () = claim.held_until(&proxy.stop.deadline, &proxy.records) => Comes::Ended(Ended::unknown(
                    None,
                    STOPPED,
                    Then::Problem(Code::OutcomeUnknownDrain, "The proxy stopped before the upstream's answer came."),
                )),
            }
        };
        let Ended {
            outcome,
            retention,
            then,
        } = match came {
            Comes::Ended(ended) => ended,
            Comes::HandsOn(streaming) => {
                return streaming.begin(Exchanging {
                    proxy: proxy.clone(),
                    claim,
                    policy: policy.clone(),
                    upload: (progress, uploaded),
                    held,
                    permit,
                    trail: trail.clone(),
                });
            }
        };
        let fingerprint = uploaded.and_then(|it| progress.complete(it, &proxy.secret));
        fault::reach(Place::BeforeSettle);
        let terms = policy.terms().keeping(&outcome, retention);
        // Here, as it would be copied into what waits for it.
        let settling = pin!(
            proxy
                .records
                .settle(claim, terms, outcome, fingerprint, held, trail)
        );
        let (settled, held) = settling.await;
        fault::reach(Place::AfterSettle);
        let (state, expires) = match &settled {
            Settled::Done(state, expires) => (*state, *expires),
            // The end is not told yet, so that the key is still in flight for everyone.
            Settled::Later => (State::InFlight, None),
            Settled::Overruled { record, .. } | Settled::Lost(record) => (*record, None),
        };
        let came_to = match &settled {
            // Whatever an operator said of it.
            Settled::Done(came_to, _) | Settled::Overruled { came_to, .. } => *came_to,
            Settled::Later => State::InFlight,
            Settled::Lost(_) => State::Unknown,
        };
        let counted = match came_to {
            State::Completed | State::InFlight => telemetry::Outcome::Executed,
            State::Released => telemetry::Outcome::Released,
            State::Unknown => telemetry::Outcome::OutcomeUnknown,
        };
        fault::reach(Place::BeforeAnswer);
        match then {
            Then::Answer(whole) => {
                let Whole { response, trailers } = *whole;
                let (mut head, body) = response.into_parts();
                respond::mark(&proxy.voice.names, &mut head.headers, id, state, expires);
                let body = wire::whole_holding(body, trailers, (permit, held));
                Answer {
                    response: Response::from_parts(head, body),
                    outcome: counted,
                }
            }
            Then::Pass(mut response) => {
                respond::mark(&proxy.voice.names, response.headers_mut(), id, state, None);
                Answer {
                    response: response.map(|body| wire::holding(body, permit)),
                    outcome: counted,
                }
            }
            Then::Problem(code, detail) => Answer::problem(identified(code, detail, id, state)),
        }
    }
}

/// How far an exchange comes before its client hears of it.
#[expect(clippy::large_enum_variant, reason = "most come to their end")]
enum Comes<B> {
    /// To its end.
    Ended(Ended),
    /// To an answer that is not kept, and that its client gets while it still comes.
    HandsOn(Box<Streaming<B>>),
}

/// Everything up to the end of the claim, or to an answer that is handed on. Dropped where it stands when the proxy has to stop.
#[allow(clippy::too_many_arguments)]
async fn work<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    claim: &Claim,
    policy: &Policy,
    trail: &Trail,
    taken: Box<Taken>,
    asker: Option<&Asker>,
    progress: &Progress,
    held: &mut Buffered,
) -> Comes<F::Body> {
    let to_head = taken.head.method == Method::HEAD;
    let concluded = {
        let judged = match ask(proxy, claim, policy, trail, taken, progress).await {
            Ok(response) => judge_head(response, policy),
            Err(ended) => return Comes::Ended(ended),
        };
        match judged {
            Ok(verdict) if verdict.reply_from().is_none() => {
                conclude(proxy, verdict, to_head, held)
            }
            // Apart, since few answers have to be read for it, or take another answer.
            judged => Box::pin(look_into(proxy, policy, judged, asker, to_head, held)).await,
        }
    };
    match concluded {
        Ok(kept) => keep(proxy, claim.id, policy, kept, held).await,
        Err(ended) => Comes::Ended(ended),
    }
}

/// Asks the upstream.
async fn ask<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    claim: &Claim,
    policy: &Policy,
    trail: &Trail,
    taken: Box<Taken>,
    progress: &Progress,
) -> Result<Box<Response<F::Body>>, Ended> {
    // Just about: the clock was looked at when the store had the claim.
    let began = now();
    let sent = {
        let sending = pin!(send(proxy, claim, policy, trail, *taken));
        tokio::select! {
            biased;
            sent = sending => Some(sent),
            () = progress.stalled_for(began, policy.upstream_timeout) => None,
        }
    };
    let took = now().saturating_duration_since(began);
    trail.asked(took);
    let response = match sent {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            if progress.stage() == Stage::TooLarge {
                proxy.metrics.limit_reached(Limit::MaxRequestBody);
            }
            return Err(failed(error, policy, progress.stage()));
        }
        None => {
            return Err(Ended::unknown(
                None,
                "upstream_timeout passed",
                Then::Problem(
                    Code::UpstreamTimeout,
                    "The upstream did not answer in time. It may have carried the request out.",
                ),
            ));
        }
    };
    fault::reach(Place::AfterResponseHead);
    proxy.metrics.upstream_took(took);
    if response.status().is_informational() {
        let then = Then::Problem(
            Code::UpstreamFailed,
            "The upstream switched protocols without being asked to.",
        );
        let status = Some(response.status().as_u16());
        let why = "the upstream switched protocols";
        return Err(Ended::unknown(status, why, then));
    }
    Ok(response)
}

/// An answer that is to be kept, if it is whole and small.
struct Kept<B> {
    /// What the upstream said, which is the record's.
    status: u16,
    /// What the client gets, as far as it was read.
    answer: Read<B>,
    /// For how long, where not as the policy says.
    retention: Option<Duration>,
}

/// Judges an answer for which more than its head is needed.
async fn look_into<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    policy: &Policy,
    judged: Result<Verdict<'_, F::Body>, Box<Response<F::Body>>>,
    asker: Option<&Asker>,
    to_head: bool,
    held: &mut Buffered,
) -> Result<Kept<F::Body>, Ended> {
    let mut verdict = match judged {
        Ok(verdict) => verdict,
        Err(response) => {
            let status = response.status().as_u16();
            match judge_whole(response, policy, held, &proxy.metrics).await {
                Ok(verdict) => verdict,
                Err(BrokeOff) => return Err(broke_off(status)),
            }
        }
    };
    if let Some(from) = verdict.reply_from()
        && let Some(asker) = asker
    {
        match asker.fetch(proxy, policy, from, held).await {
            Some(whole) => verdict.answer = Read::Whole(Box::new(whole)),
            None => {
                (verdict.finality, verdict.rule) = (Finality::Release, None);
                verdict.error = "a response rule found nothing to reply with";
            }
        }
    }
    conclude(proxy, verdict, to_head, held)
}

/// What follows from a verdict: an answer to be kept, or the end.
#[expect(
    clippy::result_large_err,
    reason = "it goes up one floor, and is made in its place"
)]
fn conclude<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    verdict: Verdict<'_, F::Body>,
    to_head: bool,
    held: &mut Buffered,
) -> Result<Kept<F::Body>, Ended> {
    let Verdict {
        status,
        mut answer,
        finality,
        rule,
        error,
    } = verdict;
    let reply_status = rule.and_then(|rule| rule.reply_status);
    let retention = rule.and_then(|rule| rule.retention);
    if let Some(status) = reply_status.and_then(|status| StatusCode::from_u16(status).ok()) {
        answer.set_status(status, to_head);
    }
    if finality == Finality::Store {
        return Ok(Kept {
            status,
            answer,
            retention,
        });
    }
    let (status, error) = (Some(status), Some(error));
    let outcome = match finality {
        Finality::Release => Outcome::Released { status, error },
        _ => Outcome::Unknown { status, error },
    };
    let held = std::mem::replace(held, proxy.limits.buffer());
    Err(Ended {
        outcome,
        retention,
        then: answer.pass(held),
    })
}

/// Reads an answer to its end, to be kept; one that cannot be is to be handed on.
fn keep<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    id: RecordId,
    policy: &Policy,
    kept: Kept<F::Body>,
    held: &mut Buffered,
) -> impl Future<Output = Comes<F::Body>> + Send {
    fault::reach(Place::BeforeBody);
    let Kept {
        status,
        answer,
        retention,
    } = kept;
    async move {
        let read = match answer {
            Read::Head(response) if !is_event_stream(response.headers()) => {
                match collect_answer(response, policy, held).await {
                    Ok(read) => read,
                    Err(BrokeOff) => return Comes::Ended(broke_off(status)),
                }
            }
            read => read,
        };
        let (response, ahead) = match read {
            Read::Whole(whole) => {
                let response = &whole.response;
                fault::reach(Place::AfterBody);
                let kept = respond::keep(
                    &proxy.voice.names,
                    response.status(),
                    response.headers(),
                    response.body().clone(),
                    &whole.trailers,
                    policy.store_set_cookie,
                );
                return Comes::Ended(Ended {
                    outcome: Outcome::Completed {
                        status,
                        response: Some(kept),
                    },
                    retention,
                    then: Then::Answer(whole),
                });
            }
            Read::Large(response, ahead, limit) => {
                proxy.metrics.limit_reached(limit);
                tracing::info!(%id, limit = limit.as_str(), "an answer is too large to keep");
                (response, ahead)
            }
            Read::Head(response) => (response, Pieces::default()),
        };
        Comes::HandsOn(Box::new(Streaming {
            response,
            ahead,
            status_of_upstream: status,
            retention,
        }))
    }
}

fn broke_off(status: u16) -> Ended {
    let then = Then::Problem(Code::UpstreamFailed, "The upstream's answer broke off.");
    Ended::unknown(Some(status), BROKE_OFF, then)
}

fn identified(code: Code, detail: &'static str, id: RecordId, state: State) -> Problem {
    Problem::new(code, detail)
        .with_id(id.to_string())
        .with_state(state.name())
}
