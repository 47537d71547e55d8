//! Who holds a claim now: heartbeats, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::idempotency::{RecordId, State, Token};
use crate::store::codec::Stamp;

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
    /// Begins a claim now; brings back the one that stood in its place.
    pub(super) fn begin(&self, id: RecordId, claim: &Stamp) -> Option<Lease> {
        self.held().insert(id, Lease::of(claim))
    }

    /// Ends the lapsed claim of `token` and begins that of `next`, if it is one, in one step against heartbeats; brings back the one
    /// that ended, and nothing if it was renewed meanwhile.
    pub(super) fn supersede(&self, id: RecordId, token: Token, next: &Stamp) -> Option<Lease> {
        let mut held = self.held();
        let before = *held
            .get(&id)
            .filter(|lease| lease.token == token && lease.lapsed())?;
        if next.state == State::InFlight {
            held.insert(id, Lease::of(next));
        } else {
            held.remove(&id);
        }
        Some(before)
    }

    /// Puts back what [`Self::begin`] or [`Self::supersede`] brought back.
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
                if now.duration_since(lease.written) > lease.ttl / 8 {
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
    /// The claim of this stamp, begun now.
    fn of(claim: &Stamp) -> Self {
        let now = Instant::now();
        Self {
            token: claim.token,
            lease: claim.lease,
            ttl: claim.ttl,
            renewed: now,
            written: now,
        }
    }

    /// How long ago it was begun or renewed.
    pub(super) fn quiet(&self) -> Duration {
        self.renewed.elapsed()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::sample::in_flight;

    #[test]
    fn a_claim_is_either_renewed_or_taken_over() {
        let (leases, id) = (Leases::default(), RecordId::from_bytes([1; 16]));
        let claim = |of| Stamp::of(&in_flight(of));
        let long = Stamp {
            lease: Duration::from_secs(600),
            ttl: Duration::from_secs(3600),
            ..claim(1)
        };
        leases.begin(id, &long);
        assert!(leases.supersede(id, long.token, &claim(2)).is_none());
        assert_eq!(leases.renew(id, long.token), Renewal::Done);

        let over = Stamp {
            lease: Duration::ZERO,
            ..long
        };
        for state in [State::InFlight, State::Unknown] {
            let next = Stamp { state, ..claim(2) };
            leases.begin(id, &over);
            while !leases.of(id, over.token).unwrap().lapsed() {}
            let before = leases.supersede(id, over.token, &next);
            assert!(before.is_some());
            assert_eq!(leases.renew(id, over.token), Renewal::Stale);
            // It was not committed.
            leases.undo(id, before);
            assert_eq!(leases.renew(id, over.token), Renewal::Done);
        }
    }
}
