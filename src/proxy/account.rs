//! The one event of a request in log and metrics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Method, StatusCode};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use super::outliving::Done;
use super::policy::Policy;
use super::respond::Answer;
use super::trail::Trail;
use super::wait::Waiting;
use crate::idempotency::{Key, RecordId};
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
    /// Of the span, or else of what the client said.
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
            began: Instant::now(),
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

/// Hands an answer to whoever waits for it, and accounts for it.
pub(super) struct Tell {
    account: Account,
    told: oneshot::Sender<Told>,
}

/// What the client's side of a keyed request is told.
pub(super) enum Told {
    /// Its answer, accounted for.
    Answer(Answer),
    /// To wait for the first one's, and to account for what comes of it.
    Wait(Box<Waiting>, Account),
}

/// Where the client's side of a keyed request listens.
pub(super) struct Listen(oneshot::Receiver<Told>);

/// The operation ended without a word.
pub(super) struct Untold;

impl Tell {
    /// A teller, and where to listen.
    pub(super) fn new(account: Account) -> (Self, Listen) {
        let (tell, told) = oneshot::channel();
        (
            Self {
                account,
                told: tell,
            },
            Listen(told),
        )
    }

    /// What is noted of the request.
    pub(super) fn trail(&self) -> &Trail {
        self.account.trail()
    }

    /// Tells it. A client that left needs no answer; the record has it.
    pub(super) fn tell(self, answer: Answer) {
        self.account.close(&answer);
        let _ = self.told.send(Told::Answer(answer));
    }

    /// Has the client's side wait. A client that left waits for nothing, and what it would have held is dropped.
    pub(super) fn wait(self, waiting: Waiting) {
        let _ = self.told.send(Told::Wait(Box::new(waiting), self.account));
    }
}

impl Listen {
    /// What was told, where the operation is done by `work`: nobody has to be woken for it then.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Done,
    ) -> Poll<Result<Told, Untold>> {
        match (work(cx), self.0.try_recv()) {
            (_, Ok(told)) => Poll::Ready(Ok(told)),
            (Done::NotYet, Err(TryRecvError::Empty)) => Poll::Pending,
            (Done::Elsewhere, Err(TryRecvError::Empty)) => {
                Pin::new(&mut self.0).poll(cx).map_err(|_| Untold)
            }
            (_, Err(_)) => Poll::Ready(Err(Untold)),
        }
    }
}
