//! Records on a Redis server, or on a cluster of them.
//!
//! The path of an operation: [`Redis`] encodes the record, finds the server of its key (`servers`; of a cluster, `cluster`) and
//! takes the `session::Session` that stands there; the session picks one of its connections (`line`) and sends
//! `SET NX GET` or a `script`; `answer` reads what came. `keeper` makes and judges sessions in the background, with the server that
//! the `locator` finds: the one of the URL, or the one that a `sentinel` names. `replicated` is for `wait_replicas`.
//!
//! What is to be known of it:
//!
//! - *An operation ends within its timeout*, connecting included. One exception: a record of more than 32 KiB is waited for as long as
//!   bytes of it move, up to 20 timeouts; else a large answer could be neither stored nor replayed over a slow link. A server that
//!   is away moves no bytes. Replicas have one more timeout to confirm it.
//! - *Refused or unanswered*: what the server said no to, and what was never sent, is refused. Everything else is unanswered, and may be carried
//!   out any time later: a request that waits in a buffer is applied when it arrives. A no to the second try says nothing of a first
//!   that was lost, and a no to `WAIT` nothing of the write.
//! - *A lost connection* is replaced, and the operation asked again once: with the same arguments it is the same operation. One
//!   that timed out is not.
//! - *A key that is elsewhere* in a cluster is asked for there, within the same time, five times at most.
//! - *A silent connection* is replaced after two probes without a byte.
//! - *Slow is not dead*: what tells them apart is whether bytes move (`line`).
//! - *TLS* (`transport`) is asked for by a second s in the scheme, and then goes for sentinels and all servers that they or the cluster name; a server shows a certificate
//!   for the name by which it was named.
//! - *Large answers* travel apart from claims (`session`).
//! - *A full server, or one that may evict*, takes no claims, still brings back what is there, and takes settlements.
//! - *A listing* goes beside all that (`listing`).
//!
//! A user with the fewest rights that do: `~PREFIX:* +set +get +getrange +strlen +exists +pttl +pexpire +evalsha +script|load +info
//! +ping`, `+scan` for listings, and `+wait` for `wait_replicas`; on a cluster `+asking +cluster|info +cluster|slots` too.

mod address;
mod answer;
mod cluster;
mod facts;
mod failure;
mod keeper;
mod known;
mod line;
mod listing;
mod locator;
mod node;
mod replicated;
mod rest;
mod script;
mod sentinel;
mod servers;
mod session;
mod target;
mod transport;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::cluster::Cluster;
use self::failure::Failure;
use self::line::Patience;
use self::locator::Locator;
use self::rest::Rests;
use self::servers::Servers;
use self::session::Session;
use self::transport::{Transport, in_the_clear};
use super::{Codec, Health, Inserted, Listing, Replaced, Store, StoreError, StoreSettings, Wanted};
use crate::idempotency::{Expect, Record, RecordId, Seen, State, Token};
use crate::lanes::Lanes;

/// Records on a Redis server, or on a cluster of them.
pub struct Redis {
    servers: Servers,
    prefix: String,
    timeout: Duration,
    codec: Codec,
    /// Bounds the pages that are made at a time, and so their memory.
    listings: Semaphore,
    rests: Rests,
}

/// A record, as it is called on the server, and how it is read.
#[derive(Clone, Copy)]
struct Named<'a> {
    key: &'a str,
    id: RecordId,
    codec: &'a Codec,
}

/// Why a Redis store cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Not a URL of Redis.
    #[error("expected {FORMS}")]
    Scheme,
    /// Malformed. Not quoted: it may hold a password.
    #[error("malformed redis URL; expected {FORMS}")]
    Url,
    /// Certificates or keys that cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A database other than 0, on a cluster.
    #[error("a cluster has no database but 0")]
    Database,
    /// The server may drop records, and a dropped record lets its key run again.
    #[error(
        "its maxmemory-policy is {0}, under which it may drop records: set noeviction, or allow_eviction = true"
    )]
    Evicts(String),
}

