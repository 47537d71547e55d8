//! What is learnt of a request that passes: the life of its key as enforcement would have it, played with a record of its own.
//!
//! It runs beside the request, on a task that nobody waits for, and asks nothing but the store.

use std::sync::Arc;

use http::request::Parts;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

use super::account::Account;
use super::answered::{Awaited, cut, released};
use super::hold::Hold;
use super::key::Keyed;
use super::limits::Observing;
use super::observe::holding;
use super::payload;
use super::policy::Policy;
use super::receive::Named;
use super::records::Backoff;
use super::respond::outcome_of;
use super::source::{self, BodySoFar, Sought};
use super::tap::{End, Sight};
use super::trail::Trail;
use super::{Forward, Shared, scope};
use crate::idempotency::observation::{Observed, marked, observed};
use crate::idempotency::transition::Payload;
use crate::idempotency::{
    Attempt, Expect, Fingerprint, Origin, Record, RecordId, Refusal, State, decide, settle,
};
use crate::store::{Inserted, Replaced, Store, StoreError};
use crate::telemetry::Outcome;
use crate::wire::Problem;

/// A request that passes, and what is seen of it.
pub(super) struct Observation<F, S> {
    pub(super) proxy: Arc<Shared<F, S>>,
    pub(super) policy: Arc<Policy>,
    /// The head, as it came.
    pub(super) head: Parts,
    /// What names it, as far as the head tells.
    pub(super) named: Named,
    /// What is seen of its body.
    pub(super) upload: Receiver<Sight>,
    /// The answer, once there is one.
    pub(super) answer: Awaited,
    /// The leave to observe.
    pub(super) leave: Observing,
}

/// A record that the store has yet to take.
type Untold = Option<(RecordId, Record)>;

/// How often an observation looks again at a record that changes under its eyes.
const ROUNDS: usize = 4;

impl<F: Forward, S: Store> Observation<F, S> {
    /// Follows the request to its end, and counts it.
    pub(super) async fn run(mut self, mut account: Account) {
        let stop = self.proxy.stop.clone();
        let mut untold = None;
        let learnt = async {
            let outcome = match self.learn(&mut account, &mut untold).await {
                Ok(outcome) | Err(outcome) => outcome,
            };
            self.answer.head().await;
            outcome
        };
        let outcome = tokio::select! {
            biased;
            outcome = learnt => outcome,
            () = stop.deadline.cancelled() => Outcome::ObservedSkipped,
        };
        let answered = match &self.answer {
            Awaited::There(answered) => Some((answered.status, answered.at)),
            Awaited::Coming(_) | Awaited::Never => None,
        };
        account.observed(outcome, answered);
        let Self {
            proxy,
            policy,
            head,
            named,
            upload,
            answer,
            leave,
        } = self;
        // However long the store is away, nothing of the request is held, nor what was copied of it.
        drop((policy, head, named, upload, answer));
        if let Some((id, record)) = untold {
            tokio::select! {
                () = tell(&proxy, id, &record) => {}
                () = stop.draining.cancelled() => {}
            }
        }
        drop(leave);
    }

    /// How the request is counted; as an error where that shows before it has a claim.
    async fn learn(
        &mut self,
        account: &mut Account,
        untold: &mut Untold,
    ) -> Result<Outcome, Outcome> {
        let (keyed, payload) = self.receive(account.trail()).await?;
        let id = keyed.id.observed();
        account.name(id, &keyed.text);
        let claim = self
            .claim(id, &keyed, payload, account.trail(), untold)
            .await?;
        let (token, every) = (claim.token, claim.lease / 3);
        let (proxy, policy) = (self.proxy.clone(), self.policy.clone());
        let (mut ended, mut retention) = tokio::select! {
            biased;
            ended = self.answer.ended(&policy) => ended,
            never = proxy.records.keep_alive(id, token, Instant::now(), every) => match never {},
        };
        let (fingerprint, too_large) = self.uploaded();
        if too_large {
            // Enforcement would have cut it off there.
            (ended, retention) = (cut(&policy), None);
        }
        let terms = policy.terms().keeping(&ended, retention);
        let settled = marked(settle(
            claim,
            terms,
            ended,
            fingerprint,
            proxy.records.now(),
        ));
        let outcome = match settled.state {
            _ if too_large => Outcome::ObservedBodyTooLarge,
            State::Completed | State::InFlight => Outcome::ObservedExecuted,
            State::Released => Outcome::ObservedReleased,
            State::Unknown => Outcome::ObservedOutcomeUnknown,
        };
        match proxy
            .records
            .replace(id, Expect::Held(token), &settled, Instant::now(), None)
            .await
        {
            Ok(_) => Ok(outcome),
            Err(error) => {
                tracing::debug!(%id, %error, "the store did not take the end of an observation");
                *untold = Some((id, settled));
                Ok(Outcome::ObservedStoreError)
            }
        }
    }

