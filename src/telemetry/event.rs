//! The one log event of a request.

use std::time::Duration;

use http::{Method, StatusCode};
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::Outcome;
use crate::idempotency::RecordId;

/// What is logged of a request. Here are the names of its fields, which stay as they are: what is absent is left out.
#[derive(Clone, Copy, Debug)]
pub struct RequestEvent<'a> {
    /// The name of its route.
    pub route: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// The record that it is about.
    pub id: Option<RecordId>,
    /// Its idempotency key, only where the operator asked for it.
    pub key: Option<&'a str>,
    /// What became of it.
    pub outcome: Outcome,
    /// Status of its answer.
    pub status: Option<StatusCode>,
    /// From its head to that of its answer.
    pub duration: Duration,
    /// For how long the upstream was asked.
    pub upstream: Option<Duration>,
    /// How long it waited for the store.
    pub store: Option<Duration>,
    /// The trace that it belongs to, in hex.
    pub trace_id: Option<&'a str>,
}

impl RequestEvent<'_> {
    /// Whether anybody may want it written. By the level alone: filters of single layers keep what they were asked last, and would not be
    /// asked anew for the next event that is written (tokio-rs/tracing#2519).
    #[must_use]
    pub fn may_be_wanted() -> bool {
        LevelFilter::current() >= Level::INFO
    }

    /// Writes it, under a target of its own for filters.
    pub fn log(&self) {
        tracing::info!(
            target: "idemproxy::request",
            route = self.route,
            method = %self.method,
            id = self.id.map(tracing::field::display),
            // As a string, and not as it displays itself: that escapes what controls a terminal or ends a line.
            key = self.key,
            outcome = self.outcome.as_str(),
            status = self.status.map(|status| status.as_u16()),
            duration_ms = millis(self.duration),
            upstream_ms = self.upstream.map(millis),
            store_ms = self.store.map(millis),
            trace_id = self.trace_id.map(tracing::field::display),
            "request"
        );
    }
}

/// To the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::{Layer, SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn to_ask_whether_it_is_wanted_loses_nothing_that_is_written_next() {
        let written = Written::default();
        let lines = written.clone();
        let subscriber = tracing_subscriber::registry()
            .with(
                fmt::layer()
                    .with_writer(io::sink)
                    .with_filter(LevelFilter::INFO),
            )
            .with(
                fmt::layer()
                    .with_writer(move || lines.clone())
                    .with_filter(LevelFilter::WARN),
            );
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                assert!(RequestEvent::may_be_wanted());
                tracing::warn!("heard");
            }
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches("heard").count(), 3);
    }

    #[test]
    fn a_key_is_quoted_and_escaped_in_text() {
        let written = Written::default();
        let lines = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let event = RequestEvent {
                route: "default",
                method: &Method::POST,
                id: None,
                key: Some("a\" outcome=\"b\n\u{1b}[31m"),
                outcome: Outcome::Executed,
                status: Some(StatusCode::CREATED),
                duration: Duration::from_micros(1_966),
                upstream: None,
                store: Some(Duration::from_nanos(1)),
                trace_id: Some("0af7"),
            };
            event.log();
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let (_, text) = text.split_once("idemproxy::request: ").unwrap();
        assert_eq!(
            text,
            "request route=\"default\" method=POST key=\"a\\\" outcome=\\\"b\\n\\u{1b}[31m\" outcome=\"executed\" status=201 duration_ms=1.966 store_ms=0.0 trace_id=0af7\n"
        );
    }
}