impl Redis {
    /// Whether [`Redis::connect`] can read `url`.
    pub(crate) fn reads(url: &str) -> bool {
        let url = &in_the_clear(url);
        if Cluster::is_meant_by(url) {
            Cluster::reads(url)
        } else {
            Locator::parse(url, &Transport::Plain).is_ok()
        }
    }

    /// Whether `url` asks for TLS.
    pub(crate) fn is_tls(url: &str) -> bool {
        transport::is_tls(url)
    }

    /// Sets up the store at `url`, as [`Redis::begin`] and [`Redis::checked`] do, for one runtime alone.
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn connect(url: &str, settings: &StoreSettings) -> Result<Self, SetupError> {
        let store = Self::begin(url, settings, &Lanes::default())?;
        store.checked().await?;
        Ok(store)
    }

    /// Begins to look for the server at `url`, and waits for nothing. A server that cannot be reached is no error: it is looked for
    /// from then on. Each of the lanes gets connections of its own.
    ///
    /// # Errors
    ///
    /// A malformed URL.
    pub fn begin(url: &str, settings: &StoreSettings, lanes: &Lanes) -> Result<Self, SetupError> {
        Ok(Self {
            servers: Servers::find(url, settings, lanes)?,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
            codec: settings.codec.clone(),
            listings: Semaphore::new(LISTINGS),
            rests: Rests::default(),
        })
    }

    /// Waits for the server, two seconds at most.
    ///
    /// # Errors
    ///
    /// It may evict records where that is not allowed. It is asked for no claims then.
    pub async fn checked(&self) -> Result<(), SetupError> {
        self.servers.settled(SETUP).await;
        match self.servers.evicts() {
            Some(policy) => Err(SetupError::Evicts(policy)),
            None => Ok(()),
        }
    }

    fn key(&self, id: RecordId) -> String {
        record_key(&self.prefix, id)
    }

    fn named<'a>(&'a self, id: RecordId, key: &'a str) -> Named<'a> {
        let codec = &self.codec;
        Named { key, id, codec }
    }

    /// Carries an operation out, in its manner.
    async fn carry_out<T, F, R>(
        &self,
        key: &str,
        manner: Manner,
        patience: Patience,
        operation: F,
    ) -> Result<T, Failure>
    where
        F: Fn(Arc<Session>) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let mut place = self.servers.place(key, patience).await?;
        let mut lost: Option<Arc<Session>> = None;
        let mut redirections = 0;
        loop {
            let session = match &lost {
                None => place.node.session(patience).await,
                Some(lost) => place.node.session_after(lost, patience).await,
            };
            let failure = match (&session, place.node.evicts()) {
                (_, Some(policy)) if manner != Manner::Plain => Failure::Evicts(policy),
                (Err(failure), _) => failure.clone(),
                (Ok(session), _) => match operation(place.over(session)).await {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                },
            };
            if let Some(next) = self.servers.redirected(&place, &failure)
                && redirections < MAX_REDIRECTIONS
                && manner != Manner::TakeOver
            {
                redirections += 1;
                place = next;
                continue;
            }
            if failure.casts_doubt() {
                self.servers.doubtful();
            }
            if let Ok(session) = session {
                if failure == Failure::Dropped && lost.is_none() && manner != Manner::TakeOver {
                    lost = Some(session);
                    let again = self.servers.place(key, patience).await;
                    place = again.map_err(Failure::after_a_loss)?;
                    continue;
                }
                if failure.asks_for_another_connection() {
                    session.retire();
                }
            }
            return Err(match lost {
                Some(_) => failure.after_a_loss(),
                None => failure,
            });
        }
    }

    async fn found(&self, named: Named<'_>, patience: Patience) -> Result<Option<Seen>, Failure> {
        self.carry_out(named.key, Manner::Plain, patience, |session| async move {
            session.look(named, patience).await
        })
        .await
    }
}

