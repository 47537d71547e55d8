//! Who holds a claim now: heartbeats, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::idempotency::{Record, RecordId, Token};

/// The claims of this process, which alone can hold any: a heartbeat costs no write.
///
/// An entry is made before its claim commits and removed after its settlement did, so a record in flight that this process
/// wrote and that has no entry was settled a moment ago, or is about to be read in its new state.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<RecordId, Lease>>,
}

/// One claim's heartbeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    token: Token,
    lease: Duration,
    ttl: Duration,
    renewed: Instant,
    /// When the expiry in the file was last moved.
    written: Instant,
}

/// What came of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is no such claim.
    Stale,
    /// Renewed.
    Done,
    /// Renewed, and so long after the file was written that its expiry should be moved too.
    Due,
}

impl Leases {
    /// Begins `record`'s claim now; brings back the one that stood in its place.
    pub(super) fn begin(&self, id: RecordId, record: &Record) -> Option<Lease> {
        let now = Instant::now();
        let lease = Lease {
            token: record.token,
            lease: record.lease,
            ttl: record.ttl,
            renewed: now,
            written: now,
        };
        self.held().insert(id, lease)
    }

    /// Puts back what [`Self::begin`] brought back.
    pub(super) fn undo(&self, id: RecordId, before: Option<Lease>) {
        match before {
            Some(lease) => self.held().insert(id, lease),
            None => self.held().remove(&id),
        };
    }

    /// Ends the claim of `token`.
    pub(super) fn end(&self, id: RecordId, token: Token) {
        let mut held = self.held();
        if held.get(&id).is_some_and(|lease| lease.token == token) {
            held.remove(&id);
        }
    }

    /// A heartbeat of `token`.
    pub(super) fn renew(&self, id: RecordId, token: Token) -> Renewal {
        let now = Instant::now();
        match self.held().get_mut(&id) {
            Some(lease) if lease.token == token && !lease.expired(now) => {
                lease.renewed = now;
                if now.duration_since(lease.written) > lease.ttl / 2 {
                    Renewal::Due
                } else {
                    Renewal::Done
                }
            }
            _ => Renewal::Stale,
        }
    }

    /// The file's expiry of this claim was moved.
    pub(super) fn extended(&self, id: RecordId, token: Token) {
        if let Some(lease) = self
            .held()
            .get_mut(&id)
            .filter(|lease| lease.token == token)
        {
            lease.written = Instant::now();
        }
    }

    /// The claim of `token`, if it has one.
    pub(super) fn of(&self, id: RecordId, token: Token) -> Option<Lease> {
        self.held()
            .get(&id)
            .filter(|lease| lease.token == token)
            .copied()
    }

    /// Drops claims whose time to live ended without a heartbeat.
    pub(super) fn prune(&self) {
        let now = Instant::now();
        self.held().retain(|_, lease| !lease.expired(now));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<RecordId, Lease>> {
        // A panic while the lock is held leaves whole entries behind: each is written in one move.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Whether it was not renewed for longer than it is honoured.
    pub(super) fn lapsed(&self) -> bool {
        self.renewed.elapsed() > self.lease
    }

    /// How much longer its record is kept if no heartbeat follows; nothing if that time is over.
    pub(super) fn remaining(&self) -> Duration {
        self.ttl.saturating_sub(self.renewed.elapsed())
    }

    fn expired(&self, now: Instant) -> bool {
        now.duration_since(self.renewed) >= self.ttl
    }
}
