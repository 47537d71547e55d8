//! How the program is: for probes, and for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::upstreams::Upstreams;
use crate::admin::Report;
use crate::store::{AnyStore, Store};
use crate::telemetry::Metrics;
use crate::upstream::Contact;

/// How the program is, for probes.
pub(super) struct Condition {
    stage: watch::Sender<Stage>,
    /// Nothing until it is open.
    store: OnceLock<Arc<AnyStore>>,
    upstreams: Arc<ArcSwap<Upstreams>>,
    metrics: Arc<Metrics>,
    /// So many of the store's are counted.
    epoch_changes: AtomicU64,
    left: AtomicU64,
}

/// Where a process is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Whether its store may be used is not known yet.
    Starting,
    Serving,
    Draining,
}

impl Condition {
    /// Of a program whose store is not open yet.
    pub(super) fn starting(upstreams: Arc<ArcSwap<Upstreams>>, metrics: Arc<Metrics>) -> Self {
        Self {
            stage: watch::Sender::new(Stage::Starting),
            store: OnceLock::new(),
            upstreams,
            metrics,
            epoch_changes: AtomicU64::new(0),
            left: AtomicU64::new(0),
        }
    }

    /// The store is open.
    pub(super) fn opened(&self, store: Arc<AnyStore>) {
        // Opened once, by whoever made this.
        let _ = self.store.set(store);
    }

    pub(super) fn set(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Ready when the start is complete, or nobody is there any more who could complete it. Holds nothing of the program.
    pub(super) fn started(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stage = self.stage.subscribe();
        async move {
            let _ = stage.wait_for(|stage| *stage == Stage::Serving).await;
        }
    }
}

impl Report for Condition {
    fn ready(&self) -> Result<(), &'static str> {
        match *self.stage.borrow() {
            Stage::Starting => Err("starting"),
            Stage::Serving => Ok(()),
            Stage::Draining => Err("draining"),
        }
    }

    fn details(&self) -> Vec<String> {
        let health = self
            .store
            .get()
            .map(|store| store.health())
            .unwrap_or_default();
        let mut lines = vec![format!("store: {}", if health.up { "up" } else { "down" })];
        lines.extend(
            health
                .notes
                .into_iter()
                .map(|note| format!("store: {note}")),
        );
        lines.extend(self.upstreams.load().iter().map(|upstream| {
            let contact = match upstream.contact() {
                Contact::None => "not asked yet",
                Contact::Made => "up",
                Contact::Failed => "down",
            };
            format!("upstream: {}: {contact}", upstream.authority())
        }));
        lines
    }

    fn observe(&self) {
        let health = self
            .store
            .get()
            .map(|store| store.health())
            .unwrap_or_default();
        self.metrics.activity.sample(SystemTime::now());
        self.metrics.store_up.set(health.up.into());
        let evicted = i64::try_from(health.evicted).unwrap_or(i64::MAX);
        self.metrics.store_evicted_keys.set(evicted);
        let news = |counted: &AtomicU64, told: u64| {
            told.saturating_sub(counted.fetch_max(told, Ordering::Relaxed))
        };
        self.metrics
            .store_epoch_changes
            .inc_by(news(&self.epoch_changes, health.epoch_changes));
        self.metrics
            .records_unknown
            .inc_by(news(&self.left, health.left));
    }
}

/// Carries the condition of the store to the metrics, for as long as it is polled.
pub(super) async fn observe(condition: Arc<Condition>) {
    loop {
        condition.observe();
        tokio::time::sleep(OBSERVED_EVERY).await;
    }
}

/// How often the condition of the store goes to the metrics.
const OBSERVED_EVERY: Duration = Duration::from_secs(1);
