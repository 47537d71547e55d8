//! A request on its way to the upstream, sent again where that is safe.

use http::{Request, Response};
use http_body_util::BodyExt;

use super::claim::Claim;
use super::judge::may_be_sent_again;
use super::payload::{Received, Taken};
use super::policy::Policy;
use super::trail::Trail;
use super::{Forward, Shared, Way, retry};
use crate::fault::{Seeded, seeded};
use crate::store::Store;
use crate::upstream::{NotSentReason, Reuse, SendError};
use crate::wire;

/// A request without an answer.
pub(super) struct Failed {
    /// What is known of the last try.
    pub(super) error: SendError,
    /// Status of an earlier try, by which the upstream said that it did not carry the request out.
    pub(super) answered: Option<u16>,
}

/// Sends a request, again where it was provably not carried out and the policy says so.
pub(super) fn send<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    claim: &Claim,
    policy: &Policy,
    trail: &Trail,
    taken: Taken,
) -> impl Future<Output = Result<Box<Response<F::Body>>, Failed>> + Send {
    let Taken { head, received } = taken;
    let gate = claim.gate(&proxy.stop.deadline, &proxy.records);
    let (mut request, again) = match received {
        Received::Streamed(upload) => (Request::from_parts(head, upload.boxed_unsync()), None),
        // Nobody claims for a body that went by already.
        Received::Gone => (Request::from_parts(head, wire::empty()), None),
        Received::Whole { bytes, trailers } => {
            let again = (!policy.retry.on_status.is_empty() || seeded(Seeded::UnansweredSentAgain))
                .then(|| Box::new((head.clone(), bytes.clone(), trailers.clone())));
            (
                Request::from_parts(head, wire::with_trailers(bytes, trailers)),
                again,
            )
        }
    };
    async move {
        let way = Way {
            upstream: policy.upstream,
            reuse: Reuse::OnlyYoung,
            gate: Some(&gate),
        };
        let (mut tries, mut answered) = (1, None);
        loop {
            let may_retry = tries < policy.retry.attempts;
            let answer = proxy
                .attempt(request, way, trail, tries - 1)
                .await
                .map(|response| {
                    let mut response = Box::new(response);
                    proxy.prepare_answer(&mut response);
                    response
                });
            request = match (answer, again.as_deref()) {
                (Err(SendError::NotSent { request, reason }), _)
                    if may_retry
                        && policy.retry.on_connect
                        && !matches!(reason, NotSentReason::GateClosed) =>
                {
                    *request
                }
                (Ok(response), Some((head, bytes, trailers)))
                    if may_retry
                        && policy.retry.on_status.contains(&response.status().as_u16())
                        && may_be_sent_again(&response, policy) =>
                {
                    answered = Some(response.status().as_u16());
                    Request::from_parts(
                        head.clone(),
                        wire::with_trailers(bytes.clone(), trailers.clone()),
                    )
                }
                (Err(SendError::Unanswered(_)), Some((head, bytes, trailers)))
                    if may_retry && seeded(Seeded::UnansweredSentAgain) =>
                {
                    let body = wire::with_trailers(bytes.clone(), trailers.clone());
                    Request::from_parts(head.clone(), body)
                }
                (answer, _) => return answer.map_err(|error| Failed { error, answered }),
            };
            tokio::time::sleep(retry::wait(&policy.retry, tries)).await;
            tries += 1;
        }
    }
}
