//! Connections for writes that replicas must have.
//!
//! `WAIT` counts the writes of its own connection, and holds up what comes behind it: each write has a connection to itself.
//! What an earlier try wrote on another connection is touched anew, so that `WAIT` has something of its own to wait for: 7.0
//! waits for every write before the connection's last command, but that is not promised.

use std::sync::{Arc, Mutex, PoisonError};

use ::redis::{Value, cmd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::facts::{Facts, Identity};
use super::failure::Failure;
use super::line::{Line, Patience};
use super::target::Target;
use crate::fault::{Seeded, seeded};

/// Connections for writes that replicas must have.
pub(super) struct Replicated {
    target: Arc<Target>,
    /// Who is to answer.
    identity: Option<Identity>,
    replicas: u32,
    idle: Mutex<Vec<Line>>,
    permits: Arc<Semaphore>,
}

/// A connection for one write. Closed when dropped: an answer may still be on its way.
pub(super) struct Own {
    line: Line,
    _permit: OwnedSemaphorePermit,
}

impl Replicated {
    /// No connections yet.
    pub(super) fn new(target: Arc<Target>, identity: Option<Identity>, replicas: u32) -> Self {
        Self {
            target,
            identity,
            replicas,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// A connection for one write, in a slot that is on its way to this server or not.
    pub(super) async fn line(&self, asking: bool, patience: Patience) -> Result<Own, Failure> {
        let opening = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            let permit = permit.ok_or_else(|| Failure::NoConnection("closed".to_owned()))?;
            let idle = self.idle().pop();
            let line = match idle {
                Some(line) => line,
                None => self.open(patience).await?,
            };
            Ok(Own {
                line: line.asking(asking),
                _permit: permit,
            })
        };
        timeout_at(patience.until(), opening)
            .await
            .unwrap_or_else(|_| Err(Failure::NoConnection("none became free in time".to_owned())))
    }

    /// Waits until enough replicas have what was written on this connection.
    ///
    /// # Errors
    ///
    /// Never one that says that nothing was written.
    pub(super) async fn confirm(&self, own: Own, patience: Patience) -> Result<(), Failure> {
        if seeded(Seeded::ReplicasNotAwaited) {
            return Ok(());
        }
        let patience = patience.after_a_transfer();
        let left = patience.until().saturating_duration_since(Instant::now());
        // The server's own bound lies a little before ours, so that it comes to tell the number.
        let bound = u64::try_from(left.as_millis() * 9 / 10)
            .unwrap_or(u64::MAX)
            .max(1);
        let wait = cmd("WAIT").arg(self.replicas).arg(bound).to_owned();
        let answer = own.ask(&wait, patience).await;
        match answer.map_err(Failure::after_a_write)? {
            Value::Int(have) if have >= i64::from(self.replicas) => {
                self.give_back(own);
                Ok(())
            }
            Value::Int(have) => {
                self.give_back(own);
                Err(Failure::Unreplicated(format!(
                    "{have} of {} replicas have it",
                    self.replicas
                )))
            }
            _ => Err(Failure::Unreplicated("WAIT was not understood".to_owned())),
        }
    }

    /// Keeps a connection, every answer of which has come, for the next write.
    pub(super) fn give_back(&self, own: Own) {
        self.idle().push(own.line);
    }

    /// Opens a connection to the server of the session: behind one address may by now stand another.
    async fn open(&self, patience: Patience) -> Result<Line, Failure> {
        let line = Line::open(&self.target).await?;
        let facts = Facts::ask(&line, patience).await?;
        if facts.replica || facts.identity != self.identity {
            return Err(Failure::Dropped);
        }
        Ok(line)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Own {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}

const MAX_CONNECTIONS: usize = 64;
