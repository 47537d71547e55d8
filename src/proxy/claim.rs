//! A claim in this process's hands.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::records::Records;
use super::stop::Signal;
use crate::idempotency::{Record, RecordId, Token};
use crate::lanes::nap_before;
use crate::store::Store;
use crate::upstream::Gate;

/// A claim in this process's hands: the right to execute, and the duty to settle.
///
/// It is moved into the execution and consumed by [`Claim::into_parts`] when it is settled; one that is dropped otherwise is a
/// bug, which says so in the log, and whose record lapses to an unknown outcome.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: RecordId,
    /// The record as it stands in the store.
    pub(super) record: Box<Record>,
    /// Just before the claim was sent to the store, so that no more of the lease is left than this tells.
    pub(super) since: Instant,
    /// Whether it took over an attempt whose outcome is unknown.
    pub(super) taken_over: bool,
    duty: Duty,
}

/// The duty to settle.
#[derive(Debug)]
struct Duty {
    id: RecordId,
    done: bool,
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.done {
            tracing::error!(id = %self.id, "a claim was dropped unsettled; its outcome is unknown once its lease lapses");
        }
    }
}

impl Claim {
    pub(super) fn new(id: RecordId, record: Box<Record>, since: Instant, taken_over: bool) -> Self {
        Self {
            id,
            record,
            since,
            taken_over,
            duty: Duty { id, done: false },
        }
    }

    /// How long the claim may go without a look at the clock, and how often it is renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.record.lease / 3
    }

    /// Keeps the lease from lapsing until `end`. On a lane that may be heard at the next tick only.
    pub(super) async fn held_until<S: Store>(&self, end: &Signal, records: &Records<S>) {
        let (since, every) = (self.since, self.heartbeat());
        // Most claims are settled before it is time for either, so both are waited for apart, and from the lane's next tick on.
        nap_before(since + every).await;
        let token = self.record.token;
        let kept = async {
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                never = records.keep_alive(self.id, token, since, every) => match never {},
            }
        };
        Box::pin(kept).await;
    }

    /// What is asked before the first byte is sent.
    pub(super) fn gate<'a, S: Store>(
        &self,
        end: &'a Signal,
        records: &'a Records<S>,
    ) -> HeldStill<'a, S> {
        HeldStill {
            end,
            records,
            id: self.id,
            token: self.record.token,
            since: self.since,
            every: self.heartbeat(),
        }
    }

    /// Ends the duty to settle.
    pub(super) fn into_parts(self) -> (RecordId, Box<Record>) {
        let Self {
            id,
            record,
            mut duty,
            ..
        } = self;
        duty.done = true;
        (id, record)
    }
}

/// The look at the clock before the first byte: a holder that was asleep renews first, and gives up if it lost its claim. Time
/// counts from when a write was sent: no more of the lease is left than that tells. After the drain deadline nothing is sent.
pub(super) struct HeldStill<'a, S> {
    end: &'a Signal,
    records: &'a Records<S>,
    id: RecordId,
    token: Token,
    since: Instant,
    every: Duration,
}

