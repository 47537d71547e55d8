//! Lists records, without `KEYS` and without their bodies.
//!
//! A page goes through all keys (`SCAN`, a slice at a time) and keeps the ids above its cursor, which are 16 bytes each and of
//! which it keeps the lowest [`IDS`] at most: where there are more, it goes through the keys again for the next. It then reads, in
//! ascending order, what stands before each record's body, [`WINDOW`] at a time, until the page is full. All of it travels on the bulk
//! connection, apart from claims; two pages at a time are made, others wait.
//!
//! `SCAN` finds every key that is there throughout, as long as the same process is asked: over a new session it begins anew, once.
//!
//! In a cluster a slot may move while the nodes are gone through one after another: from one that is still to come to one that is done.
//! So they are gone through twice, and a key that moves once is found in one of the two. One that moves twice within a page, or to a node
//! that nobody here has heard of yet, may be missed in that page. Where a slot has no node, or a node is away, there is no page.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::answer::{Beginning, began, scanned};
use super::failure::Failure;
use super::line::Patience;
use super::node::Node;
use super::session::Session;
use super::{Manner, Redis, record_key};
use crate::idempotency::RecordId;
use crate::store::listing::{Listed, Page};
use crate::store::{Listing, StoreError, Wanted};

impl Redis {
    pub(super) async fn page(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        let closed = |_| StoreError::Refused("the store is closed".to_owned());
        let _permit = self.listings.acquire().await.map_err(closed)?;
        let mut page = Page::new(limit, wanted);
        let mut after = after;
        loop {
            let ids = self.ids(after).await?;
            let Some(last) = ids.lowest.last().copied() else {
                return Ok(page.end(false));
            };
            let mut records = stream::iter(ids.lowest)
                .map(|id| self.listed(id))
                .buffered(WINDOW);
            while let Some(found) = records.next().await {
                if page.full() {
                    return Ok(page.end(true));
                }
                page.take(found)?;
            }
            if !ids.others {
                return Ok(page.end(false));
            }
            after = Some(last);
        }
    }

    /// The lowest ids above `after`.
    async fn ids(&self, after: Option<RecordId>) -> Result<Ids, Failure> {
        let mut ids = Ids::default();
        let mut nodes = self.servers.all(Patience::of(self.timeout)).await?;
        let rounds = if nodes.len() > 1 { 2 } else { 1 };
        for round in 0..rounds {
            if round > 0 {
                nodes = self.servers.all(Patience::of(self.timeout)).await?;
            }
            for node in &nodes {
                self.go_through(node, after, &mut ids).await?;
            }
        }
        ids.keep_the_lowest();
        Ok(ids)
    }

    async fn go_through(
        &self,
        node: &Arc<Node>,
        after: Option<RecordId>,
        ids: &mut Ids,
    ) -> Result<(), Failure> {
        let session = node.session(Patience::of(self.timeout)).await?;
        match self.go_through_over(&session, after, ids).await {
            Err(failure) if failure.asks_for_another_connection() => {
                let patience = Patience::of(self.timeout);
                let next = node.session_after(&session, patience).await?;
                self.go_through_over(&next, after, ids).await
            }
            gone_through => gone_through,
        }
    }

    /// Over one session: a cursor means nothing to another server.
    async fn go_through_over(
        &self,
        session: &Session,
        after: Option<RecordId>,
        ids: &mut Ids,
    ) -> Result<(), Failure> {
        let pattern = format!("{}:*", literally(&self.prefix));
        let mut cursor = b"0".to_vec();
        loop {
            let answer = session.scan(&cursor, &pattern, Patience::of(self.timeout));
            let (next, keys) = scanned(answer.await?)?;
            let found = keys.iter().filter_map(|key| self.id(key));
            found
                .filter(|id| Some(*id) > after)
                .for_each(|id| ids.add(id));
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// What there is to tell of a record; nothing where it is gone.
    async fn listed(&self, id: RecordId) -> Result<Option<Listed>, StoreError> {
        let key = &record_key(&self.prefix, id);
        let mut bytes = HEAD;
        loop {
            let patience = Patience::of(self.timeout);
            let answer = self
                .carry_out(key, Manner::Plain, patience, |session| async move {
                    session.beginning(key, bytes, patience).await
                })
                .await?;
            match began(answer)? {
                Beginning::Nothing => return Ok(None),
                Beginning::Needs(more) => bytes = more,
                Beginning::Told {
                    head,
                    lapsed,
                    expires_in,
                } => {
                    return Ok(Some(Listed {
                        id,
                        record: head.record,
                        lapsed,
                        response_bytes: head.response_bytes,
                        expires_in,
                    }));
                }
            }
        }
    }

    /// The id of the record at a key; nothing for a key that is none of a record.
    fn id(&self, key: &[u8]) -> Option<RecordId> {
        let digits = key
            .strip_prefix(self.prefix.as_bytes())?
            .strip_prefix(b":")?;
        let shown = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 32 || !digits.iter().all(shown) {
            return None;
        }
        let number = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        Some(RecordId::from_bytes(number.to_be_bytes()))
    }
}

/// The lowest of the ids that were added.
#[derive(Default)]
struct Ids {
    lowest: Vec<RecordId>,
    /// Whether higher ones were left out.
    others: bool,
}

impl Ids {
    fn add(&mut self, id: RecordId) {
        if self.lowest.len() >= 2 * IDS {
            self.keep_the_lowest();
        }
        self.lowest.push(id);
    }

    /// Sorts them, once each, and leaves out the highest of too many.
    fn keep_the_lowest(&mut self) {
        self.lowest.sort_unstable();
        self.lowest.dedup();
        self.others |= self.lowest.len() > IDS;
        self.lowest.truncate(IDS);
    }
}

/// A pattern of `SCAN` that means this text.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if ['*', '?', '[', ']', '\\', '^', '-'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// Ids kept in memory at a time; while they are gathered, twice as many.
const IDS: usize = 1 << 17;
/// Records that are asked for at a time.
const WINDOW: usize = 64;
/// Bytes of a record that are asked for at first: most have no more before their body.
const HEAD: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> RecordId {
        RecordId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn the_lowest_ids_are_kept_once_each_and_that_there_are_others_is_known() {
        let mut ids = Ids::default();
        let many = 3 * IDS as u128;
        // In an order of its own, each twice.
        for number in (0..many).chain(0..many) {
            ids.add(id(number.wrapping_mul(1_000_003) % many));
        }
        ids.keep_the_lowest();
        assert!(ids.others);
        let kept: Vec<_> = (0..IDS as u128).map(id).collect();
        assert!(ids.lowest == kept);

        let mut few = Ids::default();
        for number in [2, 1, 2] {
            few.add(id(number));
        }
        few.keep_the_lowest();
        assert_eq!((few.lowest, few.others), (vec![id(1), id(2)], false));
    }
}
