//! A server, and the task that keeps a session with it.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::keeper::Keeper;

/// A server, and the task that keeps a session with it; that ends when this is dropped.
pub(super) struct Node {
    keeper: Arc<Keeper>,
    _keeping: AbortOnDropHandle<()>,
}

impl Node {
    /// Begins to look for the server.
    pub(super) fn keep(keeper: Keeper) -> Self {
        let keeper = Arc::new(keeper);
        let kept = Arc::clone(&keeper);
        Self {
            keeper,
            _keeping: AbortOnDropHandle::new(tokio::spawn(async move { kept.keep().await })),
        }
    }
}

impl Deref for Node {
    type Target = Keeper;

    fn deref(&self) -> &Keeper {
        &self.keeper
    }
}
