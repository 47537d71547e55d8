//! Traces, where the environment asks for them.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "otlp")]
use super::collector::Collector;
use crate::telemetry::{Metrics, Traces};
#[cfg(feature = "otlp")]
use crate::wire::BoxError;

/// The export of traces, where there is one.
#[derive(Default)]
pub(super) struct Export(#[cfg(feature = "otlp")] Option<crate::telemetry::trace::Exporting>);

/// Begins to export traces, if the environment says where to. What it says wrong is told, and is no reason not to start.
#[cfg(feature = "otlp")]
pub(super) fn start(metrics: &Arc<Metrics>) -> (Traces, Export) {
    use crate::telemetry::trace::{Exporting, Wanted, wanted};

    let origin = match wanted() {
        Wanted::Nothing => return Default::default(),
        Wanted::Impossible(why) => {
            tracing::warn!("no traces are exported: {why}");
            return Default::default();
        }
        Wanted::Export(origin) => origin,
    };
    let exporting = Collector::at(&origin)
        .map_err(BoxError::from)
        .and_then(|collector| {
            // What is wrong is not repeated: the SDK quotes an endpoint, password and all.
            Exporting::start(collector, metrics.clone())
                .map_err(|_| "OTEL_EXPORTER_OTLP_* cannot be used".into())
        });
    match exporting {
        Ok((traces, exporting)) => {
            let host = origin.host().unwrap_or_default();
            tracing::info!(collector = host, "traces are exported");
            (traces, Export(Some(exporting)))
        }
        Err(error) => {
            tracing::warn!(%error, "no traces are exported");
            Default::default()
        }
    }
}

/// No traces: the feature `otlp` is not built in.
#[cfg(not(feature = "otlp"))]
pub(super) fn start(_: &Arc<Metrics>) -> (Traces, Export) {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        tracing::warn!("no traces are exported: this build has no feature `otlp`");
    }
    Default::default()
}

impl Export {
    /// Sends what is queued, for no longer than `limit`.
    pub(super) async fn flush(self, limit: Duration) {
        #[cfg(feature = "otlp")]
        if let Some(exporting) = self.0 {
            exporting.flush(limit).await;
        }
        #[cfg(not(feature = "otlp"))]
        let _ = limit;
    }
}
