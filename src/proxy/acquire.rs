//! Step three: the right to execute, or the answer of whoever had it.

use std::sync::Arc;

use tokio::time::Instant;

use super::claim::Claim;
use super::key::Keyed;
use super::limits::Buffered;
use super::payload::Taken;
use super::policy::{Meanwhile, Policy, StoreFailure};
use super::probe::{self, Probed, Vouched};
use super::records::LostClaim;
use super::trail::Trail;
use super::waiters::Place;
use super::{Forward, Shared, problem, scope};
use crate::fault::{Seeded, seeded};
use crate::idempotency::transition::Payload;
use crate::idempotency::{
    Attempt, Expect, Origin, Outcome, Record, RecordId, Refusal, Seen, State, Trace, Verdict,
    Verified, decide, shown,
};
use crate::store::{Inserted, Replaced, Store, StoreError};
use crate::wire::Problem;

/// What a request may do.
pub(super) enum Acquired {
    /// Ask the upstream.
    Execute(Claim),
    /// Answer from this record, which holds an answer.
    /// The memory that this takes is given with it where it is held already.
    Replay(Box<Seen>, Option<Buffered>),
    /// Wait for the end of the claim that it met, by what it would have claimed with.
    Wait(Place, Box<Attempt>),
}

/// Why it may do neither.
pub(super) enum Denied {
    /// By what the record says, or a limit.
    Refused(Problem),
    /// The store did not take the claim; nothing is known of the key, and the policy says to forward all the same.
    Unguarded(StoreError),
    /// The store failed.
    NoStore(StoreError),
}

/// How often a request looks again at a record that changes under its eyes, before it says that somebody else is at work.
const ROUNDS: usize = 4;

/// Claims the key, or finds out what became of it. Written out, as an `async fn` keeps what it is given twice.
pub(super) fn acquire<'a, F: Forward, S: Store>(
    proxy: &'a Arc<Shared<F, S>>,
    keyed: &'a Keyed,
    taken: &'a mut Taken,
    policy: &'a Arc<Policy>,
    trail: &'a Trail,
) -> impl Future<Output = Result<Acquired, Denied>> + Send + 'a {
    let bid = attempt(proxy, keyed, taken, policy, trail).bid();
    async move {
        let since = Instant::now();
        let insert = proxy
            .records
            .insert(keyed.id, bid.claim(), since, Some(trail));
        match insert.await {
            Ok(Inserted::Created) => {
                let claim = Claim::new(keyed.id, bid.won(), since, false);
                Ok(Acquired::Execute(claim))
            }
            Ok(Inserted::Occupied(met)) => {
                let attempt = bid.lost();
                let mut claimant = Claimant {
                    proxy,
                    keyed,
                    taken,
                    policy,
                    trail,
                    attempt,
                    linked: None,
                };
                match claimant.meet(&met) {
                    Verdict::Replay => Ok(Acquired::Replay(met, None)),
                    // Apart, since most duplicates find an answer.
                    verdict => Box::pin(claimant.contend(met, verdict, since)).await,
                }
            }
            Err(error) => {
                let lost = LostClaim {
                    id: keyed.id,
                    record: bid.won(),
                    expect: None,
                };
                Err(give_up(proxy, policy, lost, false, error))
            }
        }
    }
}

/// What a request would claim with.
fn attempt<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    keyed: &Keyed,
    taken: &Taken,
    policy: &Policy,
    trail: &Trail,
) -> Attempt {
    let Taken { head, received } = taken;
    let now = proxy.records.now();
    Attempt {
        token: proxy.records.fresh_token(now),
        terms: policy.terms(),
        now,
        payload: match received.fingerprint(head, policy, &proxy.secret) {
            Some(fingerprint) => Payload::Whole(fingerprint),
            None => Payload::Streamed,
        },
        credentials: keyed.credentials,
        named: keyed.named,
        verified: keyed.verified,
        origin: Origin::new(
            &policy.route,
            head.method.as_str(),
            head.uri.path(),
            keyed.key,
        ),
        trace: trail.trace(),
    }
}

/// A request that asks for the right to execute, and what it would claim with.
struct Claimant<'a, F, S> {
    proxy: &'a Arc<Shared<F, S>>,
    keyed: &'a Keyed,
    taken: &'a mut Taken,
    policy: &'a Arc<Policy>,
    trail: &'a Trail,
    attempt: Attempt,
    /// The trace of the record that it met last.
    linked: Option<Trace>,
}

