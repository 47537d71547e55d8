//! A keyed request, from the claim to the answer, on a task of its own.
//!
//! The task begins before the claim is sent: a client that leaves, or is tired of waiting, changes nothing of what follows. The
//! claim is executed and settled, and the retry finds the answer.

use std::sync::Arc;

use http::request::Parts;
use tokio::sync::oneshot;

use super::acquire::{Acquired, Denied, acquire};
use super::execute::{Exchange, execute};
use super::key::Keyed;
use super::limits::{Buffered, ClaimSlot, InFlight};
use super::pass::{Passing, pass};
use super::payload::{self, Received};
use super::policy::{Policy, StoreFailure};
use super::respond::{self, Answer};
use super::{Forward, Shared, problem};
use crate::idempotency::{Fingerprint, State};
use crate::store::Store;
use crate::telemetry::Outcome;
use crate::wire::{Code, Problem};

/// A keyed request whose body was read, as far as it is held.
pub(super) struct Operation {
    /// What names it.
    pub(super) keyed: Keyed,
    /// The policy that it begins and ends with.
    pub(super) policy: Arc<Policy>,
    /// The head, as it came.
    pub(super) head: Parts,
    /// The body.
    pub(super) received: Received,
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to claim.
    pub(super) slot: ClaimSlot,
    /// The leave to run.
    pub(super) permit: InFlight,
}

impl Operation {
    /// Sets it going, and waits for its answer as long as a client may be kept waiting.
    pub(super) async fn start<F: Forward, S: Store>(self, proxy: &Arc<Shared<F, S>>) -> Answer {
        let id = self.keyed.id;
        let client_timeout = self.policy.client_timeout;
        let progress = self.received.progress();
        let (tell, told) = oneshot::channel();
        proxy.tasks.spawn(self.run(proxy.clone(), tell));
        tokio::select! {
            biased;
            answer = told => answer.unwrap_or_else(|_| {
                tracing::error!(%id, "an operation ended without an answer");
                let problem = Problem::new(Code::UpstreamFailed, "The request failed inside of the proxy.");
                Answer::problem(problem.with_id(id.to_string()).with_state(State::Unknown.name()))
            }),
            () = progress.stalled_for(client_timeout) => {
                let problem = Problem::new(
                    Code::StillProcessing,
                    "The request is still being worked on. A retry with the same key gets its answer.",
                );
                Answer::problem(problem.with_id(id.to_string()).with_state(State::InFlight.name()))
            }
        }
    }

    async fn run<F: Forward, S: Store>(
        self,
        proxy: Arc<Shared<F, S>>,
        tell: oneshot::Sender<Answer>,
    ) {
        let Self {
            keyed,
            policy,
            mut head,
            mut received,
            held,
            slot,
            permit,
        } = self;
        let id = keyed.id;
        let answer = match acquire(&proxy.records, &keyed, &head, &mut received, &policy, slot)
            .await
        {
            Ok(Acquired::Execute(claim)) => {
                let fingerprint = match &received {
                    Received::Streamed(_) => payload::fingerprint(&head, &policy, None),
                    Received::Whole { .. } | Received::Gone => Fingerprint::default(),
                };
                proxy.prepare(&mut head, &policy);
                if claim.taken_over {
                    head.headers
                        .insert("x-idempotency-attempt", claim.record.attempts.into());
                }
                let exchange = Exchange {
                    claim: *claim,
                    head,
                    received,
                    fingerprint,
                    held,
                    permit,
                };
                return execute(&proxy, exchange, tell).await;
            }
            Ok(Acquired::Replay(record)) => respond::replay(id, *record),
            Err(Denied::NoStore(error))
                if policy.store_error == StoreFailure::Forward
                    && !error.is_unreadable()
                    && !matches!(received, Received::Gone) =>
            {
                tracing::warn!(%id, %error, "forwarded without the guarantee: the store is not available");
                let mut answer = pass(
                    &proxy,
                    Passing {
                        head,
                        received,
                        permit,
                    },
                    &policy,
                )
                .await;
                respond::mark_unguarded(answer.response.headers_mut(), id);
                if answer.outcome == Outcome::Bypassed {
                    answer.outcome = Outcome::ForwardedWithoutGuarantee;
                }
                answer
            }
            Err(denied) => Answer::problem(problem::denied(denied, id)),
        };
        // A client that left needs no answer.
        let _ = tell.send(answer);
    }
}
