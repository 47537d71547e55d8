//! A keyed request, from the claim to the answer, which outlives its client.
//!
//! It does so from before the claim is sent: a client that leaves, or is tired of waiting, changes nothing of what follows. The
//! claim is executed and settled, and the retry finds the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use http::Response;
use tracing::Instrument;

use super::account::Account;
use super::acquire::{Acquired, Denied, acquire};
use super::execute::{Exchange, execute};
use super::key::Keyed;
use super::limits::{Buffered, InFlight};
use super::outliving::Outliving;
use super::pass::{Passing, pass};
use super::payload::{self, Received, Taken};
use super::reply::Asker;
use super::respond::{self, Answer};
use super::wait::Waiting;
use super::{Forward, Shared, problem};
use crate::fault::{self, Place};
use crate::idempotency::{Fingerprint, Record, RecordId, State};
use crate::lanes::now;
use crate::store::Store;
use crate::telemetry::{Limit, Outcome};
use crate::wire::{Body, Code, Problem, names};

/// A keyed request whose body was read, as far as it is held.
pub(super) struct Operation {
    /// What names it.
    pub(super) keyed: Keyed,
    /// The place of the policy that it begins and ends with.
    pub(super) place: usize,
    /// The request.
    pub(super) taken: Box<Taken>,
    /// The memory that the bodies take.
    pub(super) held: Buffered,
    /// The leave to run.
    pub(super) permit: InFlight,
}

/// What the client's side of a keyed request is told.
enum Told {
    /// Its answer, accounted for. A client that left needs none; the record has it.
    Answer(Answer),
    /// To wait for the first one's, and to account for what comes of it. A client that left waits for nothing.
    Wait(Box<(Waiting, Account)>),
}

impl Operation {
    /// Sets it going, and waits for its answer as long as a client may be kept waiting.
    pub(super) fn start<F: Forward, S: Store>(
        self,
        proxy: &Arc<Shared<F, S>>,
        account: Account,
    ) -> impl Future<Output = Response<Body>> + Send {
        let id = self.keyed.id;
        let place = self.place;
        let client_timeout = proxy.routes.at(place).client_timeout;
        let (progress, began) = (self.taken.received.progress(), now());
        let trail = account.trail().clone();
        // In a box before anything else: whatever has it for a part would be moved as one.
        let work = Box::pin(self.run(proxy.clone(), account));
        // Whoever calls a service of this program may hold its answer without asking for it.
        let mut work = if F::HOP {
            Outliving::new(proxy.tasks.track_future(work))
        } else {
            Outliving::left(proxy.tasks.track_future(work.in_current_span()))
        };
        async move {
            let mut patience = pin!(progress.stalled_for(began, client_timeout));
            let told = tokio::select! {
                biased;
                told = poll_fn(|cx| work.poll(cx)) => Some(told),
                () = &mut patience => None,
            };
            let answer = match told {
                Some(Some(Told::Answer(answer))) => answer,
                // Apart, since most duplicates wait for nothing.
                Some(Some(Told::Wait(waiting))) => Box::pin(wait(waiting, proxy, patience)).await,
                Some(None) => {
                    tracing::error!(%id, "an operation ended without an answer");
                    let problem = Problem::new(
                        Code::UpstreamFailed,
                        "The request failed inside of the proxy.",
                    );
                    let problem = problem.with_id(id.to_string());
                    Answer::problem(problem.with_state(State::Unknown.name()))
                }
                None => {
                    // Counted here beside what the operation comes to in the end, which is counted then.
                    let route = &proxy.books.routes[place];
                    proxy.metrics.request_of(route, Outcome::StillProcessing);
                    tracing::info!(%id, route = route.name(), "client_timeout passed; the operation goes on");
                    let problem = Problem::new(
                        Code::StillProcessing,
                        "The request is still being worked on. A retry with the same key gets its answer.",
                    );
                    let problem = problem.with_id(id.to_string());
                    // Before the store answered nobody knows: another instance may have settled it.
                    Answer::problem(if trail.has_claimed() {
                        problem.with_state(State::InFlight.name())
                    } else {
                        problem
                    })
                }
            };
            answer.response
        }
    }

