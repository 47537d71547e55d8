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
    unsettled: Room,
    observed: Room,
    buffered: Room,
    /// Exchanges that run, with or without taking room.
    running: Gauge,
}

/// So much of a room, given back when it is dropped.
#[derive(Debug)]
struct Share {
    rooms: Arc<Rooms>,
    room: fn(&Rooms) -> &Room,
    amount: u64,
}

/// Leave to run one exchange.
#[derive(Debug)]
pub(super) struct InFlight(Share);

/// A claim whose end the store has yet to acknowledge, and for which nobody waits any more.
#[derive(Debug)]
pub(super) struct Unsettled(#[expect(dead_code, reason = "it is held")] Share);

/// Leave to observe one request.
#[derive(Debug)]
pub(super) struct Observing(#[expect(dead_code, reason = "it is held")] Share);

/// Bytes of bodies held in memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffered(Share);

impl Limits {
    /// `max_in_flight` exchanges, `max_buffered_total` bytes. The exchanges that run are counted in `running`.
    ///
    /// Twice as many claims as exchanges: a claim outlives its exchange while the store does not take its end, and a store
    /// that is away must not stop the requests that need none.
    pub(super) fn new(max_in_flight: usize, max_buffered_total: u64, running: Gauge) -> Self {
        let limits = Self(Arc::new(Rooms {
            in_flight: Room::new(0),
            unsettled: Room::new(0),
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
        self.0.unsettled.resize(in_flight.saturating_mul(2));
        self.0.observed.resize(in_flight.saturating_mul(2));
        self.0.buffered.resize(max_buffered_total);
    }

    /// Leave to run one more exchange, if there is room.
    pub(super) fn enter(&self) -> Option<InFlight> {
        self.take(|rooms| &rooms.in_flight, 1).map(InFlight::run)
    }

    /// Leave to run one more exchange that takes no room.
    pub(super) fn enter_beside(&self) -> InFlight {
        InFlight::run(self.nothing_of(|rooms| &rooms.in_flight))
    }

    /// Whether there would be too many claims if each exchange that runs, the asker's too, left one unsettled: those that run are not
    /// counted apart, as each has its place among the exchanges.
    pub(super) fn is_behind(&self) -> bool {
        !self.0.unsettled.has(self.0.in_flight.taken())
    }

    /// Counts a claim for which nobody waits any more.
    pub(super) fn unsettled(&self) -> Unsettled {
        let mut share = self.nothing_of(|rooms| &rooms.unsettled);
        share.grow_anyway(1);
        Unsettled(share)
    }

    /// Leave to observe one more request, if there is room: as many as there may be claims, and none of theirs.
    pub(super) fn observe(&self) -> Option<Observing> {
        self.take(|rooms| &rooms.observed, 1).map(Observing)
    }

    /// An empty reservation.
    pub(super) fn buffer(&self) -> Buffered {
        Buffered(self.nothing_of(|rooms| &rooms.buffered))
    }

    fn take(&self, room: fn(&Rooms) -> &Room, amount: u64) -> Option<Share> {
        let mut share = self.nothing_of(room);
        share.grow(amount).then_some(share)
    }

    fn nothing_of(&self, room: fn(&Rooms) -> &Room) -> Share {
        Share {
            rooms: self.0.clone(),
            room,
            amount: 0,
        }
    }
}

impl Share {
    /// Takes more; without effect and false if there is no room.
    fn grow(&mut self, amount: u64) -> bool {
        let grown = (self.room)(&self.rooms).take(amount);
        if grown {
            self.amount += amount;
        }
        grown
    }

    /// Takes more, whether there is room or not.
    fn grow_anyway(&mut self, amount: u64) {
        (self.room)(&self.rooms).take_anyway(amount);
        self.amount += amount;
    }

    /// Gives back all of it.
    fn clear(&mut self) {
        let amount = std::mem::take(&mut self.amount);
        if amount > 0 {
            (self.room)(&self.rooms).give_back(amount);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

impl InFlight {
    fn run(share: Share) -> Self {
        share.rooms.running.inc();
        Self(share)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.rooms.running.dec();
    }
}

impl Buffered {
    /// Gives back all of it.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Reserves more; without effect and false if there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.0.grow(bytes as u64)
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
    fn there_are_no_more_than_twice_as_many_claims_as_exchanges() {
        let limits = Limits::new(2, 0, Gauge::default());
        let left = [(); 3].map(|()| limits.unsettled());
        let running = limits.enter();
        assert!(running.is_some() && !limits.is_behind());
        let another = limits.enter();
        assert!(another.is_some() && limits.is_behind());
        limits.resize(3, 0);
        assert!(!limits.is_behind());
        limits.resize(2, 0);
        drop((running, another));
        let last = limits.unsettled();
        assert!(limits.enter().is_some_and(|_running| limits.is_behind()));
        drop((left, last));
        assert!(limits.enter().is_some_and(|_running| !limits.is_behind()));
    }

    #[test]
    fn observed_requests_take_no_room_of_claims() {
        let limits = Limits::new(1, 0, Gauge::default());
        let observed = (limits.observe(), limits.observe());
        assert!(observed.0.is_some() && observed.1.is_some() && limits.observe().is_none());
        let unsettled = (limits.unsettled(), limits.unsettled());
        assert!(!limits.is_behind());
        drop(observed);
        assert!(limits.observe().is_some());
        drop(unsettled);
    }
}
