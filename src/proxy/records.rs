//! The store as the path uses it: measured, and never giving up on the end of a claim.
//!
//! What waits for it is a request, whose trail notes how long, or nobody.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::poll;
use tokio::time::Instant;

use super::claim::Claim;
use super::limits::{Buffered, Limits};
use super::trail::Trail;
use super::waiters::Waiters;
use crate::fault::{Seeded, seeded};
use crate::idempotency::operator::overruled;
use crate::idempotency::{
    Expect, Fingerprint, Outcome, Record, RecordId, Seen, State, Terms, Token, UnixMillis,
};
use crate::lanes::{Tasks, looked, sleep_until};
use crate::store::{Inserted, Replaced, Store, StoreError};
use crate::telemetry::{Metrics, Operation};

/// The store as the path uses it.
pub(super) struct Records<S> {
    store: Arc<S>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    waiters: Arc<Waiters>,
    limits: Limits,
}

/// What came of settling a claim.
pub(super) enum Settled {
    /// The store has it, in this state; a completed one ends then.
    Done(State, Option<UnixMillis>),
    /// The store did not acknowledge; it is told again until it does.
    Later,
    /// An operator settled the claim over its holder.
    Overruled {
        /// What the exchange came to.
        came_to: State,
        /// What the operator made of the record.
        record: State,
    },
    /// Another token holds the record now, which duplicates find in this state.
    Lost(State),
}

/// A claim of which the store has not said whether it took it.
pub(super) struct LostClaim {
    pub(super) id: RecordId,
    pub(super) record: Box<Record>,
    /// What it was to be written over; nothing where nothing was to be there.
    pub(super) expect: Option<Expect>,
}

