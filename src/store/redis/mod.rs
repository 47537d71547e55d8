//! Records on a Redis server.
//!
//! The path of an operation: [`Redis`] encodes the record and takes the `session::Session` that stands; the session picks one
//! of its three connections (`line`) and sends `SET NX GET` or a `script`; `answer` reads what came. `keeper` makes and
//! judges sessions in the background. `replicated` is for `wait_replicas`.
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
//! - *A silent connection* is replaced after two probes without a byte.
//! - *Slow is not dead*: what tells them apart is whether bytes move (`line`).
//! - *Large answers* travel apart from claims (`session`).
//! - *A full server, or one that may evict*, takes no claims, still brings back what is there, and takes settlements.
//!
//! A user with the fewest rights that do: `~PREFIX:* +set +get +getrange +strlen +exists +pttl +pexpire +evalsha +script|load +info
//! +ping`, and `+wait` for `wait_replicas`.

mod answer;
mod facts;
mod failure;
mod keeper;
mod known;
mod line;
mod replicated;
mod script;
mod session;
mod target;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use self::failure::Failure;
use self::keeper::Keeper;
use self::line::Patience;
use self::session::Session;
use self::target::Target;
use super::{Health, Inserted, Replaced, Store, StoreError, StoreSettings, encode};
use crate::idempotency::{Expect, Record, RecordId, Seen, State, Token};

/// Records on a Redis server.
pub struct Redis {
    keeper: Arc<Keeper>,
    keeping: AbortHandle,
    prefix: String,
    timeout: Duration,
}

/// Why a Redis store cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Not a URL of one server without TLS.
    #[error("expected redis://[user:password@]host[:port][/database]")]
    Scheme,
    /// Malformed. Not quoted: it may hold a password.
    #[error("malformed redis URL; expected redis://[user:password@]host[:port][/database]")]
    Url,
    /// The server may drop records, and a dropped record lets its key run again.
    #[error(
        "its maxmemory-policy is {0}, under which it may drop records: set noeviction, or allow_eviction = true"
    )]
    Evicts(String),
}

impl Redis {
    /// Sets up the store at `url`. A server that cannot be reached is no error: it is looked for from then on. This waits for it two
    /// seconds at most.
    ///
    /// # Errors
    ///
    /// A malformed URL, or a server that may evict records where that is not allowed.
    pub async fn connect(url: &str, settings: &StoreSettings) -> Result<Self, SetupError> {
        let keeper = Arc::new(Keeper::new(Target::parse(url)?, settings));
        let background = Arc::clone(&keeper);
        let store = Self {
            keeping: tokio::spawn(async move { background.keep().await }).abort_handle(),
            keeper,
            prefix: settings.prefix.clone(),
            timeout: settings.timeout,
        };
        store.keeper.settled(SETUP).await;
        match store.keeper.evicts() {
            Some(policy) => Err(SetupError::Evicts(policy)),
            None => Ok(store),
        }
    }

    fn key(&self, id: RecordId) -> String {
        format!("{}:{id}", self.prefix)
    }

    /// Carries an operation out; once more over a new connection, if its own was lost.
    async fn carry_out<T, F, R>(&self, patience: Patience, operation: F) -> Result<T, Failure>
    where
        F: Fn(Arc<Session>) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let session = self.keeper.session(patience).await?;
        match operation(Arc::clone(&session)).await {
            Err(Failure::Dropped) => {
                let next = self.keeper.session_after(&session, patience).await;
                let done = match next {
                    Ok(next) => operation(next).await,
                    Err(failure) => Err(failure),
                };
                done.map_err(Failure::after_a_loss)
            }
            Err(failure) if failure.asks_for_another_connection() => {
                session.retire();
                Err(failure)
            }
            done => done,
        }
    }

    async fn found(&self, key: &str, patience: Patience) -> Result<Option<Seen>, Failure> {
        self.carry_out(patience, |session| async move {
            session.look(key, patience).await
        })
        .await
    }
}

impl Store for Redis {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let patience = Patience::of(self.timeout);
        let (key, frame) = (&self.key(id), &encode(record));
        let refusal = match self.keeper.evicts() {
            Some(policy) => evicting(&policy),
            None => {
                let claimed = self
                    .carry_out(patience, |session| async move {
                        session.claim(key, record, frame, patience).await
                    })
                    .await;
                match claimed {
                    Ok(None) => return Ok(Inserted::Created),
                    Ok(Some(seen)) => return Ok(Inserted::Occupied(seen)),
                    // What became of a lost claim is not known, and what is there may be brought back all the same.
                    Err(failure) if failure.forbids_writes() || failure == Failure::Dropped => {
                        failure.into()
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
        };
        match self.found(key, patience).await {
            // An earlier try of this claim arrived, and nothing says that it holds: replicas may lack it.
            Ok(Some(seen)) if seen.record.token == record.token => Err(StoreError::Unanswered(
                "redis has the claim, and could not confirm it".to_owned(),
            )),
            Ok(Some(seen)) => Ok(Inserted::Occupied(seen)),
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
        if record.state == State::InFlight
            && let Some(policy) = self.keeper.evicts()
        {
            return Err(evicting(&policy));
        }
        let (key, frame) = (&self.key(id), &encode(record));
        let replaced = self
            .carry_out(patience, |session| async move {
                session.replace(key, expect, record, frame, patience).await
            })
            .await;
        Ok(replaced?)
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let patience = Patience::of(self.timeout);
        let key = &self.key(id);
        let renewed = self
            .carry_out(patience, |session| async move {
                session.renew(key, token, patience).await
            })
            .await;
        if !matches!(renewed, Ok(_) | Err(Failure::Unreadable(_))) {
            self.keeper.shaken();
        }
        Ok(renewed?)
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let patience = Patience::of(self.timeout);
        Ok(self.found(&self.key(id), patience).await?)
    }

    fn steady(&self, _: RecordId) -> Duration {
        self.keeper.steady()
    }

    fn health(&self) -> Health {
        self.keeper.health()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

fn evicting(policy: &str) -> StoreError {
    StoreError::Refused(format!("redis may drop records: maxmemory-policy {policy}"))
}

/// How long a start waits for the server to be reached, and checked.
const SETUP: Duration = Duration::from_secs(2);
