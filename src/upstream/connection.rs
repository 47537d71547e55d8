//! One connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::SemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::Upload;
use super::socket::Socket;
use crate::lanes::Hearing;

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
    /// Whether a request that may end in doubt took it on the runtime's word that nothing has arrived: if it was closed, that was only not
    /// noticed.
    pub(super) untried: bool,
    /// Who is told of what arrives on it.
    hearing: Hearing,
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
            hearing: Hearing::here(),
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

    /// Whether its lane, which is this one, has asked the system what has arrived since it came to rest, which is `age` ago, and no longer
    /// than a moment ago.
    pub(super) fn was_asked(&self, age: Duration, now: Instant) -> bool {
        self.hearing.asked(age.min(A_MOMENT), now)
    }

    /// Whether nothing has arrived on it, which owes us nothing. On the runtime's word the system is not asked where that was told of nothing.
    pub(super) fn is_alive(&self, on_its_word: bool) -> bool {
        let is_quiet = match on_its_word {
            true => self.socket.was_quiet(),
            false => self.socket.is_quiet(),
        };
        !self.sender.is_closed() && is_quiet
    }
}

/// For so long something may have arrived of which nobody was told. A message takes as long through many a network.
const A_MOMENT: Duration = Duration::from_millis(1);
