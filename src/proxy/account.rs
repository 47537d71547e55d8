//! The one event of a request in log and metrics.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::policy::Policy;
use super::respond::Answer;
use super::wait::Waiting;
use crate::idempotency::RecordId;
use crate::telemetry::{Metrics, Outcome};

/// Writes one event of a request, whoever is left to see its end.
///
/// It goes where the request goes: with a keyed one onto its task, so that an execution counts although its client left. Dropped
/// unwritten, the client left before anything was done.
pub(super) struct Account {
    metrics: Arc<Metrics>,
    policy: Arc<Policy>,
    method: Method,
    id: Option<RecordId>,
    began: Instant,
    open: bool,
}

impl Account {
    /// Of a request that came in now.
    pub(super) fn open(metrics: Arc<Metrics>, policy: Arc<Policy>, method: Method) -> Self {
        Self {
            metrics,
            policy,
            method,
            id: None,
            began: Instant::now(),
            open: true,
        }
    }

    /// The record that the request is about.
    pub(super) fn name(&mut self, id: RecordId) {
        self.id = Some(id);
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
        self.metrics.request(&self.policy.route, outcome);
        self.metrics.request_took(took);
        tracing::info!(
            route = self.policy.route,
            method = %self.method,
            id = self.id.map(tracing::field::display),
            outcome = outcome.as_str(),
            status = status.map(|status| status.as_u16()),
            duration_ms = took.as_secs_f64() * 1e3,
            "request"
        );
    }
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

impl Tell {
    /// A teller, and where to listen.
    pub(super) fn new(account: Account) -> (Self, oneshot::Receiver<Told>) {
        let (tell, told) = oneshot::channel();
        (
            Self {
                account,
                told: tell,
            },
            told,
        )
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
