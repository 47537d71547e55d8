//! Where readers find the database.

use std::sync::Arc;

use redb::Database;

/// Where readers find the database.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Here.
    Open(Arc<Database>),
    /// Here in a moment: the writer opens the file again.
    Opening,
    /// Not here: the file did not open, and is tried again later.
    Closed,
}

impl Slot {
    /// The database, if it is here.
    pub(super) fn database(&self) -> Option<Arc<Database>> {
        match self {
            Self::Open(database) => Some(Arc::clone(database)),
            Self::Opening | Self::Closed => None,
        }
    }

    /// Whether it is worth waiting for.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening)
    }
}
