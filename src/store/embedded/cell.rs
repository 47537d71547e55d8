//! A record as it stands in the file, and as it is seen from here.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::clock::Clock;
use super::index::Index;
use super::leases::Leases;
use super::recent::Recent;
use crate::fault::{Seeded, seeded};
use crate::idempotency::expect::Standing;
use crate::idempotency::{Lapse, Record, RecordId, Seen, State};
use crate::store::codec::Stamp;
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
    value: Bytes,
}

/// How a record stands now.
struct Judged {
    /// It was in flight by a process that is gone.
    left: bool,
    lapse: Lapse,
    quiet: Duration,
    /// How much longer it is kept.
    remaining: Duration,
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
    /// A cell of `record`, whose time to live begins now.
    pub(super) fn new(
        id: RecordId,
        record: &Record,
        witness: &Witness,
    ) -> Result<Self, CodecError> {
        let expiry = witness.clock.now().saturating_add(millis(record.ttl));
        Self::of(id, record, (expiry, witness.owner), &witness.codec)
    }

    /// Bytes of a cell of `record`.
    pub(super) fn bytes_of(record: &Record, codec: &Codec) -> usize {
        HEAD + codec.frame_bytes(record)
    }

    /// A cell of `record` with this expiry and owner.
    pub(super) fn of(
        id: RecordId,
        record: &Record,
        (expiry, owner): (u64, Owner),
        codec: &Codec,
    ) -> Result<Self, CodecError> {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&expiry.to_be_bytes());
        head[8..24].copy_from_slice(&owner);
        head[24..].copy_from_slice(id.as_bytes());
        let value = codec.encode_after(&head, id, record)?;
        Ok(Self {
            expiry,
            owner,
            value,
        })
    }

    /// The cell in these bytes; nothing if they are too short for one.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (expiry, owner, _) = split(value)?;
        Some(Self {
            expiry,
            owner,
            value: Bytes::copy_from_slice(value),
        })
    }

    /// The same with another expiry.
    pub(super) fn expiring(&self, expiry: u64) -> Self {
        let value = [&expiry.to_be_bytes(), &self.value[8..]].concat();
        Self {
            expiry,
            owner: self.owner,
            value: value.into(),
        }
    }

    /// Its bytes.
    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }

    /// The record, as [`Codec`] wrote it.
    pub(super) fn frame(self) -> Bytes {
        let mut frame = self.value;
        frame.advance(HEAD);
        frame
    }
}

impl Witness {
    /// A claim that was found in the file when it was opened again. One of this process that nobody holds was settled, and the file lost
    /// that: it has lapsed, so that what came of it is in doubt and not in progress.
    pub(super) fn doubt(&self, id: RecordId, claim: Cell) {
        let (expiry, owner) = (claim.expiry, claim.owner);
        let Some(stamp) = Stamp::read(&claim.frame()) else {
            return;
        };
        if owner == self.owner && self.leases.of(id, stamp.token).is_none() {
            let left = expiry.saturating_sub(self.clock.now());
            let lapsed = Stamp {
                lease: Duration::ZERO,
                ttl: Duration::from_millis(left),
                ..stamp
            };
            self.leases.begin(id, &lapsed);
        }
    }