impl<'a, F: Forward, S: Store> Claimant<'a, F, S> {
    fn id(&self) -> RecordId {
        self.keyed.id
    }

    // What waits takes all of it, though it changes nothing: a body that is shared cannot go from thread to thread.
    async fn insert(&mut self, record: &Record, since: Instant) -> Result<Inserted, StoreError> {
        let (records, trail) = (&self.proxy.records, Some(self.trail));
        records.insert(self.id(), record, since, trail).await
    }

    async fn replace(
        &mut self,
        expect: Expect,
        record: &Record,
        since: Instant,
    ) -> Result<Replaced, StoreError> {
        let (records, trail) = (&self.proxy.records, Some(self.trail));
        records
            .replace(self.id(), expect, record, since, trail)
            .await
    }

    async fn look(&mut self) -> Result<Option<Seen>, StoreError> {
        self.proxy.records.look(self.id(), Some(self.trail)).await
    }

    /// Notes a record that was met, and says what to do about it.
    fn meet(&mut self, met: &Seen) -> Verdict {
        if met.record.token != self.attempt.token && met.record.trace != self.linked {
            self.linked = met.record.trace;
            self.trail.met(self.linked);
        }
        self.decide(met)
    }

    fn decide(&self, met: &Seen) -> Verdict {
        let steady = self.proxy.records.steady(self.id());
        decide(met, &self.attempt, self.policy.unknown_outcome, steady)
    }

    fn verify(&mut self) {
        let jwt = self.proxy.jwt.as_deref();
        self.attempt.verified = scope::verified(&self.taken.head.headers, jwt);
    }

    /// Lets the body go by, to be compared.
    async fn consume(&mut self) -> Result<(), Denied> {
        let Taken { head, received } = &mut *self.taken;
        let consumed = received.consume(head, self.policy, &self.proxy.secret);
        let fingerprint = consumed.await.map_err(Denied::Refused)?;
        self.attempt.payload = Payload::Consumed(fingerprint);
        Ok(())
    }

    /// Finds out what became of a key that somebody else has, after a first `verdict` on what was `met`; `since` is from before that.
    async fn contend(
        mut self,
        mut met: Box<Seen>,
        mut verdict: Verdict,
        mut since: Instant,
    ) -> Result<Acquired, Denied> {
        let mut found = None;
        for further in (0..ROUNDS).rev() {
            if verdict == Verdict::Hash {
                self.consume().await?;
                verdict = self.decide(&met);
            }
            if verdict == Verdict::Verify {
                self.verify();
                verdict = self.decide(&met);
            }
            match verdict {
                Verdict::Probe(expect) => {
                    verdict = match self.probe(&met).await {
                        Probed::Absent => Verdict::Claim(expect),
                        Probed::Refused(problem) => return Err(Denied::Refused(problem)),
                        Probed::Found(record, held) => {
                            let replaced = self.replace(expect, &record, Instant::now()).await;
                            if replaced.map_err(Denied::NoStore)? == Replaced::Stale {
                                Verdict::Look
                            } else {
                                met.record = *record;
                                found = Some(held);
                                shown(&met.record)
                            }
                        }
                    }
                }
                Verdict::Refuse(Refusal::CredentialsChanged(_)) => match self.vouch().await {
                    Vouched::Yes => verdict = shown(&met.record),
                    Vouched::No => {}
                    Vouched::Asking => {
                        return Err(Denied::Refused(problem::vouched(self.id())));
                    }
                },
                _ => {}
            }
            match verdict {
                Verdict::Mine => return Ok(self.claim(Box::new(met.record), since, false)),
                Verdict::Replay => return Ok(Acquired::Replay(met, found)),
                Verdict::Refuse(Refusal::InProgress)
                    if self.policy.in_flight == Meanwhile::Wait && met.is_running() =>
                {
                    return self.wait(&met).await;
                }
                Verdict::Refuse(refusal) => {
                    let refusal = problem::refusal(refusal, self.id(), &met);
                    return Err(Denied::Refused(refusal));
                }
                Verdict::Claim(expect) => {
                    let record = Box::new(self.attempt.claim_over(&met.record));
                    let taken_over = !matches!(expect, Expect::Released(_));
                    since = Instant::now();
                    match self.replace(expect, &record, since).await {
                        Ok(Replaced::Applied | Replaced::Restored) => {
                            return Ok(self.claim(record, since, taken_over));
                        }
                        Ok(Replaced::Stale) => {}
                        Err(error) => {
                            return Err(self.give_up(record, Some(expect), error));
                        }
                    }
                }
                Verdict::Look | Verdict::Hash | Verdict::Verify | Verdict::Probe(_) => {}
            }
            // It changed under its eyes.
            if further == 0 {
                break;
            }
            met = match self.look().await.map_err(Denied::NoStore)? {
                Some(seen) => Box::new(seen),
                // A body that went by can be compared, and no longer be sent.
                None if matches!(self.attempt.payload, Payload::Consumed(_)) => break,
                None => {
                    let record = Box::new(self.attempt.claim());
                    since = Instant::now();
                    match self.insert(&record, since).await {
                        Ok(Inserted::Created) => return Ok(self.claim(record, since, false)),
                        Ok(Inserted::Occupied(seen)) => seen,
                        Err(error) => return Err(self.give_up(record, None, error)),
                    }
                }
            };
            verdict = self.meet(&met);
        }
        Err(Denied::Refused(problem::in_progress(
            self.id(),
            State::InFlight,
        )))
    }

