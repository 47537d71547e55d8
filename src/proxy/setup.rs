//! What an [`Idempotency`](super::Idempotency) is made of, and what each request goes through with.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use super::account::Books;
use super::asides::Asides;
use super::jwt::TokenVerifier;
use super::limits::Limits;
use super::records::Records;
use super::waiters::Waiters;
use super::{Routes, Stop};
use crate::idempotency::Secret;
use crate::lanes::Tasks;
use crate::store::Store;
use crate::telemetry::{Metrics, Traces};
use crate::wire::Voice;

/// What an [`Idempotency`](super::Idempotency) is made of.
pub struct Parameters<F, S> {
    /// What can be replaced while it runs.
    pub setup: Setup<F>,
    /// Where records are kept.
    pub store: Arc<S>,
    /// Part of every record id.
    pub service: String,
    /// Under which what is stored is hashed.
    pub secret: Secret,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether requests are traced.
    pub traces: Traces,
    /// Whether idempotency keys are logged in clear.
    pub log_keys: bool,
    /// Where exchanges run that outlive their clients; wait for it to stop.
    pub tasks: Tasks,
    /// When to stop.
    pub stop: Stop,
}

/// What several [`Idempotency`](super::Idempotency)s have in common that are one to their clients: the record of a key, and what all exchanges together
/// may use.
pub struct Common<S> {
    pub(super) secret: Secret,
    pub(super) service: Arc<str>,
    pub(super) records: Arc<Records<S>>,
    pub(super) limits: Limits,
    pub(super) waiters: Arc<Waiters>,
    pub(super) asides: Arc<Asides>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
    pub(super) log_keys: bool,
    pub(super) tasks: Tasks,
    pub(super) stop: Stop,
}

/// What of an [`Idempotency`](super::Idempotency) can be replaced while it runs, all of it together.
#[derive(Clone)]
pub struct Setup<F> {
    /// The service that forwards.
    pub inner: F,
    /// Which policy a request is under.
    pub routes: Routes,
    /// Verifies bearer tokens.
    pub jwt: Option<Arc<TokenVerifier>>,
    /// Whose word on the client's address is believed.
    pub trust_forwarded: Vec<IpNet>,
    /// What the upstreams call themselves, by their index: `Host` where the client's is not preserved.
    pub authorities: Vec<HeaderValue>,
    /// Exchanges at once.
    pub max_in_flight: usize,
    /// Bytes of bodies in memory.
    pub max_buffered_total: u64,
    /// Duplicates that wait at once.
    pub max_waiters: usize,
    /// A request body of which no byte came for so long is given up.
    pub body_idle_timeout: Duration,
    /// How the proxy's own answers and headers are told.
    pub voice: Arc<Voice>,
}

/// What a request goes through with: the settings as they were when it began, and what all requests have in common.
pub(super) struct Shared<F, S> {
    pub(super) inner: F,
    pub(super) routes: Routes,
    pub(super) books: Arc<Books>,
    pub(super) secret: Secret,
    pub(super) jwt: Option<Arc<TokenVerifier>>,
    pub(super) trust_forwarded: Vec<IpNet>,
    pub(super) authorities: Vec<HeaderValue>,
    pub(super) body_idle_timeout: Duration,
    pub(super) voice: Arc<Voice>,
    pub(super) asides: Arc<Asides>,
    pub(super) service: Arc<str>,
    pub(super) records: Arc<Records<S>>,
    pub(super) limits: Limits,
    pub(super) waiters: Arc<Waiters>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
    pub(super) tasks: Tasks,
    pub(super) stop: Stop,
}

impl<F, S: Store> Parameters<F, S> {
    /// What is for one service, and what several can have in common.
    pub fn split(self) -> (Setup<F>, Common<S>) {
        let Self {
            setup,
            store,
            service,
            secret,
            metrics,
            traces,
            log_keys,
            tasks,
            stop,
        } = self;
        let limits = Limits::new(
            setup.max_in_flight,
            setup.max_buffered_total,
            metrics.in_flight.clone(),
        );
        let waiters = Waiters::new(setup.max_waiters, limits.clone(), metrics.clone());
        let waiters = Arc::new(waiters);
        let records = Records::new(
            store,
            metrics.clone(),
            tasks.clone(),
            waiters.clone(),
            limits.clone(),
        );
        let common = Common {
            secret,
            service: service.into(),
            records: Arc::new(records),
            limits,
            waiters,
            asides: Arc::default(),
            metrics,
            traces,
            log_keys,
            tasks,
            stop,
        };
        (setup, common)
    }
}

impl<F> Setup<F> {
    /// The same round another service.
    pub fn round<G>(self, inner: G) -> Setup<G> {
        Setup {
            inner,
            routes: self.routes,
            jwt: self.jwt,
            trust_forwarded: self.trust_forwarded,
            authorities: self.authorities,
            max_in_flight: self.max_in_flight,
            max_buffered_total: self.max_buffered_total,
            max_waiters: self.max_waiters,
            body_idle_timeout: self.body_idle_timeout,
            voice: self.voice,
        }
    }
}

impl<F, S> Shared<F, S> {
    /// That of requests that begin from now on.
    pub(super) fn new(setup: Setup<F>, common: Common<S>) -> Self {
        let routes = setup.routes.all().iter();
        let counts = routes.map(|policy| common.metrics.route(&policy.route));
        let books = Books {
            metrics: common.metrics.clone(),
            routes: counts.collect(),
            log_keys: common.log_keys,
        };
        Self {
            inner: setup.inner,
            books: Arc::new(books),
            routes: setup.routes,
            jwt: setup.jwt,
            trust_forwarded: setup.trust_forwarded,
            authorities: setup.authorities,
            body_idle_timeout: setup.body_idle_timeout,
            voice: setup.voice,
            asides: common.asides,
            secret: common.secret,
            service: common.service,
            records: common.records,
            limits: common.limits,
            waiters: common.waiters,
            metrics: common.metrics,
            traces: common.traces,
            tasks: common.tasks,
            stop: common.stop,
        }
    }
}

impl<S> Clone for Common<S> {
    fn clone(&self) -> Self {
        Self {
            secret: self.secret.clone(),
            service: self.service.clone(),
            records: self.records.clone(),
            limits: self.limits.clone(),
            waiters: self.waiters.clone(),
            asides: self.asides.clone(),
            metrics: self.metrics.clone(),
            traces: self.traces.clone(),
            log_keys: self.log_keys,
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }
}