    /// What names the request, and what is known of its body when enforcement would claim.
    async fn receive(&mut self, trail: &Trail) -> Result<(Keyed, Payload), Outcome> {
        let policy = self.policy.clone();
        let max = policy.max_request_body.unwrap_or(u64::MAX);
        match self.upload.recv().await {
            Some(Sight::End(End {
                whole: true,
                taken,
                digest,
                copy,
            })) => {
                if taken > max {
                    return Err(Outcome::ObservedBodyTooLarge);
                }
                let bytes = copy.as_ref().map(|(bytes, _)| bytes);
                let so_far = bytes.map_or(BodySoFar::Foreign, |bytes| BodySoFar::Whole(bytes));
                let keyed = self.keyed(so_far, trail).await?;
                let secret = &self.proxy.secret;
                let fingerprint = match bytes {
                    Some(bytes) => {
                        payload::fingerprint_of_whole(&self.head, &policy, secret, bytes)
                    }
                    None => payload::fingerprint(&self.head, &policy, secret, digest),
                };
                Ok((keyed, Payload::Whole(fingerprint)))
            }
            Some(Sight::Over(_)) if max <= policy.max_buffered_request => {
                Err(Outcome::ObservedBodyTooLarge)
            }
            Some(Sight::Over(start)) => {
                let mut holding = holding(&self.proxy, &self.named, &self.head, &policy);
                if let Some((start, _held)) = start {
                    holding.look(&start);
                }
                match holding.hold() {
                    Some(Hold::Nothing | Hold::Small) => {}
                    Some(Hold::All) | None => return Err(Outcome::ObservedBodyTooLarge),
                }
                Ok((
                    self.keyed(BodySoFar::Foreign, trail).await?,
                    Payload::Streamed,
                ))
            }
            Some(Sight::NoRoom) => Err(Outcome::ObservedSkipped),
            Some(Sight::End(_)) | None => {
                let outcome = self.answer.head().await.map(|answered| answered.outcome);
                match (&self.named, outcome) {
                    // Enforcement would have claimed nothing yet.
                    (_, None) => Err(Outcome::Abandoned),
                    (_, Some(Outcome::BadRequest)) => Err(Outcome::ObservedBadRequest),
                    // It was answered before its body was there.
                    (Named::Keyed(keyed), Some(_)) => Ok((keyed.clone(), Payload::Streamed)),
                    (Named::InBody | Named::Nothing, Some(_)) => Err(Outcome::ObservedSkipped),
                }
            }
        }
    }

    async fn keyed(&mut self, body: BodySoFar<'_>, trail: &Trail) -> Result<Keyed, Outcome> {
        if let Named::Keyed(keyed) = &self.named {
            return Ok(keyed.clone());
        }
        let counted = |problem: Problem| outcome_of(problem.code).observed();
        let now = || self.proxy.records.now();
        let key = match source::find(&self.head, body, &self.policy, now).map_err(counted)? {
            Sought::Key(key, _) => Some(key),
            Sought::InBody | Sought::Nothing => None,
        };
        match self
            .proxy
            .name(key, &self.head, &self.policy, trail)
            .map_err(counted)?
        {
            Some(keyed) => Ok(keyed),
            None => Err(match self.answer.head().await {
                Some(answered) => answered.outcome,
                None => Outcome::Abandoned,
            }),
        }
    }