    async fn probe(&mut self, met: &Seen) -> Probed {
        let (proxy, head) = (self.proxy, &self.taken.head);
        let probed = probe::probe(
            proxy,
            self.keyed,
            head,
            self.trail,
            self.policy,
            &self.attempt,
            met,
        );
        Box::pin(probed).await
    }

    async fn vouch(&mut self) -> Vouched {
        let (proxy, head) = (self.proxy, &self.taken.head);
        let vouched = probe::vouch(
            proxy,
            self.keyed,
            head,
            self.trail,
            self.policy,
            &self.attempt,
        );
        Box::pin(vouched).await
    }

    /// Waits for the end of the claim that it met, if there is a place.
    async fn wait(mut self, met: &Seen) -> Result<Acquired, Denied> {
        let id = self.id();
        let refused = || Denied::Refused(problem::refusal(Refusal::InProgress, id, met));
        if self.attempt.payload == Payload::Streamed {
            // The first body has no fingerprint yet. When it has, this one is compared, and it cannot be kept for so long.
            let patience = self.policy.wait_timeout;
            let consumed = tokio::time::timeout(patience, self.consume()).await;
            consumed.map_err(|_| refused())??;
        }
        if self.attempt.verified == Verified::Untold {
            // While it waits it has no head any more to find out by.
            self.verify();
        }
        // Not before its body went by: slow uploads keep no places from those who only wait.
        let place = self.proxy.waiters.place().ok_or_else(refused)?;
        Ok(Acquired::Wait(place, Box::new(self.attempt)))
    }

    fn claim(self, record: Box<Record>, since: Instant, taken_over: bool) -> Acquired {
        Acquired::Execute(Claim::new(self.id(), record, since, taken_over))
    }

    fn give_up(self, record: Box<Record>, expect: Option<Expect>, error: StoreError) -> Denied {
        let lost = LostClaim {
            id: self.id(),
            record,
            expect,
        };
        give_up(self.proxy, self.policy, lost, true, error)
    }
}

/// After a claim that the store may have taken without our knowing: asks for it again in the background, and frees the key if it is ours.
/// Until that is acknowledged a late arrival could still lock the key against everyone, us included. A key of which a record was
/// `seen_before` is never forwarded without the guarantee.
fn give_up<F: Forward, S: Store>(
    proxy: &Shared<F, S>,
    policy: &Policy,
    lost: LostClaim,
    seen_before: bool,
    error: StoreError,
) -> Denied {
    let forwarded =
        !seen_before && !error.is_unreadable() && policy.store_error == StoreFailure::Forward;
    if matches!(error, StoreError::Unanswered(_)) && !seeded(Seeded::LostClaimLeft) {
        // Where the request is forwarded all the same, nobody will know what became of the key.
        let outcome = if forwarded {
            Outcome::Unknown {
                status: None,
                error: Some("forwarded without a claim"),
            }
        } else {
            Outcome::Released {
                status: None,
                error: Some("the store did not acknowledge the claim"),
            }
        };
        proxy.records.give_up(lost, policy.terms(), outcome);
    }
    if forwarded {
        Denied::Unguarded(error)
    } else {
        Denied::NoStore(error)
    }
}
