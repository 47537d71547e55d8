//! What a listing tells of records.

use std::time::Duration;

use super::StoreError;
use crate::idempotency::{Record, RecordId, State};

/// What a listing tells of a record: never its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which record it is.
    pub id: RecordId,
    /// The record, without its answer: whether there is one, `response_bytes` tells.
    pub record: Record,
    /// Whether it is in flight and its lease lapsed, by the store's clock: nobody knows its outcome.
    pub lapsed: bool,
    /// Bytes of the stored answer's body, if there is an answer.
    pub response_bytes: Option<u64>,
    /// How much longer the store keeps it if nobody writes or renews it; nothing where the store does not say.
    pub expires_in: Option<Duration>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The records, by ascending id. The id of the last one is where the next page begins.
    pub records: Vec<Listed>,
    /// Whether others may follow; none does where it is false.
    pub more: bool,
    /// Records on the way that this version does not read: of a newer version, or damaged. They were skipped.
    pub unreadable: u64,
}

/// Which records a listing is to tell.
pub type Wanted<'a> = &'a (dyn Fn(&Listed) -> bool + Send + Sync);

/// A page that is being filled, in ascending order of ids.
pub(super) struct Page<'a> {
    listing: Listing,
    limit: usize,
    wanted: Wanted<'a>,
}

impl Listed {
    /// The state to be shown: a lapsed claim is one of unknown outcome.
    pub fn state(&self) -> State {
        if self.lapsed {
            State::Unknown
        } else {
            self.record.state
        }
    }
}

impl<'a> Page<'a> {
    /// An empty page.
    pub(super) fn new(limit: usize, wanted: Wanted<'a>) -> Self {
        Self {
            listing: Listing::default(),
            limit,
            wanted,
        }
    }

    /// Whether it takes no more. What comes after was not looked at, and belongs to the next page.
    pub(super) fn full(&self) -> bool {
        self.listing.records.len() >= self.limit
    }

    /// Takes a record if it is wanted; nothing where it is not there any more.
    ///
    /// # Errors
    ///
    /// That of the store, but for a record that cannot be read: that one is counted.
    pub(super) fn take(
        &mut self,
        found: Result<Option<Listed>, StoreError>,
    ) -> Result<(), StoreError> {
        match found {
            Ok(Some(listed)) if (self.wanted)(&listed) => self.listing.records.push(listed),
            Ok(_) => {}
            Err(StoreError::Unreadable(_)) => self.listing.unreadable += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The page as it is; `more` says whether there were others to look at.
    pub(super) fn end(mut self, more: bool) -> Listing {
        self.listing.more = more;
        self.listing
    }
}
