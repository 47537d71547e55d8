//! What all exchanges together may use.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::room::Room;

/// What all exchanges together may use. A copy is the same.
#[derive(Clone, Debug)]
pub(super) struct Limits(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    in_flight: Room,
    claims: Room,
    observed: Room,
    buffered: Room,
    /// Exchanges that run, with or without taking room.
    running: Gauge,
}

/// Leave to run one exchange.
#[derive(Debug)]
pub(super) struct InFlight {
    rooms: Arc<Rooms>,
    takes_room: bool,
}

/// Leave to hold one claim until the store has acknowledged its end, or to observe one request.
#[derive(Debug)]
pub(super) struct ClaimSlot {
    rooms: Arc<Rooms>,
    room: fn(&Rooms) -> &Room,
}

/// Bytes of bodies held in memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffered {
    rooms: Arc<Rooms>,
    bytes: u64,
}

impl Limits {
    /// `max_in_flight` exchanges, `max_buffered_total` bytes. The exchanges that run are counted in `running`.
    ///
    /// Twice as many claims as exchanges: a claim outlives its exchange while the store does not take its end, and a store
    /// that is away must not stop the requests that need none.
    pub(super) fn new(max_in_flight: usize, max_buffered_total: u64, running: Gauge) -> Self {
        let limits = Self(Arc::new(Rooms {
            in_flight: Room::new(0),
            claims: Room::new(0),
            observed: Room::new(0),
            buffered: Room::new(0),
            running,
        }));
        limits.resize(max_in_flight, max_buffered_total);
        limits
    }

    /// From now on there is room for so much; what is held meanwhile counts.
    pub(super) fn resize(&self, max_in_flight: usize, max_buffered_total: u64) {
        let in_flight = max_in_flight as u64;
        self.0.in_flight.resize(in_flight);
        self.0.claims.resize(in_flight.saturating_mul(2));
        self.0.observed.resize(in_flight.saturating_mul(2));
        self.0.buffered.resize(max_buffered_total);
    }

    /// Leave to run one more exchange, if there is room.
    pub(super) fn enter(&self) -> Option<InFlight> {
        self.0.in_flight.take(1).then(|| self.run(true))
    }

    /// Leave to run one more exchange that takes no room.
    pub(super) fn enter_beside(&self) -> InFlight {
        self.run(false)
    }

    fn run(&self, takes_room: bool) -> InFlight {
        self.0.running.inc();
        InFlight {
            rooms: self.0.clone(),
            takes_room,
        }
    }

    /// Leave to hold one more claim, if there is room.
    pub(super) fn claim(&self) -> Option<ClaimSlot> {
        self.slot(|rooms| &rooms.claims)
    }

    /// Leave to observe one more request, if there is room: as many as there are claims, and none of theirs.
    pub(super) fn observe(&self) -> Option<ClaimSlot> {
        self.slot(|rooms| &rooms.observed)
    }

    fn slot(&self, room: fn(&Rooms) -> &Room) -> Option<ClaimSlot> {
        room(&self.0).take(1).then(|| ClaimSlot {
            rooms: self.0.clone(),
            room,
        })
    }

    /// An empty reservation.
    pub(super) fn buffer(&self) -> Buffered {
        Buffered {
            rooms: self.0.clone(),
            bytes: 0,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.rooms.running.dec();
        if self.takes_room {
            self.rooms.in_flight.give_back(1);
        }
    }
}

impl Drop for ClaimSlot {
    fn drop(&mut self) {
        (self.room)(&self.rooms).give_back(1);
    }
}

impl Buffered {
    /// Gives back all of it.
    pub(super) fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.rooms.buffered.give_back(bytes);
        }
    }

    /// Reserves more; without effect and false if there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let grown = self.rooms.buffered.take(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_a_reservation_is_dropped() {
        let limits = Limits::new(1, 10, Gauge::default());
        let mut first = limits.buffer();
        assert!(first.grow(6) && first.grow(4));
        let mut second = limits.buffer();
        assert!(!second.grow(1));
        drop(first);
        assert!(second.grow(10));
    }

    #[test]
    fn one_exchange_beyond_the_limit_does_not_enter() {
        let running = Gauge::default();
        let limits = Limits::new(2, 0, running.clone());
        let held = (limits.enter(), limits.enter());
        assert!(held.0.is_some() && held.1.is_some() && limits.enter().is_none());
        let beside = limits.enter_beside();
        assert_eq!(running.get(), 3);
        drop(held);
        assert!(limits.enter().is_some());
        drop(beside);
        assert_eq!(running.get(), 0);
    }

    #[test]
    fn observed_requests_take_no_room_of_claims() {
        let limits = Limits::new(1, 0, Gauge::default());
        let claims = (limits.claim(), limits.claim());
        assert!(claims.0.is_some() && claims.1.is_some() && limits.claim().is_none());
        let observed = limits.observe();
        assert!(observed.is_some());
        drop(claims);
        assert!(limits.claim().is_some());
    }
}
