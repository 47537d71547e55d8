//! An answer that is not kept: its client gets it piece by piece, while its claim is still held.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use tracing::Instrument;

use super::claim::Claim;
use super::collect::pump;
use super::limits::{Buffered, InFlight};
use super::payload::Pieces;
use super::policy::Policy;
use super::relay::{RelaySender, relay};
use super::respond::{self, Answer};
use super::trail::Trail;
use super::upload::Progress;
use super::{Forward, Shared};
use crate::fault::{self, Place};
use crate::idempotency::{Fingerprint, Outcome, State};
use crate::store::Store;
use crate::telemetry;

/// An answer that is not kept.
pub(super) struct Streaming<B> {
    /// The answer; nothing of its body but what is `ahead` was read.
    pub(super) response: Box<Response<B>>,
    /// What was read of it.
    pub(super) ahead: Pieces,
    /// What the upstream said, which is the record's if it breaks off.
    pub(super) status_of_upstream: u16,
    /// How long what is known of it is kept, where not as the policy says.
    pub(super) retention: Option<Duration>,
}

/// What goes on with it.
pub(super) struct Exchanging<F, S> {
    pub(super) proxy: Arc<Shared<F, S>>,
    pub(super) claim: Claim,
    pub(super) policy: Arc<Policy>,
    /// How far the request's body has come, and of one that is streamed, what its hash is added to.
    pub(super) upload: (Progress, Option<Fingerprint>),
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to run.
    pub(super) permit: InFlight,
    pub(super) trail: Trail,
}

impl<B: Send + 'static> Streaming<B> {
    /// The answer, whose body comes from a task of its own: that goes on whether its client stays or not.
    pub(super) fn begin<F: Forward<Body = B>, S: Store>(
        self,
        exchanging: Exchanging<F, S>,
    ) -> Answer {
        let Self {
            response,
            ahead,
            status_of_upstream,
            retention,
        } = self;
        let (head, body) = response.into_parts();
        let (to_client, relayed) = relay();
        let pieced = Pieced {
            ahead,
            body,
            to_client,
            status_to_client: head.status.as_u16(),
            status_of_upstream,
            retention,
        };
        let proxy = exchanging.proxy.clone();
        let mut response = Response::from_parts(head, relayed.boxed_unsync());
        respond::mark(
            &proxy.voice.names,
            response.headers_mut(),
            exchanging.claim.id,
            State::InFlight,
            None,
        );
        let handing = exchanging.hand_on(pieced);
        proxy.tasks.spawn(handing.in_current_span());
        Answer {
            response,
            outcome: telemetry::Outcome::Executed,
        }
    }
}

/// The pieces of an answer, where they go, and what was said of it.
struct Pieced<B> {
    ahead: Pieces,
    body: B,
    to_client: RelaySender,
    /// All that duplicates are told of it.
    status_to_client: u16,
    status_of_upstream: u16,
    retention: Option<Duration>,
}

impl<F: Forward, S: Store> Exchanging<F, S> {
    /// Hands an answer on to its end, and settles by that. Its last piece comes once the record says so, and so does the news that it
    /// broke off. The lease of a claim that is a third of it old is renewed at once, whoever did so before.
    async fn hand_on(self, pieced: Pieced<F::Body>) {
        let Self {
            proxy,
            claim,
            policy,
            upload: (progress, uploaded),
            mut held,
            permit,
            trail,
        } = self;
        let Pieced {
            ahead,
            mut body,
            mut to_client,
            status_to_client,
            status_of_upstream,
            retention,
        } = pieced;
        let patience = policy.upstream_timeout;
        let pumped = tokio::select! {
            // What is there is taken, though the deadline passed in the same moment.
            biased;
            pumped = pump(ahead, &mut body, &mut to_client, patience, &mut held) => Some(pumped),
            () = claim.held_until(&proxy.stop.deadline, &proxy.records) => None,
        };
        drop(body);
        let unknown = |status, why| Outcome::Unknown {
            status,
            error: Some(why),
        };
        let (outcome, retention, whole) = match pumped {
            Some(Ok(last)) => {
                fault::reach(Place::AfterBody);
                let (status, response) = (status_to_client, None);
                (
                    Outcome::Completed { status, response },
                    retention,
                    Some(last),
                )
            }
            Some(Err(_)) => (unknown(Some(status_of_upstream), BROKE_OFF), None, None),
            None => (unknown(None, STOPPED), None, None),
        };
        let fingerprint = uploaded.and_then(|it| progress.complete(it, &proxy.secret));
        fault::reach(Place::BeforeSettle);
        let terms = policy.terms().keeping(&outcome, retention);
        let settling = proxy
            .records
            .settle(claim, terms, outcome, fingerprint, held, &trail);
        let (_, held) = settling.await;
        fault::reach(Place::AfterSettle);
        fault::reach(Place::BeforeAnswer);
        if let Some(last) = whole {
            to_client.end_with(last).await;
        }
        drop((held, permit));
    }
}

/// What the record says of an answer that broke off, and of one that the proxy did not wait for.
pub(super) const BROKE_OFF: &str = "the upstream's answer broke off";
pub(super) const STOPPED: &str = "the proxy stopped before the answer came";
