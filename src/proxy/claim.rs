//! A claim in this process's hands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::ClaimSlot;
use super::policy::Policy;
use crate::idempotency::{Record, RecordId};

/// A claim in this process's hands: the right to execute, and the duty to settle.
///
/// It is moved into the execution and consumed by [`Claim::into_parts`] when it is settled; one that is dropped otherwise is a
/// bug, which says so in the log, and whose record lapses to an unknown outcome.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: RecordId,
    /// The record as it stands in the store.
    pub(super) record: Box<Record>,
    /// The policy that the exchange began with, and ends with.
    pub(super) policy: Arc<Policy>,
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
        policy: Arc<Policy>,
        since: Instant,
        taken_over: bool,
        slot: ClaimSlot,
    ) -> Self {
        Self {
            id,
            record,
            policy,
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

    /// Ends the duty to settle; the slot is held until the store has acknowledged.
    pub(super) fn into_parts(self) -> (RecordId, Box<Record>, Arc<Policy>, Option<ClaimSlot>) {
        let Self {
            id,
            record,
            policy,
            mut duty,
            ..
        } = self;
        (id, record, policy, duty.slot.take())
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.slot.is_some() {
            tracing::error!(id = %self.id, "a claim was dropped unsettled; its outcome is unknown once its lease lapses");
        }
    }
}
