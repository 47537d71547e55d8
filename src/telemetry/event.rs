//! The one log event of a request.

use std::time::Duration;

use http::{Method, StatusCode};

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
