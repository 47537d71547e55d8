//! Requests that no policy covers: passed on as through any proxy.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::limits::InFlight;
use super::payload::{self, Received};
use super::policy::Policy;
use super::respond::Answer;
use super::trail::Trail;
use super::upload::{Progress, Stage, Upload};
use super::{Forward, Shared, Way};
use crate::lanes::now;
use crate::store::Store;
use crate::telemetry::{Limit, Outcome};
use crate::upstream::{Reuse, SendError, headers};
use crate::wire::{self, Body, Code, Problem};

/// A request that is passed on: its head as it came, and its body.
pub(super) struct Passing {
    /// The head, not yet prepared for the upstream.
    pub(super) head: Parts,
    /// The body.
    pub(super) received: Received,
    /// The leave to run.
    pub(super) permit: InFlight,
}

impl Passing {
    /// A request of which nothing was read yet.
    pub(super) fn unread<F: Forward, S: Store>(
        proxy: &Shared<F, S>,
        head: Parts,
        body: Body,
        policy: &Policy,
        permit: InFlight,
    ) -> Self {
        let idle = proxy.patience_to_pass(proxy.body_idle_timeout);
        let upload = Upload::new(None, body, policy.max_request_body, idle);
        Self {
            head,
            received: Received::Streamed(upload),
            permit,
        }
    }
}

/// Passes a request on, and its answer back, both as they come. A client that leaves takes the exchange with it.
pub(super) fn pass<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    passing: Passing,
    policy: &Policy,
    trail: Trail,
) -> impl Future<Output = Answer> + Send + use<F, S> {
    let sending = Sending::new(proxy, passing, policy, trail);
    sending.answer(proxy.clone(), |_, answer| answer)
}

/// A request that is ready for the upstream.
pub(super) struct Sending {
    /// Nothing where it is too large.
    request: Option<Request<Body>>,
    from_client: Option<OnUpgrade>,
    upstream: usize,
    progress: Progress,
    patience: Duration,
    trail: Trail,
    permit: InFlight,
}

impl Sending {
    /// Makes it ready.
    pub(super) fn new<F: Forward, S: Store>(
        proxy: &Shared<F, S>,
        passing: Passing,
        policy: &Policy,
        trail: Trail,
    ) -> Self {
        let Passing {
            mut head,
            received,
            permit,
        } = passing;
        // Elsewhere it is the service's own matter.
        let upgrade = headers::is_upgrade(&head.headers).filter(|_| F::HOP);
        let from_client = upgrade
            .is_some()
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();
        proxy.prepare(&mut head, policy, &trail);
        if let (Some(protocols), Some(_)) = (upgrade, &from_client) {
            headers::set_upgrade(&mut head.headers, protocols);
        }
        let progress = received.progress();
        let body = match received {
            Received::Whole { bytes, trailers } => Some(wire::with_trailers(bytes, trailers)),
            Received::Gone => Some(wire::empty()),
            Received::Streamed(upload) => (!upload.is_too_large()).then(|| upload.boxed_unsync()),
        };
        Self {
            request: body.map(|body| Request::from_parts(head, body)),
            from_client,
            upstream: policy.upstream,
            progress,
            patience: proxy.patience_to_pass(policy.upstream_timeout),
            trail,
            permit,
        }
    }

    /// What `then` makes of the answer. That is done here and not around this: a future in another one is moved with it.
    /// Written out, as an `async fn` keeps what it is given twice.
    pub(super) fn answer<F: Forward, S: Store, T>(
        self,
        proxy: Arc<Shared<F, S>>,
        then: impl FnOnce(&Shared<F, S>, Answer) -> T + Send,
    ) -> impl Future<Output = T> + Send {
        let Self {
            request,
            from_client,
            upstream,
            progress,
            patience,
            trail,
            permit,
        } = self;
        async move {
            let Some(request) = request else {
                proxy.metrics.limit_reached(Limit::MaxRequestBody);
                return then(&proxy, Answer::problem(payload::too_large()));
            };
            let way = Way {
                upstream,
                reuse: Reuse::Any,
                gate: None,
            };
            let began = Instant::now();
            let sent = tokio::select! {
                biased;
                sent = proxy.attempt(request, way, &trail, 0) => Some(sent),
                () = progress.stalled_for(began, patience) => None,
            };
            let took = now().saturating_duration_since(began);
            trail.asked(took);
            let answer = match sent {
                Some(Ok(response)) => {
                    proxy.metrics.upstream_took(took);
                    passed(&proxy, response, from_client, permit)
                }
                Some(Err(error)) => {
                    if progress.stage() == Stage::TooLarge {
                        proxy.metrics.limit_reached(Limit::MaxRequestBody);
                    }
                    Answer::problem(failed(&error, progress.stage()))
                }
                None => Answer::problem(Problem::new(
                    Code::UpstreamTimeout,
                    "The upstream did not answer in time.",
                )),
            };
            then(&proxy, answer)
        }
    }
}

/// What the client gets of an answer. `permit` is held until all of it is sent.
fn passed<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    mut response: Response<F::Body>,
    from_client: Option<OnUpgrade>,
    permit: InFlight,
) -> Answer {
    let switches = F::HOP && response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let switched = switches
        .then(|| headers::is_upgrade(response.headers()))
        .flatten();
    proxy.prepare_answer(&mut response);
    if switches {
        let (Some(from_client), Some(protocols)) = (from_client, switched) else {
            return Answer::problem(Problem::new(
                Code::UpstreamFailed,
                "The upstream switched protocols without being asked to.",
            ));
        };
        headers::set_upgrade(response.headers_mut(), protocols);
        let from_upstream = hyper::upgrade::on(&mut response);
        let stop = proxy.stop.deadline.clone();
        proxy.tasks.spawn(async move {
            let tunnel = async {
                let (client, upstream) = tokio::try_join!(from_client, from_upstream)?;
                let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
                // Whichever side resets, the other is closed with it: there is nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                Ok::<_, hyper::Error>(())
            };
            tokio::select! {
                _ = tunnel => {}
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
        return Answer {
            response: response.map(|_| wire::empty()),
            outcome: Outcome::Bypassed,
        };
    }
    Answer {
        response: response.map(|body| wire::holding(body, permit)),
        outcome: Outcome::Bypassed,
    }
}

fn failed(error: &SendError, upload: Stage) -> Problem {
    match (error, upload) {
        (SendError::NotSent { reason, .. }, _) => {
            tracing::warn!(%reason, "a request was not sent");
            Problem::new(
                Code::UpstreamUnreachable,
                "The upstream could not be reached. Nothing was sent.",
            )
        }
        (_, Stage::TooLarge) => payload::too_large(),
        (_, Stage::Cut | Stage::Idle) => {
            Problem::new(Code::BadRequest, "The request body ended early.")
        }
        (SendError::Unanswered(reason), Stage::Running | Stage::Whole) => {
            tracing::warn!(%reason, "a request was sent and not answered");
            Problem::new(Code::UpstreamFailed, "The upstream's answer was lost.")
        }
    }
}
