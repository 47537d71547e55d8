//! One connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::SemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::Upload;
use super::socket::Socket;

/// One connection. Dropped while idle it closes by itself.
pub(super) struct Connection {
    /// The way to its driver.
    pub(super) sender: SendRequest<Upload>,
    /// What the driver reads and writes.
    pub(super) socket: Arc<Socket>,
    /// Ends the driver, and closes the connection.
    pub(super) driver: AbortHandle,
    /// How long it may be idle by the upstream's own word.
    pub(super) lifetime: Duration,
    /// Whether its last answer had no body.
    pub(super) bare: bool,
    /// Whether it was taken on the runtime's word that nothing has arrived, without asking the system.
    pub(super) untried: bool,
}

impl Connection {
    /// One that serves its first exchange.
    pub(super) fn new(
        sender: SendRequest<Upload>,
        socket: Arc<Socket>,
        driver: AbortHandle,
    ) -> Self {
        Self {
            sender,
            socket,
            driver,
            lifetime: Duration::MAX,
            bare: true,
            untried: false,
        }
    }

    /// It serves an exchange from now on, by this permit.
    pub(super) fn occupy(&self, permit: SemaphorePermit<'_>) {
        self.socket.occupy(permit);
    }

    /// How long it has been idle.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.socket
            .idle_since()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether nothing has arrived on it, which owes us nothing.
    pub(super) fn is_alive(&self) -> bool {
        let is_quiet = match self.untried {
            true => self.socket.was_quiet(),
            false => self.socket.is_quiet(),
        };
        !self.sender.is_closed() && is_quiet
    }
}
