//! A record as it stands in memory, and as it is seen from here.

use bytes::Bytes;

use super::moment::Moment;
use super::shelves::Kept;
use crate::idempotency::expect::Standing;
use crate::idempotency::{Lapse, Record, RecordId, Seen, State};
use crate::store::codec::{Stamp, head_of};
use crate::store::listing::Listed;
use crate::store::{Codec, CodecError, StoreError};

/// A record as a frame: an answer kept as it came would hold on to the whole buffer that it was read into.
///
/// It is small, as of a large store few are in the processor's cache, and what is new is.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    frame: Bytes,
    written: Moment,
}

impl Cell {
    pub(super) fn new(
        codec: &Codec,
        id: RecordId,
        record: &Record,
        written: Moment,
    ) -> Result<Self, CodecError> {
        let frame = codec.encode(id, record)?;
        Ok(Self { frame, written })
    }

    /// Its lease and its time to live begin again.
    pub(super) fn renew(&mut self, now: Moment) {
        self.written = now;
    }

    pub(super) fn expired(&self, now: Moment) -> bool {
        self.end() <= now
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        let stamp = self.stamp();
        Standing {
            token: stamp.token,
            state: stamp.state,
            lapsed: now.since(self.written) > stamp.lease,
        }
    }

    pub(super) fn seen(
        &self,
        codec: &Codec,
        id: RecordId,
        now: Moment,
    ) -> Result<Seen, CodecError> {
        Ok(Seen {
            record: codec.decode(id, self.frame.clone())?,
            lapse: if self.lapsed(now) {
                Lapse::Lapsed
            } else {
                Lapse::Live
            },
            quiet: Some(now.since(self.written)),
        })
    }

    pub(super) fn listed(&self, id: RecordId, now: Moment) -> Result<Option<Listed>, StoreError> {
        if self.expired(now) {
            return Ok(None);
        }
        let head =
            head_of(&self.frame).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        Ok(Some(Listed {
            id,
            lapsed: self.lapsed(now),
            record: head.record,
            response_bytes: head.response_bytes,
            expires_in: Some(self.end().since(now)),
        }))
    }

    fn lapsed(&self, now: Moment) -> bool {
        let standing = self.standing(now);
        standing.state == State::InFlight && standing.lapsed
    }

    fn stamp(&self) -> Stamp {
        Stamp::read(&self.frame).expect("the frame is this program's own")
    }
}

impl Kept for Cell {
    fn end(&self) -> Moment {
        self.written.after(self.stamp().ttl)
    }

    fn bytes(&self) -> u64 {
        self.frame.len() as u64 + PLACE
    }
}

/// What a record takes beside its frame, about.
const PLACE: u64 = 256;
