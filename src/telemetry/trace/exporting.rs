//! Spans on their way to a collector. No request waits for it: what finds no room is dropped, and counted.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::spans::Traces;
use super::variables::Queueing;
use crate::telemetry::Metrics;

/// The export of spans, to be stopped in the end.
pub struct Exporting {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Ended spans go to the queue for as long as it is there.
    _provider: SdkTracerProvider,
}

impl Exporting {
    /// Begins to export by `client`, as the environment says (`OTEL_*`).
    ///
    /// # Errors
    ///
    /// What of the environment cannot be used.
    pub fn start(
        client: impl HttpClient + 'static,
        metrics: Arc<Metrics>,
    ) -> Result<(Traces, Self), ExporterBuildError> {
        let queueing = Queueing::by_environment();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .build()?;
        let resource = resource();
        exporter.set_resource(&resource);
        let (sender, spans) = mpsc::channel(queueing.room);
        let queue = Queue {
            spans: sender,
            metrics: metrics.clone(),
        };
        // Its sampler is that of the environment.
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        let stop = CancellationToken::new();
        let export = Export {
            spans,
            exporter,
            queueing,
            metrics,
            unsaid: 0,
            said: None,
        };
        let exporting = Self {
            task: tokio::spawn(export.run(stop.clone())),
            stop,
            _provider: provider.clone(),
        };
        Ok((Traces::new(provider.tracer("idemproxy")), exporting))
    }

    /// Sends what is queued, for no longer than `limit`.
    pub async fn flush(self, limit: Duration) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(limit, self.task).await.is_err() {
            abort.abort();
            tracing::warn!("the last spans could not be exported in time");
        }
    }
}

/// Takes ended spans.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.metrics.spans_dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends queued spans, batch by batch.
struct Export {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    queueing: Queueing,
    metrics: Arc<Metrics>,
    /// Spans that could not be sent since that was last said.
    unsaid: usize,
    said: Option<Instant>,
}

impl Export {
    /// Until it is to stop, and the queue is empty then.
    async fn run(mut self, stop: CancellationToken) {
        let Queueing {
            batch: most, delay, ..
        } = self.queueing;
        let mut batch = Vec::new();
        loop {
            let spans = &mut self.spans;
            let full = async {
                loop {
                    let room = most - batch.len();
                    // Asked for none it would find none.
                    if room == 0 {
                        return true;
                    }
                    if spans.recv_many(&mut batch, room).await == 0 {
                        return false;
                    }
                }
            };
            let more = tokio::select! {
                // What is queued is taken, though it is to stop.
                biased;
                more = full => more,
                () = stop.cancelled() => true,
                () = tokio::time::sleep(delay) => true,
            };
            if stop.is_cancelled() {
                self.spans.close();
            }
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch)).await;
            }
            if !more {
                return;
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        let sent = tokio::time::timeout(self.queueing.timeout, self.exporter.export(batch)).await;
        let error = match sent {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.unsaid += count;
        self.metrics.spans_dropped.inc_by(count as u64);
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            tracing::warn!(spans = self.unsaid, error, "spans could not be exported");
            (self.unsaid, self.said) = (0, Some(Instant::now()));
        }
    }
}

/// What the environment says of this process; a service without a name is called as the program is.
fn resource() -> Resource {
    let resource = Resource::builder().build();
    let service = resource.get(&"service.name".into());
    let named = service.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder().with_attribute(opentelemetry::KeyValue::new(
        "service.version",
        env!("CARGO_PKG_VERSION"),
    ));
    if !named {
        builder = builder.with_service_name("idemproxy");
    }
    builder.build()
}

/// How often it is said that spans cannot be exported.
const SAID_EVERY: Duration = Duration::from_secs(60);
