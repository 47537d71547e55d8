//! The path of a request, one file a step:
//!
//! 1. [`routes`] finds the [`Policy`]; `key` names the operation and its record.
//! 2. `payload` reads the body and hashes what must not change (`upload` while it streams).
//! 3. `operation` goes on alone from here, on a task that outlives the client; `acquire` claims the key in the store, or finds out
//!    what became of it.
//! 4. `execute` asks the upstream.
//! 5. `records` tells the store how it ended, until the store has it.
//! 6. `respond` answers, the first time or from the record.
//!
//! What no policy covers takes the short way, `pass`. [`Idempotency`] is a tower service round one that forwards; its errors are
//! answers, so it never fails.

mod acquire;
mod claim;
mod execute;
mod forward;
mod key;
mod limits;
mod operation;
mod pass;
mod payload;
pub mod policy;
mod problem;
mod records;
mod relay;
mod respond;
mod retry;
mod routes;
mod upload;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use self::limits::{InFlight, Limits};
use self::operation::Operation;
use self::pass::Passing;
use self::records::Records;
use self::respond::Answer;
use crate::idempotency::RecordId;
use crate::store::Store;
use crate::telemetry::{Limit, Metrics};
use crate::upstream::headers::{ForwardContext, prepare_request};
use crate::wire::{Body, BoxError, Code, Peer, Problem};

pub use forward::{Forward, Target};
pub use policy::Policy;
pub use routes::{Found, RouteError, Routes};

/// Gives the requests of its routes one effect a key, round a service that forwards.
///
/// The inner service says of each failure what is known ([`SendError`]), and takes from the request's extensions
/// which upstream it is for ([`Target`]) and what to ask before the first byte ([`crate::upstream::Gate`]). Of the client's
/// connection the extension [`Peer`] tells.
pub struct Idempotency<F, S>(Arc<Shared<F, S>>);

/// What an [`Idempotency`] is made of.
pub struct Parameters<F, S> {
    /// The service that forwards.
    pub inner: F,
    /// Where records are kept.
    pub store: Arc<S>,
    /// Which policy a request is under.
    pub routes: Routes,
    /// Part of every record id.
    pub service: String,
    /// What the upstreams call themselves, by their index: `Host` where the client's is not preserved.
    pub authorities: Vec<String>,
    /// Exchanges at once.
    pub max_in_flight: usize,
    /// Bytes of bodies in memory.
    pub max_buffered_total: u64,
    /// A request body of which no byte came for so long is given up.
    pub body_idle_timeout: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where exchanges run that outlive their clients; wait for it to stop.
    pub tasks: TaskTracker,
    /// When to stop.
    pub stop: Stop,
}

/// When to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// From now on nothing new is begun.
    pub draining: CancellationToken,
    /// From now on nothing is waited for: what still runs is settled as unknown.
    pub deadline: CancellationToken,
}

struct Shared<F, S> {
    inner: F,
    records: Arc<Records<S>>,
    routes: Routes,
    service: String,
    authorities: Vec<String>,
    limits: Limits,
    body_idle_timeout: Duration,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: Stop,
}

impl<F, S: Store> Idempotency<F, S> {
    /// A proxy of these parts.
    pub fn new(parameters: Parameters<F, S>) -> Self {
        let Parameters {
            inner,
            store,
            routes,
            service,
            authorities,
            metrics,
            tasks,
            stop,
            ..
        } = parameters;
        Self(Arc::new(Shared {
            inner,
            records: Arc::new(Records::new(store, metrics.clone(), tasks.clone())),
            routes,
            service,
            authorities,
            limits: Limits::new(parameters.max_in_flight, parameters.max_buffered_total),
            body_idle_timeout: parameters.body_idle_timeout,
            metrics,
            tasks,
            stop,
        }))
    }
}

impl<F, S> Clone for Idempotency<F, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, S, R> Service<Request<R>> for Idempotency<F, S>
where
    F: Forward,
    S: Store,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let proxy = self.0.clone();
        Box::pin(async move {
            Ok(proxy
                .answer(request.map(|body| body.map_err(Into::into).boxed_unsync()))
                .await)
        })
    }
}

