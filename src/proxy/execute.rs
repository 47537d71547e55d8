//! Steps four and five: ask the upstream, and settle by what it says.
//!
//! Every way out of here is an [`Ended`], and every `Ended` is settled.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::account::Tell;
use super::claim::Claim;
use super::collect::{Collected, collect, pump};
use super::ended::{Ended, Then, failed};
use super::judge::{Read, Verdict, judge};
use super::limits::{Buffered, InFlight};
use super::media::is_event_stream;
use super::payload::{Pieces, Received};
use super::records::Settled;
use super::relay::relay;
use super::reply::Asker;
use super::respond::{self, Answer};
use super::send::send;
use super::trail::Trail;
use super::upload::{Progress, Stage};
use super::{Forward, Shared};
use crate::fault::{self, Place};
use crate::idempotency::{Finality, Fingerprint, Outcome, RecordId, State};
use crate::store::Store;
use crate::telemetry::{self, Limit};
use crate::wire::{self, Code, Problem};

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
    /// What it takes to ask the upstream beside it, where the policy may.
    pub(super) asker: Option<Asker>,
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to run.
    pub(super) permit: InFlight,
}

/// Runs an exchange to its end, and tells its answer as soon as there is one.
pub(super) async fn execute<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    exchange: Box<Exchange>,
    tell: Tell,
) {
    let Exchange {
        claim,
        head,
        received,
        mut fingerprint,
        asker,
        mut held,
        permit,
    } = *exchange;
    let (id, token, every) = (claim.id, claim.record.token, claim.heartbeat());
    let trail = Trail::of(&head);
    let streamed = matches!(received, Received::Streamed(_));
    let progress = received.progress();
    let mut tell = Some(tell);
    let ended = if proxy.stop.deadline.is_cancelled() {
        Ended::released(
            "the proxy stopped before it was sent",
            Then::Problem(Code::Draining, "The proxy is stopping. Nothing was sent."),
        )
    } else {
        // Here, as it would be copied into the `select!`.
        let work = pin!(work(
            proxy, &claim, head, received, &asker, &progress, &mut held, &mut tell,
        ));
        tokio::select! {
            // What is there is taken, though the deadline passed in the same moment.
            biased;
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
            fingerprint.add_digest("body", proxy.secret.part(digest));
        }
        fingerprint
    });
    let Ended {
        outcome,
        retention,
        then,
    } = ended;
    fault::reach(Place::BeforeSettle);
    let at_store = trail.at_store();
    let (settled, held) = proxy
        .records
        .settle(claim, outcome, retention, fingerprint, held)
        .await;
    drop(at_store);
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
    let answer = match then {
        Then::Answer(response, trailers) => {
            let (mut head, body) = response.into_parts();
            respond::mark(&proxy.voice.names, &mut head.headers, id, state, expires);
            let body = wire::holding(wire::with_trailers(body, trailers), (permit, held));
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
        Then::EndStream(mut stream, last) => {
            if let Some(frame) = last {
                stream.send(frame).await;
            }
            return stream.end().await;
        }
        Then::Abort(stream) => return drop(stream),
        Then::Problem(code, detail) => Answer::problem(identified(code, detail, id, state)),
    };
    if let Some(tell) = tell {
        tell.tell(answer);
    }
}

