//! The one event of a request in log and metrics.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::policy::Policy;
use super::respond::Answer;
use super::trail::Trail;
use crate::idempotency::{Key, RecordId};
use crate::lanes::now;
use crate::telemetry::{Metrics, Outcome, RequestEvent, RouteCounts};
use crate::upstream::headers;

/// Writes one event of a request, and ends its span, whoever is left to see its end.
///
/// It goes where the request goes: with a keyed one into its operation, so that an execution counts although its client left. Dropped
/// unwritten, the client left before anything was done.
pub(super) struct Account {
    books: Arc<Books>,
    /// Index of the route.
    place: usize,
    method: Method,
    trail: Trail,
    /// Of the span, or else of what the client said; where it may be logged.
    trace_id: Option<String>,
    id: Option<RecordId>,
    /// Only where keys are logged.
    key: Option<Key>,
    began: Instant,
    open: bool,
}

/// What accounts are written to.
pub(super) struct Books {
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// The counters of each of all routes.
    pub(super) routes: Box<[RouteCounts]>,
    /// Whether idempotency keys are logged in clear.
    pub(super) log_keys: bool,
}

impl Account {
    /// Of a request that came in now.
    pub(super) fn open(books: Arc<Books>, policy: &Policy, head: &Parts, trail: Trail) -> Self {
        let trace_id = match trail.span() {
            _ if !RequestEvent::may_be_wanted() => None,
            Some(span) => Some(hex(span.ids().0)),
            None => headers::trace_id(&head.headers).map(str::to_owned),
        };
        Self {
            books,
            place: policy.place,
            method: head.method.clone(),
            trail,
            trace_id,
            id: None,
            key: None,
            began: now(),
            open: true,
        }
    }

    /// The record that the request is about, by this key.
    pub(super) fn name(&mut self, id: RecordId, key: &Key) {
        self.id = Some(id);
        if self.books.log_keys {
            self.key = Some(key.clone());
        }
    }

    /// What is noted of the request.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The request is answered, or would be.
    pub(super) fn close(mut self, answer: &Answer) {
        self.open = false;
        self.write(answer.outcome, Some(answer.response.status()));
    }

    /// The request was observed, and answered then; or its client left before that.
    pub(super) fn observed(mut self, outcome: Outcome, answered: Option<(StatusCode, Instant)>) {
        self.open = false;
        let at = answered.map_or_else(Instant::now, |(_, at)| at);
        self.write_at(outcome, answered.map(|(status, _)| status), at);
    }

    fn write(&self, outcome: Outcome, status: Option<StatusCode>) {
        self.write_at(outcome, status, Instant::now());
    }

    fn write_at(&self, outcome: Outcome, status: Option<StatusCode>, answered: Instant) {
        let took = answered.saturating_duration_since(self.began);
        // The drain breaks an exchange off before it is noted that the upstream was asked, and has another status.
        let refused = self.trail.upstream().is_none() && status == Some(StatusCode::CONFLICT);
        let Books {
            metrics, routes, ..
        } = &*self.books;
        let route = &routes[self.place];
        match outcome {
            Outcome::OutcomeUnknown if refused => metrics.duplicate_of_unknown(route),
            _ => metrics.request_of(route, outcome),
        }
        metrics.request_took(took);
        let event = RequestEvent {
            route: route.name(),
            method: &self.method,
            id: self.id,
            key: self.key.as_ref().map(Key::as_str),
            outcome,
            status,
            duration: took,
            upstream: self.trail.upstream(),
            store: self.trail.store(),
            trace_id: self.trace_id.as_deref(),
        };
        event.log();
        if let Some(span) = self.trail.span() {
            span.end(outcome, self.id, status, answered.elapsed());
        }
    }
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open {
            self.write(Outcome::Abandoned, None);
        }
    }
}