/// First and longest wait between two tries to tell the store how a claim ended.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl<S: Store> Records<S> {
    /// `waiters` are told when a claim ends. Claims that nobody waits for any more are counted in `limits`.
    pub(super) fn new(
        store: Arc<S>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
        waiters: Arc<Waiters>,
        limits: Limits,
    ) -> Self {
        Self {
            store,
            metrics,
            tasks,
            waiters,
            limits,
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn fresh_token(&self, now: UnixMillis) -> Token {
        self.store.fresh_token(now)
    }

    pub(super) fn steady(&self, id: RecordId) -> Duration {
        self.store.steady(id)
    }

    /// Writes a claim; `since` is just before that.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps what it is given twice"
    )]
    pub(super) fn insert<'a>(
        &'a self,
        id: RecordId,
        record: &'a Record,
        since: Instant,
        trail: Option<&'a Trail>,
    ) -> impl Future<Output = Result<Inserted, StoreError>> + Send + 'a {
        async move {
            if seeded(Seeded::ForwardBeforeClaim) && self.store.look(id).await?.is_none() {
                let (store, record) = (self.store.clone(), record.clone());
                self.tasks
                    .spawn(async move { store.insert(id, &record).await });
                return Ok(Inserted::Created);
            }
            looked(since);
            let result = self.store.insert(id, record).await;
            self.took(Operation::Insert, since, trail);
            result
        }
    }

    /// Writes another record where one is as expected; `since` is just before that.
    // Written out, since of an `async fn` with these lifetimes the compiler cannot tell that it is `Send` (rust-lang/rust#100013).
    #[expect(clippy::manual_async_fn, reason = "see above")]
    pub(super) fn replace<'a>(
        &'a self,
        id: RecordId,
        expect: Expect,
        record: &'a Record,
        since: Instant,
        trail: Option<&'a Trail>,
    ) -> impl Future<Output = Result<Replaced, StoreError>> + Send + 'a {
        async move {
            looked(since);
            let result = self.store.replace(id, expect, record).await;
            self.took(Operation::Replace, since, trail);
            if record.state != State::InFlight && result != Ok(Replaced::Stale) {
                self.waiters.wake(id);
            }
            result
        }
    }

    pub(super) async fn look(
        &self,
        id: RecordId,
        trail: Option<&Trail>,
    ) -> Result<Option<Seen>, StoreError> {
        let began = Instant::now();
        let result = self.store.look(id).await;
        self.took(Operation::Get, began, trail);
        result
    }

    /// Renews a lease; false if the claim is no longer this token's.
    pub(super) async fn renew(&self, id: RecordId, token: Token) -> Result<bool, StoreError> {
        let began = Instant::now();
        let result = self.store.renew(id, token).await;
        self.took(Operation::Renew, began, None);
        let renewed = result?;
        if renewed == Replaced::Stale {
            // Counted where the claim is settled: the store may only have lost the record, and gets it back then.
            tracing::warn!(%id, "the claim was lost while its request was under way");
        }
        Ok(renewed != Replaced::Stale)
    }

    /// Renews a lease for as long as it is polled, and its claim is still there: `every` so often from `since`, when it was written.
    pub(super) async fn keep_alive(
        &self,
        id: RecordId,
        token: Token,
        since: Instant,
        every: Duration,
    ) -> std::convert::Infallible {
        let mut next = since + every;
        loop {
            sleep_until(next).await;
            // Apart, since most claims are settled before.
            if let Ok(false) = Box::pin(self.renew(id, token)).await {
                return std::future::pending().await;
            }
            next = Instant::now() + every;
        }
    }

    /// Ends a claim, to be kept by these `terms`. If the store does not acknowledge, it is told again in the
    /// background until it does; `held`, the memory that the answer takes, is kept for so long, and given back otherwise.
    pub(super) fn settle(
        self: &Arc<Self>,
        claim: Claim,
        terms: Terms,
        outcome: Outcome,
        fingerprint: Option<Fingerprint>,
        held: Buffered,
        trail: &Trail,
    ) -> impl Future<Output = (Settled, Option<Buffered>)> + Send {
        let (id, mut settled) = claim.into_parts();
        settled.settle(terms, outcome, fingerprint, self.now());
        async move {
            let ended = if seeded(Seeded::AnswerBeforeStore) {
                let (records, record) = (self.clone(), settled.clone());
                self.tasks
                    .spawn(async move { records.end_until_acknowledged(id, &record).await });
                Ok(settled_as(&settled))
            } else {
                self.end_alive(id, &settled, Some(trail)).await
            };
            match ended {
                Ok(ended) => (ended, Some(held)),
                Err(_) if seeded(Seeded::SettlementForgotten) => (Settled::Later, None),
                Err(error) => {
                    tracing::warn!(%id, %error, state = settled.state.name(), "the store did not take the end of a claim; telling it again");
                    let (records, unsettled) = (self.clone(), self.limits.unsettled());
                    self.tasks.spawn(async move {
                        records.end_until_acknowledged(id, &settled).await;
                        drop((unsettled, held));
                    });
                    (Settled::Later, None)
                }
            }
        }
    }

    /// Asks for a claim again whose reply was lost, in the background, and ends it if it is ours.
    pub(super) fn give_up(self: &Arc<Self>, lost: LostClaim, terms: Terms, outcome: Outcome) {
        let LostClaim {
            id,
            record: mut claim,
            expect,
        } = lost;
        let (records, unsettled) = (self.clone(), self.limits.unsettled());
        self.tasks.spawn(async move {
            let mut wait = Backoff::new(claim.lease);
            let ours = loop {
                wait.pause().await;
                // After an outage its holder must have time to renew, as at the first try.
                if matches!(expect, Some(Expect::Lapsed(_))) && records.steady(id) < claim.lease {
                    continue;
                }
                let asked = match expect {
                    None => {
                        records
                            .insert(id, &claim, Instant::now(), None)
                            .await
                            .map(|inserted| match inserted {
                                Inserted::Created => true,
                                Inserted::Occupied(seen) => seen.record.token == claim.token,
                            })
                    }
                    Some(expect) => records
                        .replace(id, expect, &claim, Instant::now(), None)
                        .await
                        .map(|replaced| replaced != Replaced::Stale),
                };
                match asked {
                    Ok(ours) => break ours,
                    // There never was a claim that could be read back.
                    Err(StoreError::Unreadable(_)) => break false,
                    Err(StoreError::Refused(_) | StoreError::Unanswered(_)) => {}
                }
            };
            if ours {
                claim.settle(terms, outcome, None, records.now());
                records.end_until_acknowledged(id, &claim).await;
            }
            drop(unsettled);
        });
    }

    async fn end_until_acknowledged(&self, id: RecordId, settled: &Record) {
        let mut wait = Backoff::new(settled.lease);
        loop {
            wait.pause().await;
            if self.end_alive(id, settled, None).await.is_ok() {
                return;
            }
            // A store that refuses the end may still take a heartbeat: nobody shall take over what is known to be over.
            let _ = self.renew(id, settled.token).await;
        }
    }

    /// One try to write the end of a claim, which is renewed meanwhile: a large answer may take longer than a lease.
    async fn end_alive(
        &self,
        id: RecordId,
        settled: &Record,
        trail: Option<&Trail>,
    ) -> Result<Settled, StoreError> {
        let began = Instant::now();
        let mut end = pin!(self.end(id, settled, began, trail));
        // Some stores have it at once.
        if let Poll::Ready(ended) = poll!(end.as_mut()) {
            return ended;
        }
        tokio::select! {
            biased;
            ended = end => ended,
            never = self.keep_alive(id, settled.token, began, settled.lease / 3) => match never {},
        }
    }

    /// One try to write the end of a claim; `since` is just before that. Never [`Settled::Later`].
    async fn end(
        &self,
        id: RecordId,
        settled: &Record,
        since: Instant,
        trail: Option<&Trail>,
    ) -> Result<Settled, StoreError> {
        let expect = Expect::Held(settled.token);
        match self.replace(id, expect, settled, since, trail).await {
            Ok(Replaced::Applied) => {
                self.count(settled);
                Ok(settled_as(settled))
            }
            Ok(Replaced::Restored) => {
                self.count(settled);
                self.metrics.records_restored.inc();
                tracing::warn!(%id, "the store had lost a record that was in flight; it has it back");
                Ok(settled_as(settled))
            }
            Ok(Replaced::Stale) => Ok(Box::pin(self.lost(id, settled, trail)).await),
            Err(StoreError::Unreadable(what)) => {
                tracing::error!(%id, what, "the end of a claim cannot be written over an unreadable record");
                Ok(Settled::Lost(State::Unknown))
            }
            Err(error) => Err(error),
        }
    }

    /// Whose the record is now, for which it looks once.
    async fn lost(&self, id: RecordId, settled: &Record, trail: Option<&Trail>) -> Settled {
        let seen = self.look(id, trail).await.ok().flatten();
        let came_to = settled.state;
        if let Some(seen) = seen
            .as_ref()
            .filter(|seen| overruled(settled, &seen.record))
        {
            self.metrics.claims_overruled.inc();
            let record = seen.state();
            tracing::info!(%id, state = came_to.name(), record = record.name(), "an operator had settled the claim before its holder did");
            return Settled::Overruled { came_to, record };
        }
        self.metrics.claims_lost.inc();
        tracing::warn!(%id, state = came_to.name(), "the claim was lost before it was settled");
        Settled::Lost(match seen.map(|seen| seen.state()) {
            // That another attempt did nothing says nothing of this one.
            Some(State::Released) if came_to != State::Released => State::Unknown,
            Some(state) => state,
            None => State::Unknown,
        })
    }

    fn count(&self, settled: &Record) {
        if settled.state == State::Unknown {
            self.metrics.records_unknown.inc();
        }
    }

    fn took(&self, operation: Operation, began: Instant, trail: Option<&Trail>) {
        let ended = Instant::now();
        looked(ended);
        let took = ended.saturating_duration_since(began);
        self.metrics.store_took(operation, took);
        if let Some(trail) = trail {
            trail.stored(took);
        }
    }
}

fn settled_as(record: &Record) -> Settled {
    Settled::Done(record.state, record.expires)
}

/// Doubling waits, never so long that the lease lapses between two tries.
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            next: BACKOFF.0,
            longest: BACKOFF.1.min(lease / 3),
        }
    }

    pub(super) async fn pause(&mut self) {
        self.next = self.next.min(self.longest);
        tokio::time::sleep(self.next).await;
        self.next *= 2;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