impl Store for Redis {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let patience = Patience::of(self.timeout);
        let (key, frame) = (&self.key(id), &self.codec.encode(id, record)?);
        let named = self.named(id, key);
        let claimed = self
            .carry_out(key, Manner::Claim, patience, |session| async move {
                session.claim(named, record, frame, patience).await
            })
            .await;
        let refusal = match claimed {
            Ok(None) => return Ok(Inserted::Created),
            Ok(Some(seen)) => return Ok(Inserted::Occupied(Box::new(seen))),
            // What became of a lost claim is not known, and what is there may be brought back all the same.
            Err(failure) if failure.forbids_writes() || failure == Failure::Dropped => {
                failure.into()
            }
            Err(failure) => return Err(failure.into()),
        };
        match Box::pin(self.found(named, patience)).await {
            // An earlier try of this claim arrived, and nothing says that it holds: replicas may lack it.
            Ok(Some(seen)) if seen.record.token == record.token => Err(StoreError::Unanswered(
                "redis has the claim, and could not confirm it".to_owned(),
            )),
            Ok(Some(seen)) => Ok(Inserted::Occupied(Box::new(seen))),
            Err(Failure::Unreadable(why)) => Err(StoreError::Unreadable(why)),
            Ok(None) | Err(_) => Err(refusal),
        }
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let patience = Patience::of(self.timeout);
        let (key, frame) = (&self.key(id), &self.codec.encode(id, record)?);
        let manner = match (expect, record.state) {
            (Expect::Lapsed(_), _) => Manner::TakeOver,
            (_, State::InFlight) => Manner::Claim,
            _ => Manner::Plain,
        };
        let replaced = self
            .carry_out(key, manner, patience, |session| async move {
                session.replace(key, expect, record, frame, patience).await
            })
            .await;
        Ok(replaced?)
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let patience = Patience::of(self.timeout);
        let key = &self.key(id);
        let renewed = self
            .carry_out(key, Manner::Plain, patience, |session| async move {
                session.renew(key, token, patience).await
            })
            .await;
        if !matches!(renewed, Ok(_) | Err(Failure::Unreadable(_))) {
            self.servers.shaken(key);
        }
        Ok(renewed?)
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let patience = Patience::of(self.timeout);
        let key = &self.key(id);
        Ok(self.found(self.named(id, key), patience).await?)
    }

    async fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        self.page(after, limit, wanted).await
    }

    fn steady(&self, id: RecordId) -> Duration {
        self.servers.steady(|| self.key(id))
    }

    fn health(&self) -> Health {
        self.servers.health()
    }
}

/// What a record is called.
pub(super) fn record_key(prefix: &str, id: RecordId) -> String {
    let hex = id.hex();
    let id = str::from_utf8(&hex).expect("hex digits are ASCII");
    // By hand, as this takes half of what `concat` does.
    let mut key = String::with_capacity(prefix.len() + 1 + id.len());
    for text in [prefix, ":", id] {
        key.push_str(text);
    }
    key
}

/// How an operation may be carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Once more over a new connection, if its own was lost; elsewhere, if the key is there.
    Plain,
    /// The same, but not by a server that may drop records.
    Claim,
    /// A claim that rests on how long one server was watched: by that one, and once.
    TakeOver,
}

/// What a URL may be.
const FORMS: &str = "redis://[user:password@]host[:port][/database], \
    redis+sentinel://[user:password@]host[:port],…/primary[/database] or redis+cluster://[user:password@]host[:port],…; over TLS with rediss in the place of redis";
/// How long a start waits for the server to be reached, and checked.
const SETUP: Duration = Duration::from_secs(2);
/// Pages of listings that are made at a time.
const LISTINGS: usize = 2;
/// How often in a row an operation is sent to another node of a cluster.
const MAX_REDIRECTIONS: u32 = 5;
