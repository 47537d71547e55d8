//! A record as it stands in the file, and as it is seen from here.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::clock::Clock;
use super::index::Index;
use super::leases::Leases;
use super::recent::Recent;
use crate::fault::{Seeded, seeded};
use crate::idempotency::expect::Standing;
use crate::idempotency::{Lapse, Record, RecordId, Seen, State};
use crate::store::{Codec, CodecError, StoreError};

/// One opening of the store: records in flight under another belong to a process that is gone.
pub(super) type Owner = [u8; 16];

/// A value of the table of records: 8 bytes expiry, 16 bytes owner, 16 bytes id, and the record's frame.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// When it ends, ms since 1970 by [`Clock`].
    pub(super) expiry: u64,
    /// Who wrote it.
    pub(super) owner: Owner,
    /// The record, as [`Codec`] wrote it.
    pub(super) frame: Bytes,
}

/// What it takes to tell what a cell means now.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) owner: Owner,
    pub(super) clock: Clock,
    pub(super) leases: Leases,
    pub(super) index: Index,
    pub(super) recent: Recent,
    pub(super) codec: Codec,
}

impl Cell {
    /// A cell of `record`, written now.
    pub(super) fn new(
        id: RecordId,
        record: &Record,
        witness: &Witness,
    ) -> Result<Self, CodecError> {
        let ttl = u64::try_from(record.ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            expiry: witness.clock.now().saturating_add(ttl),
            owner: witness.owner,
            frame: witness.codec.encode(id, record)?,
        })
    }

    /// The cell in these bytes; nothing if they are too short for one.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (expiry, rest) = value.split_first_chunk()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let (_, frame) = rest.split_first_chunk::<16>()?;
        Some(Self {
            expiry: u64::from_be_bytes(*expiry),
            owner: *owner,
            frame: Bytes::copy_from_slice(frame),
        })
    }

    /// Its bytes, in the place of `id`.
    pub(super) fn to_bytes(&self, id: RecordId) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD + self.frame.len());
        bytes.put_u64(self.expiry);
        bytes.put_slice(&self.owner);
        bytes.put_slice(id.as_bytes());
        bytes.put_slice(&self.frame);
        bytes.freeze()
    }
}

impl Witness {
    /// What `cell` is now: nothing once it expired, and unknown where it is in flight by a process that is gone.
    ///
    /// # Errors
    ///
    /// A record that this version does not read.
    pub(super) fn view(&self, id: RecordId, cell: Cell) -> Result<Option<Seen>, StoreError> {
        let record = match self.codec.decode(id, cell.frame) {
            Ok(record) => record,
            Err(_) if self.clock.now() >= cell.expiry => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let seen = self.judge(id, cell.expiry, cell.owner, record);
        Ok(seen.map(|(seen, _)| seen))
    }

    /// What a record is now that stands in a cell, and how much longer it is kept; nothing once it expired.
    pub(super) fn judge(
        &self,
        id: RecordId,
        expiry: u64,
        owner: Owner,
        mut record: Record,
    ) -> Option<(Seen, Duration)> {
        let now = self.clock.now();
        let mut lapse = Lapse::Live;
        let dead = owner != self.owner && !seeded(Seeded::DeadClaimsLive);
        if record.state == State::InFlight && dead {
            record.state = State::Unknown;
            record.settled = Some(self.clock.opened());
            record.error = Some(STOPPED.to_owned());
        } else if record.state == State::InFlight
            && let Some(lease) = self.leases.of(id, record.token)
        {
            let remaining = lease.remaining();
            if remaining.is_zero() {
                return None;
            }
            if lease.lapsed() {
                lapse = Lapse::Lapsed;
            }
            let seen = Seen {
                record,
                lapse,
                quiet: Some(lease.quiet()),
            };
            return Some((seen, remaining));
        }
        let ttl = u64::try_from(record.ttl.as_millis()).unwrap_or(u64::MAX);
        let written = expiry.saturating_sub(ttl);
        let mut quiet = Duration::from_millis(now.saturating_sub(written));
        if owner != self.owner {
            // The file does not have every heartbeat of a process that is gone, and its clock was another.
            quiet = quiet.min(self.clock.running());
        }
        let seen = Seen {
            record,
            lapse,
            quiet: Some(quiet),
        };
        let remaining = Duration::from_millis(expiry.saturating_sub(now));
        (!remaining.is_zero()).then_some((seen, remaining))
    }
}

/// As far as an expectation asks.
pub(super) fn standing(seen: &Seen) -> Standing {
    Standing {
        token: seen.record.token,
        state: seen.record.state,
        lapsed: seen.lapse == Lapse::Lapsed,
    }
}

/// Bytes before the frame.
pub(super) const HEAD: usize = 40;
/// What went wrong with a claim that is left by a process that is gone.
const STOPPED: &str = "the proxy stopped while the request was running";
