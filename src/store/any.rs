//! The store that the configuration names.

use std::time::Duration;

use super::{
    Embedded, Health, Inserted, Listing, Location, Memory, Redis, RedisSetupError, Replaced, Store,
    StoreError, StoreSettings, Wanted, embedded,
};
use crate::idempotency::{Expect, Record, RecordId, Seen, Token, UnixMillis};
use crate::lanes::Lanes;

/// The store that the configuration names.
pub enum AnyStore {
    /// In memory.
    Memory(Memory),
    /// In a file of this process alone.
    Embedded(Box<Embedded>),
    /// On a Redis server, or on a cluster of them.
    Redis(Box<Redis>),
}

/// Calls the same method of whichever store it is.
macro_rules! each {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Memory($store) => $call,
            AnyStore::Embedded($store) => $call,
            AnyStore::Redis($store) => $call,
        }
    };
}

/// The same of one that is waited for. What takes a file or a server is put aside, and not into each future on the way to it: those are
/// moved, and kilobytes then cost more than all else.
macro_rules! wait_for_each {
    ($any:expr, $store:ident => $call:expr) => {
        match $any {
            AnyStore::Memory($store) => $call.await,
            AnyStore::Embedded($store) => Box::pin($call).await,
            AnyStore::Redis($store) => Box::pin($call).await,
        }
    };
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The Redis store.
    #[error("redis: {0}")]
    Redis(#[from] RedisSetupError),
}

impl AnyStore {
    /// Opens the store of these settings, as [`AnyStore::begin`] and [`AnyStore::checked`] do, for one runtime alone.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub async fn open(settings: &StoreSettings) -> Result<Self, SetupError> {
        let store = Self::begin(settings, &Lanes::default()).await?;
        store.checked().await?;
        Ok(store)
    }

    /// Opens the store of these settings; one on another machine is only begun to be looked for, and operations say meanwhile that
    /// it is away. There each of the lanes gets connections of its own.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub async fn begin(settings: &StoreSettings, lanes: &Lanes) -> Result<Self, SetupError> {
        match &settings.location {
            Location::Memory => {
                let codec = settings.codec.clone();
                Ok(Self::Memory(Memory::with_codec(settings.max_bytes, codec)))
            }
            Location::Embedded(dir) => {
                let (dir, settings) = (dir.clone(), settings.clone());
                // It reads the whole file, and probes are answered meanwhile.
                let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, &settings));
                match opened.await {
                    Ok(opened) => Ok(Self::Embedded(Box::new(opened?))),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
            Location::Redis(url) => Ok(Self::Redis(Box::new(Redis::begin(url, settings, lanes)?))),
        }
    }

    /// Waits for a store on another machine, two seconds at most. One that cannot be reached is no error.
    ///
    /// # Errors
    ///
    /// It was reached, and must not be used. It is asked for no claims then.
    pub async fn checked(&self) -> Result<(), SetupError> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Ok(()),
            Self::Redis(redis) => Ok(redis.checked().await?),
        }
    }
}

impl Store for AnyStore {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        wait_for_each!(self, store => store.insert(id, record))
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        wait_for_each!(self, store => store.replace(id, expect, record))
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        wait_for_each!(self, store => store.renew(id, token))
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        wait_for_each!(self, store => store.look(id))
    }

    async fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        wait_for_each!(self, store => store.list(after, limit, wanted))
    }

    fn fresh_token(&self, now: UnixMillis) -> Token {
        each!(self, store => store.fresh_token(now))
    }

    fn steady(&self, id: RecordId) -> Duration {
        each!(self, store => store.steady(id))
    }

    fn health(&self) -> Health {
        each!(self, store => store.health())
    }
}