/// Everything up to the end of the claim. Dropped where it stands when the proxy has to stop.
#[expect(clippy::too_many_arguments, reason = "one call, of one step")]
async fn work<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    claim: &Claim,
    head: Parts,
    received: Received,
    asker: &Option<Asker>,
    progress: &Progress,
    held: &mut Buffered,
    tell: &mut Option<Tell>,
) -> Ended {
    let policy = &*claim.policy;
    let to_head = head.method == Method::HEAD;
    let (began, trail) = (Instant::now(), Trail::of(&head));
    let sent = {
        let sending = pin!(send(proxy, claim, head, received));
        tokio::select! {
            biased;
            sent = sending => sent,
            () = progress.stalled_for(policy.upstream_timeout) => {
                trail.asked(began.elapsed());
                return Ended::unknown(
                    None,
                    "upstream_timeout passed",
                    Then::Problem(Code::UpstreamTimeout, "The upstream did not answer in time. It may have carried the request out."),
                );
            }
        }
    };
    trail.asked(began.elapsed());
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            if progress.stage() == Stage::TooLarge {
                proxy.metrics.limit_reached(Limit::MaxRequestBody);
            }
            return failed(error, policy, progress.stage());
        }
    };
    fault::reach(Place::AfterResponseHead);
    proxy.metrics.upstream_took(began.elapsed());
    let status = response.status().as_u16();
    if response.status().is_informational() {
        let then = Then::Problem(
            Code::UpstreamFailed,
            "The upstream switched protocols without being asked to.",
        );
        return Ended::unknown(Some(status), "the upstream switched protocols", then);
    }
    let judged = judge(response, policy, held, &proxy.metrics).await;
    let Ok(Verdict {
        mut answer,
        mut finality,
        rule,
        mut error,
    }) = judged
    else {
        let then = Then::Problem(Code::UpstreamFailed, "The upstream's answer broke off.");
        return Ended::unknown(Some(status), "the upstream's answer broke off", then);
    };
    let (mut reply_status, mut retention) = (None, None);
    if let Some(rule) = rule {
        (reply_status, retention) = (rule.reply_status, rule.retention);
        if let (Some(from), Some(asker)) = (&rule.reply_from, asker) {
            match Box::pin(asker.fetch(proxy, policy, from, held)).await {
                Some((response, trailers)) => answer = Read::Whole(response, trailers),
                None => {
                    (finality, reply_status, retention) = (Finality::Release, None, None);
                    error = "a response rule found nothing to reply with";
                }
            }
        }
    }
    if let Some(status) = reply_status.and_then(|status| StatusCode::from_u16(status).ok()) {
        answer.set_status(status, to_head);
    }
    if finality != Finality::Store {
        let (status, error) = (Some(status), Some(error));
        let outcome = match finality {
            Finality::Release => Outcome::Released { status, error },
            _ => Outcome::Unknown { status, error },
        };
        let held = std::mem::replace(held, proxy.limits.buffer());
        return Ended {
            outcome,
            retention,
            then: answer.pass(held),
        };
    }
    fault::reach(Place::BeforeBody);
    let keep = |head: http::response::Parts, bytes: Bytes, trailers: HeaderMap| {
        fault::reach(Place::AfterBody);
        let cookies = policy.store_set_cookie;
        let kept = respond::keep(
            &proxy.voice.names,
            head.status,
            &head.headers,
            bytes.clone(),
            &trailers,
            cookies,
        );
        let outcome = Outcome::Completed {
            status,
            response: Some(kept),
        };
        Ended {
            outcome,
            retention,
            then: Then::Answer(Response::from_parts(head, bytes), trailers),
        }
    };
    let (head, mut body, large) = match answer {
        Read::Whole(response, trailers) => {
            let (head, bytes) = response.into_parts();
            return keep(head, bytes, trailers);
        }
        Read::Large(response, ahead, limit) => {
            let (head, body) = response.into_parts();
            (head, body, Some((ahead, limit)))
        }
        Read::Head(response) => {
            let (head, mut body) = response.into_parts();
            if is_event_stream(&head.headers) {
                (head, body, None)
            } else {
                match collect(&mut body, policy, held).await {
                    Collected::Whole(bytes, trailers) => return keep(head, bytes, trailers),
                    Collected::Large(ahead, limit) => (head, body, Some((ahead, limit))),
                    Collected::BrokeOff => {
                        let then =
                            Then::Problem(Code::UpstreamFailed, "The upstream's answer broke off.");
                        return Ended::unknown(
                            Some(status),
                            "the upstream's answer broke off",
                            then,
                        );
                    }
                }
            }
        }
    };
    let ahead = match large {
        Some((ahead, limit)) => {
            proxy.metrics.limit_reached(limit);
            tracing::info!(id = %claim.id, limit = limit.as_str(), "an answer is too large to keep");
            ahead
        }
        None => Pieces::default(),
    };
    // All that duplicates are told of it.
    let first_status = head.status.as_u16();
    let (mut stream, relayed) = relay();
    let mut response = Response::from_parts(head, relayed.boxed_unsync());
    respond::mark(
        &proxy.voice.names,
        response.headers_mut(),
        claim.id,
        State::InFlight,
        None,
    );
    if let Some(tell) = tell.take() {
        tell.tell(Answer {
            response,
            outcome: telemetry::Outcome::Executed,
        });
    }
    // Apart, since most answers are kept.
    let pumped = pump(ahead, &mut body, &mut stream, policy.upstream_timeout, held);
    match Box::pin(pumped).await {
        Ok(last) => {
            fault::reach(Place::AfterBody);
            Ended {
                outcome: Outcome::Completed {
                    status: first_status,
                    response: None,
                },
                retention,
                then: Then::EndStream(stream, last),
            }
        }
        Err(_) => {
            let then = Then::Abort(stream);
            Ended::unknown(Some(status), "the upstream's answer broke off", then)
        }
    }
}

fn identified(code: Code, detail: &'static str, id: RecordId, state: State) -> Problem {
    Problem::new(code, detail)
        .with_id(id.to_string())
        .with_state(state.name())
}
