//! What all exchanges together may use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Metrics;

/// What all exchanges together may use.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    in_flight: Arc<Semaphore>,
    claims: Arc<Semaphore>,
    observed: Arc<Semaphore>,
    buffered: Arc<Semaphore>,
}

/// Leave to run one exchange.
#[derive(Debug)]
pub(super) struct InFlight {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

/// Leave to hold one claim until the store has acknowledged its end.
#[derive(Debug)]
pub(super) struct ClaimSlot {
    _permit: OwnedSemaphorePermit,
}

/// Bytes of bodies held in memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffered {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// `max_in_flight` exchanges, `max_buffered_total` bytes.
    ///
    /// Twice as many claims as exchanges: a claim outlives its exchange while the store does not take its end, and a store
    /// that is away must not stop the requests that need none.
    pub(super) fn new(max_in_flight: usize, max_buffered_total: u64) -> Self {
        let bytes = usize::try_from(max_buffered_total).unwrap_or(usize::MAX);
        let claims = max_in_flight.saturating_mul(2).min(Semaphore::MAX_PERMITS);
        Self {
            in_flight: Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS))),
            claims: Arc::new(Semaphore::new(claims)),
            observed: Arc::new(Semaphore::new(claims)),
            buffered: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Leave to run one more exchange, if there is room.
    pub(super) fn enter(&self, metrics: &Arc<Metrics>) -> Option<InFlight> {
        let permit = self.in_flight.clone().try_acquire_owned().ok()?;
        metrics.in_flight.inc();
        Some(InFlight {
            metrics: metrics.clone(),
            _permit: permit,
        })
    }

    /// Leave to hold one more claim, if there is room.
    pub(super) fn claim(&self) -> Option<ClaimSlot> {
        self.claims
            .clone()
            .try_acquire_owned()
            .ok()
            .map(|permit| ClaimSlot { _permit: permit })
    }

    /// Leave to observe one more request, if there is room: as many as there are claims, and none of theirs.
    pub(super) fn observe(&self) -> Option<ClaimSlot> {
        self.observed
            .clone()
            .try_acquire_owned()
            .ok()
            .map(|permit| ClaimSlot { _permit: permit })
    }

    /// An empty reservation.
    pub(super) fn buffer(&self) -> Buffered {
        Buffered {
            budget: self.buffered.clone(),
            held: None,
        }
    }
}

impl Buffered {
    /// Gives back all of it.
    pub(super) fn clear(&mut self) {
        self.held = None;
    }

    /// Reserves more; without effect and false if there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else {
            return false;
        };
        match self.budget.clone().try_acquire_many_owned(count) {
            Ok(more) => {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_a_reservation_is_dropped() {
        let limits = Limits::new(1, 10);
        let mut first = limits.buffer();
        assert!(first.grow(6) && first.grow(4));
        let mut second = limits.buffer();
        assert!(!second.grow(1));
        drop(first);
        assert!(second.grow(10));
    }

    #[test]
    fn one_exchange_beyond_the_limit_does_not_enter() {
        let (limits, metrics) = (Limits::new(2, 0), Arc::new(Metrics::new()));
        let held = (limits.enter(&metrics), limits.enter(&metrics));
        assert!(held.0.is_some() && held.1.is_some() && limits.enter(&metrics).is_none());
        assert_eq!(metrics.in_flight.get(), 2);
        drop(held);
        assert!(limits.enter(&metrics).is_some());
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
