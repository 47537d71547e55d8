//! Step three: the right to execute, or the answer of whoever had it.

use std::sync::Arc;

use http::request::Parts;
use tokio::time::Instant;

use super::claim::Claim;
use super::key::Keyed;
use super::limits::{Buffered, ClaimSlot};
use super::payload::Received;
use super::policy::{Meanwhile, Policy, StoreFailure};
use super::probe::{self, Probed, Vouched};
use super::records::{LostClaim, Records};
use super::trail::Trail;
use super::waiters::Place;
use super::{Forward, Shared, problem, scope};
use crate::fault::{Seeded, seeded};
use crate::idempotency::transition::Payload;
use crate::idempotency::{
    Attempt, Expect, Origin, Outcome, Record, Refusal, State, Token, Verdict, Verified, decide,
    shown,
};
use crate::store::{Inserted, Replaced, Store, StoreError};
use crate::wire::Problem;

/// What a request may do.
pub(super) enum Acquired {
    /// Ask the upstream.
    Execute(Box<Claim>),
    /// Answer from this record, which holds an answer.
    /// The memory that this takes is given with it where it is held already.
    Replay(Box<Record>, Option<Buffered>),
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

/// Claims the key, or finds out what became of it.
pub(super) async fn acquire<F: Forward, S: Store>(
    proxy: &Arc<Shared<F, S>>,
    keyed: &Keyed,
    request: &Parts,
    received: &mut Received,
    policy: &Arc<Policy>,
    slot: ClaimSlot,
) -> Result<Acquired, Denied> {
    let records = &proxy.records;
    let trail = Trail::of(request);
    let mut attempt = Attempt {
        token: Token::from_bytes(uuid::Uuid::now_v7().into_bytes()),
        terms: policy.terms(),
        now: records.now(),
        payload: match received.fingerprint(request, policy, &proxy.secret) {
            Some(fingerprint) => Payload::Whole(fingerprint),
            None => Payload::Streamed,
        },
        credentials: keyed.credentials,
        named: keyed.named,
        verified: keyed.verified,
        origin: Origin {
            route: policy.route.as_str().into(),
            method: request.method.as_str().into(),
            path: request.uri.path().into(),
            key: keyed.key,
        },
        trace: trail.trace(),
    };
    let in_doubt = policy.unknown_outcome;
    let claim = |record, since, taken_over, slot| {
        Acquired::Execute(Box::new(Claim::new(
            keyed.id,
            record,
            policy.clone(),
            since,
            taken_over,
            slot,
        )))
    };
    let mut seen = None;
    let mut found = None;
    let mut linked = None;
    for round in 0..ROUNDS {
        let since = Instant::now();
        let mut met = match seen.take() {
            Some(seen) => seen,
            // A body that went by can be compared, and no longer be sent.
            None if matches!(attempt.payload, Payload::Consumed(_)) => break,
            None => {
                let record = attempt.claim();
                let at_store = trail.at_store();
                let inserted = records.insert(keyed.id, &record).await;
                drop(at_store);
                match inserted {
                    Ok(Inserted::Created) => return Ok(claim(record, since, false, slot)),
                    Ok(Inserted::Occupied(seen)) => seen,
                    Err(error) => {
                        return Err(give_up(
                            LostClaim {
                                id: keyed.id,
                                record,
                                expect: None,
                                seen_before: round > 0,
                                slot,
                            },
                            records,
                            policy,
                            error,
                        ));
                    }
                }
            }
        };
        if met.record.token != attempt.token && met.record.trace != linked {
            linked = met.record.trace;
            trail.met(linked);
        }
        let verdict = match decide(&met, &attempt, in_doubt, records.steady(keyed.id)) {
            Verdict::Hash => {
                let fingerprint = received
                    .consume(request, policy, &proxy.secret)
                    .await
                    .map_err(Denied::Refused)?;
                attempt.payload = Payload::Consumed(fingerprint);
                decide(&met, &attempt, in_doubt, records.steady(keyed.id))
            }
            verdict => verdict,
        };
        let verdict = match verdict {
            Verdict::Verify => {
                attempt.verified = scope::verified(&request.headers, proxy.jwt.as_deref());
                decide(&met, &attempt, in_doubt, records.steady(keyed.id))
            }
            verdict => verdict,
        };
        let verdict = match verdict {
            Verdict::Probe(expect) => {
                let probed = probe::probe(proxy, keyed, request, policy, &attempt, &met);
                match Box::pin(probed).await {
                    Probed::Absent => Verdict::Claim(expect),
                    Probed::Refused(problem) => return Err(Denied::Refused(problem)),
                    Probed::Found(record, held) => {
                        let at_store = trail.at_store();
                        let replaced = records.replace(keyed.id, expect, &record).await;
                        drop(at_store);
                        if replaced.map_err(Denied::NoStore)? != Replaced::Stale {
                            met.record = *record;
                            found = Some(held);
                            shown(&met.record)
                        } else {
                            Verdict::Look
                        }
                    }
                }
            }
            Verdict::Refuse(Refusal::CredentialsChanged(status)) => {
                let vouched = probe::vouch(proxy, keyed, request, policy, &attempt);
                match Box::pin(vouched).await {
                    Vouched::Yes => shown(&met.record),
                    Vouched::No => Verdict::Refuse(Refusal::CredentialsChanged(status)),
                    Vouched::Asking => return Err(Denied::Refused(problem::vouched(keyed.id))),
                }
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Mine => return Ok(claim(met.record, since, false, slot)),
            Verdict::Replay => return Ok(Acquired::Replay(Box::new(met.record), found)),
            Verdict::Refuse(Refusal::InProgress)
                if policy.in_flight == Meanwhile::Wait && met.is_running() =>
            {
                let refused = || {
                    let refusal = problem::refusal(Refusal::InProgress, keyed.id, &met);
                    Denied::Refused(refusal)
                };
                if attempt.payload == Payload::Streamed {
                    // The first body has no fingerprint yet. When it has, this one is compared, and it cannot be kept for so long.
                    let consumed = received.consume(request, policy, &proxy.secret);
                    let consumed = tokio::time::timeout(policy.wait_timeout, consumed).await;
                    let consumed = consumed.map_err(|_| refused())?;
                    attempt.payload = Payload::Consumed(consumed.map_err(Denied::Refused)?);
                }
                if attempt.verified == Verified::Untold {
                    // While it waits it has no head any more to find out by.
                    attempt.verified = scope::verified(&request.headers, proxy.jwt.as_deref());
                }
                // Not before its body went by: slow uploads keep no places from those who only wait.
                let place = proxy.waiters.place().ok_or_else(refused)?;
                return Ok(Acquired::Wait(place, Box::new(attempt)));
            }
            Verdict::Refuse(refusal) => {
                return Err(Denied::Refused(problem::refusal(refusal, keyed.id, &met)));
            }
            Verdict::Claim(expect) => {
                let record = attempt.claim_over(&met.record);
                let taken_over = !matches!(expect, Expect::Released(_));
                let since = Instant::now();
                let at_store = trail.at_store();
                let replaced = records.replace(keyed.id, expect, &record).await;
                drop(at_store);
                match replaced {
                    Ok(Replaced::Applied | Replaced::Restored) => {
                        return Ok(claim(record, since, taken_over, slot));
                    }
                    Ok(Replaced::Stale) => {
                        let _at_store = trail.at_store();
                        seen = records.look(keyed.id).await.map_err(Denied::NoStore)?;
                    }
                    Err(error) => {
                        return Err(give_up(
                            LostClaim {
                                id: keyed.id,
                                record,
                                expect: Some(expect),
                                seen_before: true,
                                slot,
                            },
                            records,
                            policy,
                            error,
                        ));
                    }
                }
            }
            Verdict::Look | Verdict::Hash | Verdict::Verify | Verdict::Probe(_) => {
                let _at_store = trail.at_store();
                seen = records.look(keyed.id).await.map_err(Denied::NoStore)?;
            }
        }
    }
    Err(Denied::Refused(problem::in_progress(
        keyed.id,
        State::InFlight,
    )))
}

/// After a claim that the store may have taken without our knowing: asks for it again in the background, and frees the key
/// if it is ours. Until that is acknowledged a late arrival could still lock the key against everyone, us included.
fn give_up<S: Store>(
    lost: LostClaim,
    records: &Arc<Records<S>>,
    policy: &Policy,
    error: StoreError,
) -> Denied {
    let forwarded =
        !lost.seen_before && !error.is_unreadable() && policy.store_error == StoreFailure::Forward;
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
        records.give_up(lost, policy.terms(), outcome);
    }
    if forwarded {
        Denied::Unguarded(error)
    } else {
        Denied::NoStore(error)
    }
}