    fn run<F: Forward, S: Store>(
        self,
        proxy: Arc<Shared<F, S>>,
        account: Account,
    ) -> impl Future<Output = Told> + Send {
        let Self {
            keyed,
            place,
            mut taken,
            held,
            permit,
        } = self;
        async move {
            let (id, trail) = (keyed.id, account.trail());
            let policy = proxy.routes.at(place);
            fault::reach(Place::BeforeClaim);
            let acquired = {
                // Here, as it would be copied into what waits for it.
                let acquiring = pin!(acquire(&proxy, &keyed, &mut taken, policy, trail));
                acquiring.await
            };
            let answer = match acquired {
                Ok(Acquired::Execute(claim)) => {
                    fault::reach(Place::AfterClaim);
                    trail.claimed();
                    let Taken { head, received } = &mut *taken;
                    let fingerprint = match received {
                        Received::Streamed(_) => {
                            payload::fingerprint(head, policy, &proxy.secret, None)
                        }
                        Received::Whole { .. } | Received::Gone => Fingerprint::default(),
                    };
                    proxy.prepare(head, policy, trail);
                    let asker = Asker::of(policy, head, &keyed.text).map(Box::new);
                    if claim.taken_over {
                        head.headers
                            .insert(names::ATTEMPT, claim.record.attempts.into());
                    }
                    let exchange = Exchange {
                        claim,
                        taken,
                        fingerprint,
                        asker,
                        held,
                        permit,
                    };
                    // Apart, since most of a duplicate's way is before it.
                    let answer = Box::pin(execute(&proxy, exchange, policy, trail)).await;
                    account.close(&answer);
                    return Told::Answer(answer);
                }
                Ok(Acquired::Replay(met, None)) => replay(&proxy, id, met.record, held, permit),
                Ok(Acquired::Replay(met, Some(found))) => {
                    respond::replay(&proxy.voice.names, id, met.record, (permit, held, found))
                }
                Ok(Acquired::Wait(waiting_place, attempt)) => {
                    let Taken { head, received } = *taken;
                    let head = policy.replay_check.is_some().then_some(head);
                    // From here on it holds its client's connection, and nothing else.
                    drop((received, held, permit));
                    let waiting = Waiting {
                        keyed,
                        policy: policy.clone(),
                        head,
                        attempt: *attempt,
                        place: waiting_place,
                    };
                    return Told::Wait(Box::new((waiting, account)));
                }
                Err(Denied::Unguarded(error)) => {
                    tracing::warn!(%id, %error, "forwarded without the guarantee: the store is not available");
                    let Taken { head, received } = *taken;
                    let passing = Passing {
                        head,
                        received,
                        permit,
                    };
                    let mut answer = Box::pin(pass(&proxy, passing, policy, trail.clone())).await;
                    let ours = answer.outcome != Outcome::Bypassed;
                    respond::mark_unguarded(
                        &proxy.voice.names,
                        answer.response.headers_mut(),
                        id,
                        ours,
                    );
                    if !ours {
                        answer.outcome = Outcome::ForwardedWithoutGuarantee;
                    }
                    answer
                }
                Err(denied) => {
                    let problem = problem::denied(denied, id);
                    if problem.code == Code::BodyTooLarge {
                        proxy.metrics.limit_reached(Limit::MaxRequestBody);
                    }
                    Answer::problem(problem)
                }
            };
            fault::reach(Place::BeforeAnswer);
            account.close(&answer);
            Told::Answer(answer)
        }
    }
}

/// Waits in its client's own time.
async fn wait<F: Forward, S: Store>(
    waiting: Box<(Waiting, Account)>,
    proxy: &Arc<Shared<F, S>>,
    patience: impl Future<Output = ()>,
) -> Answer {
    let (waiting, account) = *waiting;
    let answer = waiting.answer(proxy, patience, account.trail()).await;
    account.close(&answer);
    answer
}

/// The stored answer, if there is room for its body; `with` is held until that is sent.
fn replay<F, S, T: Send + Unpin + 'static>(
    proxy: &Shared<F, S>,
    id: RecordId,
    record: Record,
    mut held: Buffered,
    with: T,
) -> Answer {
    let size = record
        .response
        .as_ref()
        .map_or(0, |stored| stored.body.len());
    if held.grow(size) {
        respond::replay(&proxy.voice.names, id, record, (with, held))
    } else {
        no_room(proxy, id)
    }
}

/// The answer where the stored one finds no room.
pub(super) fn no_room<F, S>(proxy: &Shared<F, S>, id: RecordId) -> Answer {
    proxy.metrics.limit_reached(Limit::MaxBufferedTotal);
    let problem = Problem::new(Code::Overloaded, "max_buffered_total is reached");
    Answer::problem(
        problem
            .with_id(id.to_string())
            .with_state(State::Completed.name()),
    )
}