    /// What `cell` is now: nothing once it expired, and unknown where it is in flight by a process that is gone.
    ///
    /// # Errors
    ///
    /// A record that this version does not read.
    pub(super) fn view(&self, id: RecordId, cell: Cell) -> Result<Option<Seen>, StoreError> {
        let (expiry, owner) = (cell.expiry, cell.owner);
        let record = match self.codec.decode(id, cell.frame()) {
            Ok(record) => record,
            Err(_) if self.clock.now() >= expiry => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let seen = self.seen(id, expiry, owner, record);
        Ok(seen.map(|(seen, _)| seen))
    }

    /// What an expectation asks of the cell in `value`, as [`Self::view`] sees it, without a look at the answer in it; nothing if that is too
    /// short.
    pub(super) fn standing(
        &self,
        id: RecordId,
        value: &[u8],
    ) -> Option<Result<Option<Standing>, StoreError>> {
        let (expiry, owner, frame) = split(value)?;
        let Some(stamp) = Stamp::read(frame) else {
            let seen = self.view(id, Cell::parse(value)?);
            return Some(seen.map(|seen| seen.as_ref().map(standing)));
        };
        let judged = self.judge(id, expiry, owner, &stamp);
        Some(Ok(judged.map(|judged| Standing {
            token: stamp.token,
            state: if judged.left {
                State::Unknown
            } else {
                stamp.state
            },
            lapsed: judged.lapse == Lapse::Lapsed,
        })))
    }

    /// What a record is now that stands in a cell, and how much longer it is kept; nothing once it expired.
    pub(super) fn seen(
        &self,
        id: RecordId,
        expiry: u64,
        owner: Owner,
        mut record: Record,
    ) -> Option<(Seen, Duration)> {
        let judged = self.judge(id, expiry, owner, &Stamp::of(&record))?;
        if judged.left {
            record.state = State::Unknown;
            record.settled = Some(self.clock.opened());
            record.error = Some(STOPPED.to_owned());
        }
        let seen = Seen {
            record,
            lapse: judged.lapse,
            quiet: Some(judged.quiet),
        };
        Some((seen, judged.remaining))
    }

    fn judge(&self, id: RecordId, expiry: u64, owner: Owner, stamp: &Stamp) -> Option<Judged> {
        let now = self.clock.now();
        let in_flight = stamp.state == State::InFlight;
        let left = in_flight && owner != self.owner && !seeded(Seeded::DeadClaimsLive);
        if in_flight
            && !left
            && let Some(lease) = self.leases.of(id, stamp.token)
        {
            let remaining = lease.remaining();
            let lapse = if lease.lapsed() {
                Lapse::Lapsed
            } else {
                Lapse::Live
            };
            return (!remaining.is_zero()).then(|| Judged {
                left,
                lapse,
                quiet: lease.quiet(),
                remaining,
            });
        }
        let written = expiry.saturating_sub(millis(stamp.ttl));
        let mut quiet = Duration::from_millis(now.saturating_sub(written));
        if owner != self.owner {
            // The file does not have every heartbeat of a process that is gone, and its clock was another.
            quiet = quiet.min(self.clock.running());
        }
        let remaining = Duration::from_millis(expiry.saturating_sub(now));
        (!remaining.is_zero()).then_some(Judged {
            left,
            lapse: Lapse::Live,
            quiet,
            remaining,
        })
    }
}

/// Expiry, owner and frame of a value; nothing if it is too short for them.
pub(super) fn split(value: &[u8]) -> Option<(u64, Owner, &[u8])> {
    let (expiry, rest) = value.split_first_chunk()?;
    let (owner, rest) = rest.split_first_chunk()?;
    let (_, frame) = rest.split_first_chunk::<16>()?;
    Some((u64::from_be_bytes(*expiry), *owner, frame))
}

/// As far as an expectation asks.
fn standing(seen: &Seen) -> Standing {
    Standing {
        token: seen.record.token,
        state: seen.record.state,
        lapsed: seen.lapse == Lapse::Lapsed,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes before the frame.
pub(super) const HEAD: usize = 40;
/// What went wrong with a claim that is left by a process that is gone.
const STOPPED: &str = "the proxy stopped while the request was running";

#[cfg(test)]
impl Witness {
    /// One that has seen nothing, and keeps no records in memory.
    pub(super) fn alone() -> Self {
        Self {
            owner: [1; 16],
            clock: Clock::starting(0),
            leases: Leases::default(),
            index: Index::default(),
            recent: Recent::new(0),
            codec: Codec::clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::idempotency::StoredResponse;
    use crate::idempotency::sample::in_flight;

    const MINUTE: u64 = 60_000;

    proptest! {
        #[test]
        fn an_expectation_goes_by_what_a_look_finds(
            state in prop::sample::select(vec![State::InFlight, State::Unknown, State::Released, State::Completed]),
            (token, held, lapsed) in (1..4_u8, prop::option::of(1..4_u8), any::<bool>()),
            (owner, minutes, body) in (1..3_u8, -1..2_i64, prop::option::of(any::<Vec<u8>>())),
            altered in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let (witness, id) = (Witness::alone(), RecordId::from_bytes([7; 16]));
            if let Some(held) = held {
                let lease = Duration::from_secs(if lapsed { 0 } else { 60 });
                witness.leases.begin(id, &Stamp::of(&Record { lease, ..in_flight(held) }));
            }
            let record = Record {
                state,
                response: body.map(|body| StoredResponse {
                    status: 201,
                    headers: Default::default(),
                    body: body.into(),
                    trailers: Default::default(),
                }),
                ..in_flight(token)
            };
            let expiry = witness.clock.now().saturating_add_signed(minutes * MINUTE as i64 + 30_000);
            let cell = Cell::of(id, &record, (expiry, [owner; 16]), &witness.codec).unwrap();
            let mut value = cell.value().to_vec();
            if let Some((at, byte)) = altered {
                // The frame, and not the head: that has no bytes that cannot be read.
                let at = HEAD + at.index(value.len() - HEAD);
                value[at] = byte;
            }
            let of_view = |seen: Option<Seen>| seen.map(|seen| {
                (seen.record.token, seen.record.state, seen.lapse == Lapse::Lapsed)
            });
            // What cannot be read as a whole may still have a stamp.
            if let Ok(seen) = witness.view(id, Cell::parse(&value).unwrap()) {
                let standing = witness.standing(id, &value).unwrap().unwrap();
                if seen.is_some() || witness.codec.decode(id, Cell::parse(&value).unwrap().frame()).is_ok() {
                    let standing = standing.map(|it| (it.token, it.state, it.lapsed));
                    prop_assert_eq!(standing, of_view(seen));
                }
            }
        }
    }
}
