//! What operators are told of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Claims that were left by a process that is gone, and found unknown when the store was opened.
    pub left: u64,
    /// Why no new claims are taken, if none are.
    pub trouble: Option<String>,
}

/// What the writer tells, and operators read.
#[derive(Debug, Default)]
pub(super) struct Status {
    told: Mutex<Statistics>,
    commits: AtomicU64,
    operations: AtomicU64,
    left: AtomicU64,
    pulse: Mutex<Pulse>,
}

/// The writer's going round.
#[derive(Debug)]
struct Pulse {
    /// Since when without a break.
    since: Instant,
    last: Instant,
}

impl Default for Pulse {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            last: now,
        }
    }
}

impl Status {
    /// The writer went round. Between two rounds lie 250 ms, and a sync: if much more, then this process stood still, its heartbeats too.
    pub(super) fn beat(&self) {
        let mut pulse = self.pulse();
        let now = Instant::now();
        if now.duration_since(pulse.last) > BREAK {
            pulse.since = now;
        }
        pulse.last = now;
    }

    /// Something is wrong with the store: it is steady from here on at the earliest.
    pub(super) fn shaken(&self) {
        self.pulse().since = Instant::now();
    }

    /// For how long there was no break: of the writer, and so of the process.
    pub(super) fn steady(&self) -> Duration {
        let pulse = self.pulse();
        if pulse.last.elapsed() > BREAK {
            return Duration::ZERO;
        }
        pulse.since.elapsed()
    }

    /// A transaction with `operations` was committed.
    pub(super) fn committed(&self, operations: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.operations
            .fetch_add(operations as u64, Ordering::Relaxed);
    }

    /// So many claims more of a process that is gone were found.
    pub(super) fn found_left(&self, count: u64) {
        self.left.fetch_add(count, Ordering::Relaxed);
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
            left: self.left.load(Ordering::Relaxed),
            ..self.told().clone()
        }
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Statistics> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A longer pause of the writer is a break.
const BREAK: Duration = Duration::from_secs(1);