impl<S: Store> Gate for HeldStill<'_, S> {
    fn fresh_until(&self) -> Instant {
        if self.end.is_cancelled() {
            return self.since;
        }
        self.since + self.every
    }

    fn renew(&self) -> BoxFuture<'_, Option<Instant>> {
        Box::pin(async move {
            let sent = Instant::now();
            let renewed = match self.end.is_cancelled() {
                true => Ok(false),
                false => self.records.renew(self.id, self.token).await,
            };
            // It may have come meanwhile.
            if self.end.is_cancelled() {
                // Whoever waits for this hears of the end by its lane's next tick.
                return std::future::pending().await;
            }
            (renewed == Ok(true)).then(|| sent + self.every)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::metrics::gauge::Gauge;

    use super::super::limits::Limits;
    use super::super::stop::Stop;
    use super::super::waiters::Waiters;
    use super::*;
    use crate::idempotency::{Expect, Lapse, sample};
    use crate::lanes::{Tasks, be_on_a_lane};
    use crate::store::{Memory, Replaced};
    use crate::telemetry::Metrics;

    const ID: RecordId = RecordId::from_bytes([1; 16]);

    struct World {
        store: Arc<Memory>,
        records: Records<Memory>,
        end: Signal,
    }

    impl World {
        fn new() -> Self {
            let (store, metrics) = (Arc::new(Memory::default()), Arc::new(Metrics::new()));
            let limits = Limits::new(1, 0, Gauge::default());
            let waiters = Arc::new(Waiters::new(0, limits.clone(), metrics.clone()));
            let tasks = Tasks::default();
            Self {
                records: Records::new(store.clone(), metrics, tasks, waiters, limits),
                store,
                end: Stop::default().deadline,
            }
        }

        async fn claim(&self) -> Claim {
            let (record, since) = (Box::new(sample::in_flight(1)), Instant::now());
            self.store.insert(ID, &record).await.unwrap();
            Claim::new(ID, record, since, false)
        }

        async fn lapse(&self) -> Lapse {
            self.store.look(ID).await.unwrap().unwrap().lapse
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_stays_live_for_as_long_as_it_is_held() {
        for on_a_lane in [false, true] {
            be_on_a_lane(on_a_lane);
            let world = World::new();
            let claim = world.claim().await;
            let long = claim.record.lease * 5;
            let held = claim.held_until(&world.end, &world.records);
            assert!(tokio::time::timeout(long, held).await.is_err());
            assert_eq!(world.lapse().await, Lapse::Live);
            tokio::time::sleep(claim.record.lease * 2).await;
            assert_eq!(world.lapse().await, Lapse::Lapsed);
            claim.into_parts();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_heard_at_once_or_at_the_next_tick_by_whoever_has_just_begun() {
        let none = Duration::ZERO;
        let (soon, late) = (Duration::from_millis(100), Duration::from_secs(60));
        for (on_a_lane, after, within) in [
            (false, soon, none),
            (false, late, none),
            (true, soon, Duration::from_millis(500)),
            (true, late, none),
        ] {
            be_on_a_lane(on_a_lane);
            let world = World::new();
            let claim = world.claim().await;
            let ends = async {
                tokio::time::sleep(after).await;
                world.end.cancel();
                Instant::now()
            };
            let held = claim.held_until(&world.end, &world.records);
            let (ended, ()) = tokio::join!(ends, held);
            assert!(ended.elapsed() <= within, "{:?}", ended.elapsed());
            claim.into_parts();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_is_open_while_the_claim_is_fresh_and_asks_then() {
        let world = World::new();
        let claim = world.claim().await;
        let gate = claim.gate(&world.end, &world.records);
        assert_eq!(gate.fresh_until(), claim.since + claim.heartbeat());
        assert!((&gate as &dyn Gate).is_open().await);
        tokio::time::sleep(claim.record.lease + Duration::from_millis(1)).await;
        assert_eq!(world.lapse().await, Lapse::Lapsed, "nobody asked");
        tokio::time::sleep(claim.record.lease * 2).await;
        assert!((&gate as &dyn Gate).is_open().await, "it has it yet");
        assert_eq!(world.lapse().await, Lapse::Live);
        let taken = sample::in_flight(2);
        let expect = Expect::Held(claim.record.token);
        let replaced = world.store.replace(ID, expect, &taken).await;
        assert_eq!(replaced.unwrap(), Replaced::Applied);
        tokio::time::sleep(claim.record.lease).await;
        assert!(!(&gate as &dyn Gate).is_open().await, "it is another's");
        claim.into_parts();
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_a_gate_does_not_open() {
        let world = World::new();
        let claim = world.claim().await;
        let gate = claim.gate(&world.end, &world.records);
        world.end.cancel();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(gate.fresh_until() < Instant::now());
        let long = claim.record.lease * 10;
        let open = (&gate as &dyn Gate).is_open();
        assert!(tokio::time::timeout(long, open).await.is_err());
        claim.into_parts();
    }
}
