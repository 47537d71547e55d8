//! A claim in this process's hands.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::ClaimSlot;
use super::{Forward, Shared};
use crate::idempotency::{Record, RecordId};
use crate::lanes::nap_before;
use crate::store::Store;

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

/// The duty to settle: one that is dropped with its slot was not done.
#[derive(Debug)]
struct Duty {
    id: RecordId,
    slot: Option<ClaimSlot>,
}

impl Claim {
    pub(super) fn new(
        id: RecordId,
        record: Box<Record>,
        since: Instant,
        taken_over: bool,
        slot: ClaimSlot,
    ) -> Self {
        Self {
            id,
            record,
            since,
            taken_over,
            duty: Duty {
                id,
                slot: Some(slot),
            },
        }
    }

    /// How long the claim may go without a look at the clock, and how often it is renewed.
    pub(super) fn heartbeat(&self) -> Duration {
        self.record.lease / 3
    }

    /// Keeps the lease from lapsing, until nothing is waited for any more.
    pub(super) async fn held_until_stopped<F: Forward, S: Store>(&self, proxy: &Shared<F, S>) {
        let (since, every) = (self.since, self.heartbeat());
        // Most claims are settled before it is time for either, so both are waited for apart, and from the lane's next tick on.
        nap_before(since + every).await;
        let token = self.record.token;
        let kept = async {
            tokio::select! {
                biased;
                () = proxy.stop.deadline.cancelled() => {}
                never = proxy.records.keep_alive(self.id, token, since, every) => match never {},
            }
        };
        Box::pin(kept).await;
    }

    /// Ends the duty to settle; the slot is held until the store has acknowledged.
    pub(super) fn into_parts(self) -> (RecordId, Box<Record>, Option<ClaimSlot>) {
        let Self {
            id,
            record,
            mut duty,
            ..
        } = self;
        (id, record, duty.slot.take())
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.slot.is_some() {
            tracing::error!(id = %self.id, "a claim was dropped unsettled; its outcome is unknown once its lease lapses");
        }
    }
}