    /// Claims the key as enforcement would; an error where that would have answered otherwise.
    async fn claim(
        &mut self,
        id: RecordId,
        keyed: &Keyed,
        payload: Payload,
        trail: &Trail,
        untold: &mut Untold,
    ) -> Result<Record, Outcome> {
        let proxy = self.proxy.clone();
        let (records, policy) = (&proxy.records, self.policy.clone());
        let now = records.now();
        let mut attempt = Attempt {
            token: records.fresh_token(now),
            terms: policy.terms(),
            now,
            payload,
            credentials: keyed.credentials,
            named: keyed.named,
            verified: keyed.verified,
            origin: Origin::new(
                &policy.route,
                self.head.method.as_str(),
                self.head.uri.path(),
                keyed.key,
            ),
            trace: trail.trace(),
        };
        let failed = |error: StoreError| {
            tracing::debug!(%id, %error, "the store failed an observation");
            Outcome::ObservedStoreError
        };
        let mut seen = None;
        for _ in 0..ROUNDS {
            let met = match seen.take() {
                Some(seen) => seen,
                None if matches!(attempt.payload, Payload::Consumed(_)) => break,
                None => {
                    let record = marked(attempt.claim());
                    match records.insert(id, &record, Instant::now(), None).await {
                        Ok(Inserted::Created) => return Ok(record),
                        Ok(Inserted::Occupied(seen)) => seen,
                        Err(error) => {
                            // Enforcement would not have run it: what may be there yet is not to stay in flight.
                            if matches!(error, StoreError::Unanswered(_)) {
                                let ended = released("the store did not acknowledge the claim");
                                let record =
                                    settle(record, policy.terms(), ended, None, records.now());
                                *untold = Some((id, marked(record)));
                            }
                            return Err(failed(error));
                        }
                    }
                }
            };
            let verdict = decide(&met, &attempt, policy.unknown_outcome, records.steady(id));
            match observed(verdict) {
                Observed::Executes(None) => return Ok(met.record),
                Observed::Executes(Some(expect)) => {
                    let record = marked(attempt.claim_over(&met.record));
                    if records
                        .replace(id, expect, &record, Instant::now(), None)
                        .await
                        .map_err(failed)?
                        != Replaced::Stale
                    {
                        return Ok(record);
                    }
                    seen = records.look(id, None).await.map_err(failed)?.map(Box::new);
                }
                Observed::Look => {
                    seen = records.look(id, None).await.map_err(failed)?.map(Box::new)
                }
                Observed::Hash => {
                    attempt.payload = Payload::Consumed(self.hashed().await?);
                    seen = Some(met);
                }
                Observed::Verify => {
                    attempt.verified = scope::verified(&self.head.headers, proxy.jwt.as_deref());
                    seen = Some(met);
                }
                Observed::Replays => {
                    trail.met(met.record.trace);
                    return Err(Outcome::ObservedReplayed);
                }
                Observed::Refuses(refusal) => {
                    return Err(match refusal {
                        Refusal::InProgress => Outcome::ObservedInProgress,
                        Refusal::OutcomeUnknown => Outcome::ObservedOutcomeUnknown,
                        Refusal::KeyReused(_) => Outcome::ObservedKeyReused,
                        Refusal::ResponseNotStored(_) => Outcome::ObservedResponseNotStored,
                        Refusal::CredentialsChanged(_) => Outcome::ObservedCredentialsChanged,
                    });
                }
            }
        }
        Err(Outcome::ObservedInProgress)
    }

    /// The fingerprint of a body too large to hold, once it went by; of one that never did, as much as there is.
    async fn hashed(&mut self) -> Result<Fingerprint, Outcome> {
        while let Some(sight) = self.upload.recv().await {
            if let Sight::End(end) = sight {
                if self
                    .policy
                    .max_request_body
                    .is_some_and(|max| end.taken > max)
                {
                    return Err(Outcome::ObservedBodyTooLarge);
                }
                if end.whole {
                    return Ok(payload::fingerprint(
                        &self.head,
                        &self.policy,
                        &self.proxy.secret,
                        end.digest,
                    ));
                }
            }
        }
        Ok(Fingerprint::default())
    }

    /// What a large body turned out to be by the end of the exchange: its fingerprint, if all of it went by, and whether it was larger
    /// than any may be.
    fn uploaded(&mut self) -> (Option<Fingerprint>, bool) {
        while let Ok(sight) = self.upload.try_recv() {
            if let Sight::End(end) = sight {
                let too_large = self
                    .policy
                    .max_request_body
                    .is_some_and(|max| end.taken > max);
                let whole = end.whole && !too_large;
                let fingerprint = whole.then(|| {
                    payload::fingerprint(&self.head, &self.policy, &self.proxy.secret, end.digest)
                });
                return (fingerprint, too_large);
            }
        }
        (None, false)
    }
}

/// Tells the store how an observation ended until it has it.
async fn tell<F, S: Store>(proxy: &Shared<F, S>, id: RecordId, record: &Record) {
    let mut wait = Backoff::new(record.lease);
    loop {
        wait.pause().await;
        let expect = Expect::Held(record.token);
        let told = proxy
            .records
            .replace(id, expect, record, Instant::now(), None)
            .await;
        if matches!(told, Ok(_) | Err(StoreError::Unreadable(_))) {
            return;
        }
    }
}
