//! What a listing tells of records.

use std::time::{Duration, Instant};

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
    /// The records, by ascending id.
    pub records: Vec<Listed>,
    /// Where the next page begins, if others may follow: the last record that was looked at, wanted or not.
    pub next: Option<RecordId>,
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
    /// When it takes no more, however little it has.
    until: Instant,
    looked_at: Option<RecordId>,
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
    /// An empty page, whose time begins.
    pub(super) fn new(limit: usize, wanted: Wanted<'a>) -> Self {
        Self {
            listing: Listing::default(),
            limit,
            wanted,
            until: Instant::now() + TIME,
            looked_at: None,
        }
    }

    /// Whether it takes no more: it is full, or its time is up. What comes after was not looked at, and belongs to the next page.
    pub(super) fn done(&self) -> bool {
        // Each page gets on by a record at least.
        let late = self.looked_at.is_some() && Instant::now() >= self.until;
        late || self.listing.records.len() >= self.limit
    }

    /// Takes a record if it is wanted; nothing where it is not there any more.
    ///
    /// # Errors
    ///
    /// That of the store, but for a record that cannot be read: that one is counted.
    pub(super) fn take(
        &mut self,
        id: RecordId,
        found: Result<Option<Listed>, StoreError>,
    ) -> Result<(), StoreError> {
        self.looked_at = Some(id);
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
        self.listing.next = self.looked_at.filter(|_| more);
        self.listing
    }
}

/// How long a page looks for records: whoever wants few of many is told at times how far it is.
const TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(number: u8) -> RecordId {
        RecordId::from_bytes([number; 16])
    }

    #[test]
    fn a_page_whose_time_is_up_has_looked_at_one_record_and_tells_where_to_go_on() {
        let mut page = Page {
            until: Instant::now(),
            ..Page::new(10, &|_| true)
        };
        assert!(!page.done());
        page.take(id(7), Ok(None)).unwrap();
        assert!(page.done());
        let listing = page.end(true);
        assert_eq!((listing.records.len(), listing.next), (0, Some(id(7))));
    }

    #[test]
    fn a_page_after_which_nothing_comes_has_no_next() {
        let mut page = Page::new(10, &|_| true);
        page.take(id(7), Ok(None)).unwrap();
        assert!(!page.done());
        assert_eq!(page.end(false).next, None);
    }
}
