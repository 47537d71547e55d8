//! A connection lent to one exchange.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;

use super::body::Upload;
use super::connection::Connection;
use super::pool::Pool;
use crate::wire::Bell;

/// A connection lent to one exchange. Dropped, it closes the connection.
pub(super) struct Loan {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    /// How long it was idle before; `None` for a fresh one.
    idle_for: Option<Duration>,
    /// Lives as long as the request's body is not all taken.
    upload: Weak<()>,
    reusable: bool,
}

impl Loan {
    /// Lends out a connection of a pool, which was idle for so long if it had an exchange before.
    pub(super) fn new(connection: Connection, idle_for: Option<Duration>, pool: Arc<Pool>) -> Self {
        Self {
            connection: Some(connection),
            pool,
            idle_for,
            upload: Weak::new(),
            reusable: true,
        }
    }

    /// Its pool, without the connection, which is closed.
    pub(super) fn close(self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }

    /// The way to the connection's driver.
    pub(super) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self
            .connection
            .as_mut()
            .expect("only give_back and let_go take it, and they consume the loan")
            .sender
    }

    /// What wakes the connection, while it is lent.
    pub(super) fn bell(&self) -> Option<&Bell> {
        self.connection.as_ref().map(|it| &it.socket.bell)
    }

    /// Whether nothing has arrived on a connection that owes us nothing.
    pub(super) fn is_alive(&self) -> bool {
        (self.connection.as_ref()).is_some_and(|it| it.is_alive(it.untried))
    }

    /// How long the connection was idle before this exchange, if it had one before.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        self.idle_for
    }

    /// Tells the pool that the connection died, and whether that left a request in doubt.
    pub(super) fn died(&self, in_doubt: bool) {
        // Of one that was not tried it was only not noticed.
        let tried = self.connection.as_ref().is_some_and(|it| !it.untried);
        if let Some(age) = self.idle_for {
            self.pool.died_in_reuse(age, in_doubt && tried);
        }
    }

    /// Watches the upload: while it lasts the connection cannot be given back.
    pub(super) fn watch(&mut self, upload: Weak<()>) {
        self.upload = upload;
    }

    /// What the upstream said about the connection's further use: whether, and how long it may be idle. `bare` is an answer without a
    /// body.
    pub(super) fn terms(&mut self, reusable: bool, lifetime: Option<Duration>, bare: bool) {
        self.reusable = reusable;
        if let Some(connection) = &mut self.connection {
            connection.bare = bare;
            connection.lifetime = lifetime.unwrap_or(connection.lifetime);
        }
    }

    /// The answer ended cleanly.
    pub(super) fn give_back(mut self) {
        if self.reusable
            && self.upload.strong_count() == 0
            && let Some(connection) = self.connection.take()
        {
            self.pool.put(connection);
        }
    }

    /// The connection goes on without us, as another protocol's. It counts until it is closed.
    pub(super) fn let_go(mut self) {
        self.connection = None;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.driver.abort();
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loan")
            .field("idle_for", &self.idle_for)
            .finish_non_exhaustive()
    }
}
