//! Lists records, without `KEYS` and without their bodies.
//!
//! A page goes through all keys (`SCAN`, a slice at a time) and keeps the ids above its cursor, which are 16 bytes each and of
//! which it keeps the lowest `rest::IDS` at most: where there are more, it goes through the keys again for the next. It then reads, in
//! ascending order, what stands before each record's body, [`WINDOW`] at a time, until the page is full. All of it travels on the bulk
//! connection, apart from claims; two pages at a time are made, others wait. A page that ends before its ids do leaves them for the next one
//! (`rest`), which then need not go through the keys again.
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
use super::rest::Ids;
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
        let mut ids = match after.and_then(|after| self.rests.take(after)) {
            Some(rest) => rest,
            None => self.ids(after).await?,
        };
        // Its time begins here: going through the keys cannot be broken off and gone on with.
        let mut page = Page::new(limit, wanted);
        loop {
            let Some(last) = ids.lowest.last().copied() else {
                return Ok(page.end(false));
            };
            let mut records = stream::iter(ids.lowest.iter().copied())
                .map(|id| async move { (id, self.listed(id).await) })
                .buffered(WINDOW);
            let mut done = false;
            while let Some((id, found)) = records.next().await {
                done = page.done();
                if done {
                    break;
                }
                page.take(id, found)?;
            }
            drop(records);
            if done {
                let listing = page.end(true);
                if let Some(next) = listing.next {
                    self.rests.leave(next, ids);
                }
                return Ok(listing);
            }
            if !ids.others || page.done() {
                return Ok(page.end(ids.others));
            }
            ids = self.ids(Some(last)).await?;
        }
    }

    /// The lowest ids above `after`.
    async fn ids(&self, after: Option<RecordId>) -> Result<Ids, Failure> {
        let mut ids = Ids::new();
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

/// Records that are asked for at a time.
const WINDOW: usize = 64;
/// Bytes of a record that are asked for at first: most have no more before their body.
const HEAD: usize = 1024;
