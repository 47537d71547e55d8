//! The way of a request that is only observed: it passes, and both of its bodies tell an observation what goes by.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::account::Account;
use super::answered::{Answered, Judgement};
use super::hold::{Hold, Holding};
use super::judge::{finality, ruled};
use super::limits::InFlight;
use super::media::is_event_stream;
use super::observation::Observation;
use super::pass::{Passing, pass};
use super::payload::Received;
use super::policy::{FingerprintPart, Policy};
use super::receive::Named;
use super::respond::{Answer, outcome_of};
use super::source::{self, BodySoFar, Sought};
use super::tap::{Sight, Tap};
use super::trail::Trail;
use super::upload::Upload;
use super::{Forward, Shared};
use crate::idempotency::response_rule::{Body as Known, Judged};
use crate::store::Store;
use crate::telemetry::Outcome;
use crate::wire::{Body, Problem};

/// Answers a request of a route that is observed. It waits for nothing that one without a policy does not wait for.
pub(super) async fn answer<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    head: Parts,
    body: Body,
    policy: &Arc<Policy>,
    covered: bool,
    account: Account,
) -> Response<Body> {
    let permit = match proxy.enter_to_pass() {
        Ok(permit) => permit,
        Err(problem) => {
            let answer = Answer::problem(problem);
            account.close(&answer);
            return answer.response;
        }
    };
    let named = if covered {
        look(proxy, &head, &body, policy, account.trail())
    } else {
        Ok(Named::Nothing)
    };
    let (leave, trail) = (proxy.limits.observe(), account.trail().clone());
    let known = match (named, leave) {
        (Ok(Named::Nothing), _) => None,
        (Err(outcome), _) => Some(outcome),
        (Ok(_), None) => Some(Outcome::ObservedSkipped),
        (Ok(named), Some(leave)) => {
            let (body, upload) = tapped(proxy, &named, body, policy);
            let (tell, answered) = oneshot::channel();
            let observation = Observation {
                proxy: proxy.clone(),
                policy: policy.clone(),
                head: head.clone(),
                named,
                upload,
                answer: answered.into(),
                leave,
            };
            proxy.tasks.spawn(observation.run(account));
            let answer = pass(proxy, passing(proxy, head, body, permit), policy, trail).await;
            return told(proxy, answer, tell, policy);
        }
    };
    let answer = pass(proxy, passing(proxy, head, body, permit), policy, trail).await;
    match known {
        None => account.close(&answer),
        Some(outcome) => {
            let answered = (answer.response.status(), Instant::now());
            account.observed(outcome, Some(answered));
        }
    }
    answer.response
}

/// What the head of a request tells of what enforcement would do: what names it, or how it is counted.
fn look<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    head: &Parts,
    body: &Body,
    policy: &Policy,
    trail: &Trail,
) -> Result<Named, Outcome> {
    let counted = |problem: Problem| outcome_of(problem.code).observed();
    proxy
        .check_connection(&head.headers, policy)
        .map_err(counted)?;
    let mut named = proxy.named(head, policy, trail).map_err(counted)?;
    if matches!(named, Named::InBody)
        && holding(proxy, &named, head, policy).hold() == Some(Hold::Nothing)
    {
        // Nothing in a body of this kind can be a key.
        let sought = source::find(head, BodySoFar::Foreign, policy, || proxy.records.now());
        let key = match sought.map_err(counted)? {
            Sought::Key(key, _) => Some(key),
            Sought::InBody | Sought::Nothing => None,
        };
        named = Named::of(proxy.name(key, head, policy, trail).map_err(counted)?);
    }
    let max = policy.max_request_body.unwrap_or(u64::MAX);
    if !matches!(named, Named::Nothing) && body.size_hint().lower() > max {
        return Err(Outcome::ObservedBodyTooLarge);
    }
    Ok(named)
}

/// How much of a body enforcement would hold.
pub(super) fn holding<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    named: &Named,
    head: &Parts,
    policy: &Policy,
) -> Holding {
    match named {
        Named::Keyed(_) => Holding::keyed(policy),
        Named::InBody | Named::Nothing => source::holding(head, policy, || proxy.records.now()),
    }
}

/// The body of a request with a tap on it: hashed, and copied where that does not do.
fn tapped<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    named: &Named,
    body: Body,
    policy: &Policy,
) -> (Body, mpsc::Receiver<Sight>) {
    let (mut tap, sights) = Tap::new(body, policy.max_buffered_request);
    let reads_json = policy.fingerprint.contains(&FingerprintPart::JsonBody);
    if policy.fingerprint.contains(&FingerprintPart::Body) {
        tap = tap.hashed();
    }
    if reads_json || matches!(named, Named::InBody) {
        tap = tap.copied(proxy.limits.buffer()).showing_start();
    }
    (tap.open().boxed_unsync(), sights)
}

/// A request to pass, however large it is.
fn passing<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    head: Parts,
    body: Body,
    permit: InFlight,
) -> Passing {
    let idle = proxy.patience_to_pass(proxy.body_idle_timeout);
    let upload = Upload::new(None, body, None, idle);
    Passing {
        head,
        received: Received::Streamed(upload),
        permit,
    }
}

/// Tells the observation of the answer, and lets it go with a tap on its body.
fn told<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    answer: Answer,
    tell: oneshot::Sender<Answered>,
    policy: &Policy,
) -> Response<Body> {
    let (head, body) = answer.response.into_parts();
    let events = is_event_stream(&head.headers);
    let judged = match ruled(policy, head.status, &head.headers, Known::Unread) {
        Judged::ReadOn if events => ruled(policy, head.status, &head.headers, Known::Opaque),
        judged => judged,
    };
    let (mut tap, body_seen) = Tap::new(body, policy.max_stored_response);
    let judgement = match judged {
        Judged::ReadOn => {
            tap = tap.copied(proxy.limits.buffer());
            Judgement::ByBody(head.headers.clone())
        }
        judged => {
            let (finality, rule) = finality(judged, policy, head.status, &head.headers);
            Judgement::Final(finality, rule.and_then(|rule| rule.retention))
        }
    };
    // Only an observation that ended already does not listen.
    let _ = tell.send(Answered {
        status: head.status,
        outcome: answer.outcome,
        at: Instant::now(),
        judgement,
        kept: !events,
        body: body_seen,
    });
    Response::from_parts(head, tap.open().boxed_unsync())
}
