//! What all exchanges together may use.

use std::sync::Arc;

use super::room::{Room, Share};
use crate::telemetry::Metrics;

/// What all exchanges together may use.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    in_flight: Arc<Room>,
    claims: Arc<Room>,
    observed: Arc<Room>,
    buffered: Arc<Room>,
}

/// Leave to run one exchange.
#[derive(Debug)]
pub(super) struct InFlight {
    metrics: Arc<Metrics>,
    _share: Option<Share>,
}

impl InFlight {
    fn new(metrics: &Arc<Metrics>, share: Option<Share>) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics: metrics.clone(),
            _share: share,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

/// Leave to hold one claim until the store has acknowledged its end.
#[derive(Debug)]
pub(super) struct ClaimSlot {
    _share: Share,
}

/// Bytes of bodies held in memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffered {
    budget: Arc<Room>,
    held: Option<Share>,
}

impl Limits {
    /// `max_in_flight` exchanges, `max_buffered_total` bytes.
    ///
    /// Twice as many claims as exchanges: a claim outlives its exchange while the store does not take its end, and a store
    /// that is away must not stop the requests that need none.
    pub(super) fn new(max_in_flight: usize, max_buffered_total: u64) -> Self {
        let limits = Self {
            in_flight: Room::new(0),
            claims: Room::new(0),
            observed: Room::new(0),
            buffered: Room::new(0),
        };
        limits.resize(max_in_flight, max_buffered_total);
        limits
    }

    /// From now on there is room for so much; what is held meanwhile counts.
    pub(super) fn resize(&self, max_in_flight: usize, max_buffered_total: u64) {
        let in_flight = max_in_flight as u64;
        self.in_flight.resize(in_flight);
        self.claims.resize(in_flight.saturating_mul(2));
        self.observed.resize(in_flight.saturating_mul(2));
        self.buffered.resize(max_buffered_total);
    }

    /// Leave to run one more exchange, if there is room.
    pub(super) fn enter(&self, metrics: &Arc<Metrics>) -> Option<InFlight> {
        let share = self.in_flight.take(1)?;
        Some(InFlight::new(metrics, Some(share)))
    }

    /// Leave to run one more exchange that takes no room.
    pub(super) fn enter_beside(&self, metrics: &Arc<Metrics>) -> InFlight {
        InFlight::new(metrics, None)
    }

    /// Leave to hold one more claim, if there is room.
    pub(super) fn claim(&self) -> Option<ClaimSlot> {
        self.claims.take(1).map(|share| ClaimSlot { _share: share })
    }

    /// Leave to observe one more request, if there is room: as many as there are claims, and none of theirs.
    pub(super) fn observe(&self) -> Option<ClaimSlot> {
        self.observed
            .take(1)
            .map(|share| ClaimSlot { _share: share })
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
        match self.budget.take(bytes as u64) {
            Some(more) => {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
                true
            }
            None => false,
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