impl<F: Forward, S: Store> Shared<F, S> {
    /// Answers a request, counts it and logs it, once.
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let found = self.routes.find(&head.method, head.uri.path());
        let policy = found.policy.clone();
        let covered = found.covered;
        let method = head.method.clone();
        let mut id = None;
        let answer = self
            .handle(head, body, &policy, covered, &mut id)
            .await
            .unwrap_or_else(Answer::problem);
        let took = began.elapsed();
        self.metrics.request(&policy.route, answer.outcome);
        self.metrics.request_took(took);
        tracing::info!(
            route = policy.route,
            %method,
            id = id.map(tracing::field::display),
            outcome = answer.outcome.as_str(),
            status = answer.response.status().as_u16(),
            duration_ms = took.as_secs_f64() * 1e3,
            "request"
        );
        answer.response
    }

    /// The path of a request.
    async fn handle(
        self: &Arc<Self>,
        head: Parts,
        body: Body,
        policy: &Arc<Policy>,
        covered: bool,
        named: &mut Option<RecordId>,
    ) -> Result<Answer, Problem> {
        key::check_connection(&head.headers, policy)?;
        let permit = self.enter()?;
        let keyed = if covered {
            key::extract(&head, policy, &self.service)?
        } else {
            None
        };
        let Some(keyed) = keyed else {
            return Ok(pass::pass(
                self,
                Passing::unread(self, head, body, policy, permit),
                policy,
            )
            .await);
        };
        let id = keyed.id;
        *named = Some(id);
        if self.stop.draining.is_cancelled() {
            return Err(
                Problem::new(Code::Draining, "The proxy is stopping.").with_id(id.to_string())
            );
        }
        if keyed.cookies_only {
            self.metrics.cookies_without_caller.inc();
            tracing::debug!(
                route = policy.route,
                "a keyed request has cookies, and its scope no caller"
            );
        }
        let mut held = self.limits.buffer();
        let identify = |problem: Problem| problem.with_id(id.to_string());
        let received = payload::read(body, policy, &mut held, self.body_idle_timeout)
            .await
            .map_err(|problem| {
                self.count_limit(&problem);
                identify(problem)
            })?;
        let Some(slot) = self.limits.claim() else {
            return Err(identify(acquire::overloaded("max_in_flight")));
        };
        let operation = Operation {
            keyed,
            policy: policy.clone(),
            head,
            received,
            held,
            slot,
            permit,
        };
        Ok(operation.start(self).await)
    }

    fn enter(&self) -> Result<InFlight, Problem> {
        self.limits.enter(&self.metrics).ok_or_else(|| {
            self.metrics.limit_reached(Limit::MaxInFlight);
            acquire::overloaded("max_in_flight")
        })
    }

    fn count_limit(&self, problem: &Problem) {
        match problem.code {
            Code::Overloaded => self.metrics.limit_reached(Limit::MaxBufferedTotal),
            Code::BodyTooLarge => self.metrics.limit_reached(Limit::MaxRequestBody),
            _ => {}
        }
    }

    /// Makes a received head one for the upstream.
    fn prepare(&self, head: &mut Parts, policy: &Policy) {
        let peer = head.extensions.remove::<Peer>();
        // What the connection left there is for this proxy, and not for the one that forwards.
        head.extensions.clear();
        prepare_request(
            head,
            &ForwardContext {
                peer: peer.map_or(
                    std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                    |peer| peer.addr.ip(),
                ),
                peer_is_trusted: peer.is_some_and(|peer| peer.trusted),
                scheme: peer.map_or("http", |peer| peer.scheme),
                preserve_host: policy.preserve_host,
                upstream_authority: self
                    .authorities
                    .get(policy.upstream)
                    .map_or("", String::as_str),
            },
        );
        head.version = http::Version::HTTP_11;
    }
}
