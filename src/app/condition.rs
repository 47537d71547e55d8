//! How the program is: for probes, and for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::admin::Report;
use crate::store::{AnyStore, Store};
use crate::telemetry::Metrics;

/// How the program is, for probes.
pub(super) struct Condition {
    stage: AtomicU8,
    store: Arc<AnyStore>,
}

/// Where a process is in its life.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Starting = 0,
    Serving = 1,
    Draining = 2,
}

impl Condition {
    pub(super) fn new(store: Arc<AnyStore>) -> Self {
        Self {
            stage: AtomicU8::new(Stage::Starting as u8),
            store,
        }
    }

    pub(super) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }
}

impl Report for Condition {
    fn ready(&self) -> Result<(), &'static str> {
        match self.stage.load(Ordering::Acquire) {
            1 => Ok(()),
            0 => Err("starting"),
            _ => Err("draining"),
        }
    }

    fn details(&self) -> Vec<String> {
        let health = self.store.health();
        let mut lines = vec![format!("store: {}", if health.up { "up" } else { "down" })];
        lines.extend(
            health
                .notes
                .into_iter()
                .map(|note| format!("store: {note}")),
        );
        lines
    }
}

/// Carries the condition of the store to the metrics, for as long as it is polled.
pub(super) async fn observe(store: Arc<AnyStore>, metrics: Arc<Metrics>) {
    let mut epochs = 0;
    loop {
        let health = store.health();
        metrics.store_up.set(health.up.into());
        metrics
            .store_epoch_changes
            .inc_by(health.epoch_changes.saturating_sub(epochs));
        epochs = epochs.max(health.epoch_changes);
        tokio::time::sleep(OBSERVED_EVERY).await;
    }
}

/// How often the condition of the store goes to the metrics.
const OBSERVED_EVERY: Duration = Duration::from_secs(1);
