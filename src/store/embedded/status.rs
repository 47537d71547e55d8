//! What operators are told of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers of an embedded store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Records in the file, expired ones included until they are swept.
    pub records: u64,
    /// Disk space of the file, bytes.
    pub file_bytes: u64,
    /// Transactions committed for operations.
    pub commits: u64,
    /// Operations in them: over `commits`, the size of a group.
    pub operations: u64,
    /// Why no new claims are taken, if none are.
    pub trouble: Option<String>,
}

/// What the writer tells, and operators read.
#[derive(Debug, Default)]
pub(super) struct Status {
    told: Mutex<Statistics>,
    commits: AtomicU64,
    operations: AtomicU64,
}

impl Status {
    /// A transaction with `operations` was committed.
    pub(super) fn committed(&self, operations: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.operations
            .fetch_add(operations as u64, Ordering::Relaxed);
    }

    /// How the file is now.
    pub(super) fn publish(&self, records: u64, file_bytes: u64, trouble: Option<String>) {
        let mut told = self.told();
        told.records = records;
        told.file_bytes = file_bytes;
        told.trouble = trouble;
    }

    /// The numbers now.
    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            commits: self.commits.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            ..self.told().clone()
        }
    }

    fn told(&self) -> MutexGuard<'_, Statistics> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
