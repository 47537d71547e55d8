//! What a layer is made of, besides its settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Extensions, HeaderValue, Request, Response};
use http_body::Body as HttpBody;
use tower::Service;
use tower::util::BoxCloneSyncService;

use super::IdempotencyLayer;
use crate::config::LayerSettings;
use crate::lanes::Tasks;
use crate::proxy::policy::{Mode, Policy, ScopePart};
use crate::proxy::{Advisor, ClientAddress, Forward, Idempotency, Parameters, Setup, Stop, serve};
use crate::store::Store;
use crate::telemetry::{Metrics, Traces};
use crate::upstream::SendError;
use crate::wire::{Body, BoxError};

/// Makes an [`IdempotencyLayer`].
pub struct Builder<S> {
    store: Arc<S>,
    settings: LayerSettings,
    advisor: Option<Advisor>,
    client_address: Option<ClientAddress>,
    metrics: Arc<Metrics>,
    traces: Traces,
    log_keys: bool,
    tasks: Tasks,
    stop: Stop,
}

/// What the settings need, and the builder was not given. Each names the route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The policy has `probe`, `replay_check` or `reply_from`.
    #[error("route {0}: probe, replay_check and reply_from need a service to ask, Builder::ask")]
    NobodyToAsk(String),
    /// The scope has `client-ip`.
    #[error("route {0}: the scope client-ip needs to know the client, Builder::client_address")]
    NoClientAddress(String),
}

impl<S: Store> Builder<S> {
    pub(super) fn new(store: Arc<S>, settings: LayerSettings) -> Self {
        Self {
            store,
            settings,
            advisor: None,
            client_address: None,
            metrics: Arc::new(Metrics::new()),
            traces: Traces::default(),
            log_keys: false,
            tasks: Tasks::default(),
            stop: Stop::default(),
        }
    }

    /// Whom `probe`, `replay_check` and `reply_from` ask, by GETs with the headers of the request, and but for `replay_check` its
    /// extensions: the whole router, since the layer itself may be round a single route of it, and a 404 by another route would be
    /// taken for the word that nothing was done.
    #[must_use]
    pub fn ask<T, B>(mut self, service: T) -> Self
    where
        T: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        T::Error: Into<BoxError>,
        T::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let ask = move |question| -> BoxFuture<'static, Result<Response<Body>, SendError>> {
            Box::pin(serve(service.clone(), question, None))
        };
        self.advisor = Some(BoxCloneSyncService::new(tower::service_fn(ask)));
        self
    }

    /// How to tell by a request's extensions who is at the other end of its connection, for the scope `client-ip`. With axum:
    /// `|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)`. Behind proxies that `trust_forwarded` names,
    /// `X-Forwarded-For` tells the client.
    #[must_use]
    pub fn client_address(
        mut self,
        tell: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.client_address = Some(Arc::new(tell));
        self
    }

    /// Counts, runs and stops with the rest of a program.
    #[doc(hidden)]
    #[must_use]
    pub fn beside(mut self, metrics: Arc<Metrics>, tasks: Tasks, stop: Stop) -> Self {
        (self.metrics, self.tasks, self.stop) = (metrics, tasks, stop);
        self
    }

    /// Traces requests, and logs their keys.
    #[doc(hidden)]
    #[must_use]
    pub fn telling(mut self, traces: Traces, log_keys: bool) -> Self {
        (self.traces, self.log_keys) = (traces, log_keys);
        self
    }

    /// The layer.
    ///
    /// # Errors
    ///
    /// The settings need something that was not given.
    pub fn build(self) -> Result<IdempotencyLayer<S>, BuildError> {
        let policies = self.settings.routes().all().iter();
        for policy in policies.filter(|policy| policy.mode != Mode::Off) {
            if self.advisor.is_none() && asks(policy) {
                return Err(BuildError::NobodyToAsk(policy.route.clone()));
            }
            if self.client_address.is_none() && policy.scope.contains(&ScopePart::ClientIp) {
                return Err(BuildError::NoClientAddress(policy.route.clone()));
            }
        }
        let drain_timeout = self.settings.server().drain_timeout;
        let last_words = self.settings.store().timeout * 2 + LAST_WORDS;
        let (advisor, client_address) = (self.advisor.clone(), self.client_address.clone());
        let (metrics, tasks, stop) = (self.metrics.clone(), self.tasks.clone(), self.stop.clone());
        let setup = self.settings.setup();
        let (setup, common) = self.parameters(setup).split();
        Ok(IdempotencyLayer {
            setup,
            common,
            advisor,
            client_address,
            drain_timeout,
            last_words,
            metrics,
            tasks,
            stop,
        })
    }

    /// The layer round a service that is another hop: the proxy. `authorities` are what its upstreams call themselves.
    #[doc(hidden)]
    pub fn forwarding<F: Forward>(
        self,
        inner: F,
        authorities: Vec<HeaderValue>,
    ) -> Idempotency<F, S> {
        let mut setup = self.settings.setup().round(inner);
        setup.authorities = authorities;
        Idempotency::new(self.parameters(setup))
    }

    fn parameters<F>(self, setup: Setup<F>) -> Parameters<F, S> {
        Parameters {
            setup,
            store: self.store,
            service: self.settings.service().to_owned(),
            secret: self.settings.store().secret.clone(),
            metrics: self.metrics,
            traces: self.traces,
            log_keys: self.log_keys,
            tasks: self.tasks,
            stop: self.stop,
        }
    }
}

fn asks(policy: &Policy) -> bool {
    let mut rules = policy.responses.iter();
    policy.probe.is_some()
        || policy.replay_check.is_some()
        || rules.any(|rule| rule.reply_from.is_some())
}

/// How long the end of a program waits beside what the store may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
