//! The guarantee as a tower layer: in an axum service, or round whatever else handles requests.
//!
//! The proxy is this layer round a service that forwards ([`Builder::forwarding`]). In somebody's program it is put round the service
//! that does the work, which then gets its requests as they came: nothing of theirs is added, stripped or rewritten, and their
//! extensions stay.

mod builder;

use std::sync::Arc;
use std::time::Duration;

use tower::Layer;

use crate::config::LayerSettings;
use crate::lanes::Tasks;
use crate::proxy::{Advisor, ClientAddress, Common, Idempotency, Setup, Stop, Within};
use crate::store::{AnyStore, Store};
use crate::telemetry::Metrics;

pub use builder::{BuildError, Builder};

/// Gives a service one effect for each idempotency key: a tower [`Layer`] for every service of `http` requests, an axum router for one.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use axum::{Router, body::Body, extract::State, http::Request, routing::post};
/// use idemproxy::{AnyStore, IdempotencyLayer, LayerSettings};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let settings = LayerSettings::from_toml("orders.toml", r#"
///     service = "orders"
///     [store]
///     url = "memory:"
/// "#)?;
/// let store = Arc::new(AnyStore::open(settings.store()).await?);
/// let layer = IdempotencyLayer::builder(store, settings).build()?;
///
/// async fn create(State(orders): State<Arc<AtomicU32>>) -> String {
///     format!("order {}", orders.fetch_add(1, Ordering::Relaxed) + 1)
/// }
/// let app = Router::new()
///     .route("/orders", post(create))
///     .with_state(Arc::default())
///     .layer(layer.clone());
///
/// for replayed in [false, true] {
///     let request = Request::post("/orders").header("Idempotency-Key", "k-1").body(Body::empty())?;
///     let response = app.clone().oneshot(request).await?;
///     assert_eq!(response.headers().contains_key("x-idempotency-replay"), replayed);
///     let body = axum::body::to_bytes(response.into_body(), 100).await?;
///     assert_eq!(body, "order 1");
/// }
/// layer.drain().await;
/// # Ok(())
/// # }
/// ```
///
/// # Where it goes
///
/// By `Router::layer`, as above, or round all of a router: `Router::new().fallback_service(layer.layer(router))`. What is layered outside
/// of it, authentication for one, also runs for duplicates; what is inside runs once. A router that is nested sees paths without their prefix, and so does a layer within: give each such router a `service` of its own, or
/// `POST /a/orders` and `POST /b/orders` are one operation to it.
///
/// # What the service can rely on
///
/// - A keyed request runs on a task of its own: a client that leaves cancels nothing, and its retry finds the answer. The task is in the
///   `tracing` span of the request; task-locals do not come with it. Other requests pass through, and end with their client.
/// - What has no key, or is not covered, has no limit here: neither `upstream_timeout` nor `body_idle_timeout` nor `max_in_flight`.
/// - An error and a panic, also of the answer's body, leave the outcome of a keyed one unknown: the client gets 502 `upstream-failed`, and duplicates
///   409 `outcome-unknown`. Where nothing was done, answer with a status that releases the key (any 5xx but 502 and 504 does).
/// - `upstream_timeout` is how long it may take; then its future is dropped, and the outcome unknown.
/// - It is called when it is ready, each clone of it for one request. The layer itself is always ready.
pub struct IdempotencyLayer<S = AnyStore> {
    setup: Setup<()>,
    common: Common<S>,
    advisor: Option<Advisor>,
    client_address: Option<ClientAddress>,
    drain_timeout: Duration,
    /// How long the store may take for the last settlements.
    last_words: Duration,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    stop: Stop,
}

impl<S: Store> IdempotencyLayer<S> {
    /// A layer that goes by `settings` and keeps its records in `store`, most often what [`AnyStore::open`] gives for
    /// [`LayerSettings::store`]. Several layers can share a store; for those that have the same `service` a key
    /// is the same key.
    pub fn builder(store: Arc<S>, settings: LayerSettings) -> Builder<S> {
        Builder::new(store, settings)
    }

    /// Begins no more keyed requests (they get 503 `draining`), and waits for those that run: up to `drain_timeout`, and then only until
    /// they are settled as unknown. For the end of a program, after its server stopped; without it what ran is cut off, and unknown
    /// once its lease lapsed.
    pub async fn drain(&self) {
        self.stop.draining.cancel();
        let drained = tokio::time::timeout(self.drain_timeout, self.tasks.ended());
        if drained.await.is_err() {
            let running = self.tasks.len();
            tracing::warn!(
                running,
                "the drain deadline passed; what still runs is settled as unknown"
            );
            self.stop.deadline.cancel();
            let _ = tokio::time::timeout(self.last_words, self.tasks.ended()).await;
        }
    }

    /// What was counted, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        // Writing into a string does not fail.
        self.metrics.encode().unwrap_or_default()
    }
}

impl<T, S: Store> Layer<T> for IdempotencyLayer<S> {
    type Service = Idempotency<Within<T>, S>;

    fn layer(&self, service: T) -> Self::Service {
        let within = Within {
            service,
            advisor: self.advisor.clone(),
            client_address: self.client_address.clone(),
        };
        Idempotency::of(self.setup.clone().round(within), self.common.clone())
    }
}

impl<S> Clone for IdempotencyLayer<S> {
    fn clone(&self) -> Self {
        Self {
            setup: self.setup.clone(),
            common: self.common.clone(),
            advisor: self.advisor.clone(),
            client_address: self.client_address.clone(),
            drain_timeout: self.drain_timeout,
            last_words: self.last_words,
            metrics: self.metrics.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }
}

impl<S> std::fmt::Debug for IdempotencyLayer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdempotencyLayer").finish_non_exhaustive()
    }
}
