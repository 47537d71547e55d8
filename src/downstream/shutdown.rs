//! How the client's side stops.

use std::sync::Arc;

use tokio::sync::watch;

/// Moves listeners and connections from running to closed. Clones share one phase, and it only advances.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
}

impl Shutdown {
    /// In [`Phase::Running`].
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Running)),
        }
    }

    /// Advances to [`Phase::Draining`].
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Advances to [`Phase::Closed`].
    pub fn close(&self) {
        self.advance(Phase::Closed);
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until `phase`, or a later one, is reached.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        phases
            .wait_for(|now| *now >= phase)
            .await
            .expect("self holds the sender");
    }

    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepting.
    Running,
    /// Accepts nothing; idle connections are closed, others after the exchange they are in (HTTP/2: with GOAWAY).
    Draining,
    /// The deadline passed: connections are dropped.
    Closed,
}
