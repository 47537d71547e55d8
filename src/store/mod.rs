//! Where records are kept: a compare-and-swap cell for each record id.
//!
//! [`Store`] is the contract; [`Memory`], [`Embedded`] and [`Redis`] keep it, and one suite of tests holds them to it.
//! Every decision is made in [`crate::idempotency`]; a store only compares token, state and lapse, and writes.

mod any;
mod codec;
pub mod embedded;
mod listing;
mod memory;
mod redis;
mod settings;
mod token;

use std::future::Future;
use std::time::Duration;

use crate::idempotency::{Expect, Record, RecordId, Seen, Token, UnixMillis};

pub use any::{AnyStore, SetupError};
pub use codec::{
    Codec, CodecError, EncryptionKey, Head, HeadError, Keyring, decode_head, encode, header,
};
pub use embedded::{Embedded, OpenError};
pub use listing::{Listed, Listing, Wanted};
pub use memory::Memory;
pub use redis::{Redis, SetupError as RedisSetupError};
pub use settings::{BadLocation, Location, StoreSettings, Sync};

/// Keeps records.
///
/// Each operation is one round trip, answers within the store's own timeout, and may be sent again after
/// [`StoreError::Unanswered`] with the same arguments. A write is durable, as far as the store is, when its future is ready. Dropping a
/// future leaves the operation unanswered: it may still be carried out.
pub trait Store: Send + std::marker::Sync + 'static {
    /// Writes `record` where there is none; otherwise brings back what is there, answer included. A store that can
    /// not write at the moment still brings back what is there.
    fn insert(
        &self,
        id: RecordId,
        record: &Record,
    ) -> impl Future<Output = Result<Inserted, StoreError>> + Send;

    /// Writes `record` in the place of one that meets `expect`, by the rules of [`Expect::rule`].
    fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> impl Future<Output = Result<Replaced, StoreError>> + Send;

    /// Begins lease and time to live of a record anew, if it is in flight under `token`; [`Replaced::Stale`] if not.
    fn renew(
        &self,
        id: RecordId,
        token: Token,
    ) -> impl Future<Output = Result<Replaced, StoreError>> + Send;

    /// What is there, and whether its lease lapsed; never [`crate::idempotency::Lapse::Untold`].
    fn look(&self, id: RecordId) -> impl Future<Output = Result<Option<Seen>, StoreError>> + Send;

    /// The next `limit` records after `after`, by ascending id, that `wanted` takes: a page. For operators.
    ///
    /// A record that is there throughout is found, and no id is told twice over all pages, whatever is written meanwhile. Pages hold on
    /// to nothing in the store, so that another process on the same store can go on.
    ///
    /// It reads in small steps beside claims, each within the store's timeout. There is no index, and `wanted` may take few of many: after
    /// two seconds of reading it tells what it has, maybe nothing, and [`Listing::next`] where to go on; Redis goes through its keys
    /// before. It holds no answer's body in memory, a few megabytes of ids at most, and the page.
    fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> impl Future<Output = Result<Listing, StoreError>> + Send;

    /// A token that no other attempt on these records has, nor ever had: whoever finds it in a record knows the record for its own. Random,
    /// but where no other process, nor a copy of this one, ever sees the records.
    fn fresh_token(&self, now: UnixMillis) -> Token {
        token::random(now)
    }

    /// For how long the same store was seen without a break where this record is kept: [`Duration::MAX`] where it cannot go away
    /// on its own.
    fn steady(&self, id: RecordId) -> Duration;

    /// Whether it answers, and what an operator should know of it.
    fn health(&self) -> Health;
}

/// What came of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// There was nothing; the record is written.
    Created,
    /// This was there. In a box, since what came of an insert goes through many hands, and most often is nothing.
    Occupied(Box<Seen>),
}

/// What came of a replace or a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The record is written, now or by an earlier try.
    Applied,
    /// The record is written in the place of one that the store lost.
    Restored,
    /// Another record is there, or none: nothing was written.
    Stale,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It was not carried out, and will not be: no connection, refused, full. Says why; holds no key and no password.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer in time, or the connection was lost: it may have been carried out, or may be later.
    #[error("unanswered: {0}")]
    Unanswered(String),
    /// What is there cannot be read: made by a newer version, or damaged. It was left as it is. A [`Store::replace`] goes by token and
    /// state alone: where those can be read and meet its expectation it writes, whatever follows them.
    #[error("unreadable record: {0}")]
    Unreadable(String),
}

impl From<CodecError> for StoreError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Unsealed => Self::Refused(error.to_string()),
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

impl StoreError {
    /// Whether something is there that cannot be read.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

/// Whether a store answers, and what an operator should know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether claims are taken.
    pub up: bool,
    /// What it is and how it does, a line each; no key and no password.
    pub notes: Vec<String>,
    /// How often another server, or an emptied one, stood in the place of the one before.
    pub epoch_changes: u64,
    /// Keys that its servers dropped for want of memory since they started.
    pub evicted: u64,
    /// Claims that a process which is gone had left, and that became unknown without anybody to say so.
    pub left: u64,
}
