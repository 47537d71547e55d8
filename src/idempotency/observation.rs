//! What enforcement would do with a request that is only observed.
//!
//! An observation keeps a record of its own beside those of enforcement ([`RecordId::observed`](super::RecordId::observed)) and plays the same life of a key
//! with it. It asks nobody but the store, and what it writes holds no answer.

use super::expect::Expect;
use super::record::{Record, StoredResponse};
use super::transition::{Refusal, Verdict};

/// What enforcement would do about the record that an observed request met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Execute it: claim over the record, expecting this; nothing where the claim is its own already.
    Executes(Option<Expect>),
    /// That shows at another look, which asks for the lease.
    Look,
    /// That shows when the body went by and is hashed.
    Hash,
    /// That shows when its credentials were looked at.
    Verify,
    /// Answer from the record.
    Replays,
    /// Answer with a refusal.
    Refuses(Refusal),
}

/// What enforcement would do, by what it decided. The upstream is asked nothing on account of an observation, so that an outcome that a
/// probe might have cleared up stays unknown.
pub fn observed(verdict: Verdict) -> Observed {
    match verdict {
        Verdict::Mine => Observed::Executes(None),
        Verdict::Claim(expect) => Observed::Executes(Some(expect)),
        Verdict::Look => Observed::Look,
        Verdict::Hash => Observed::Hash,
        Verdict::Verify => Observed::Verify,
        Verdict::Replay => Observed::Replays,
        Verdict::Probe(_) => Observed::Refuses(Refusal::OutcomeUnknown),
        Verdict::Refuse(refusal) => Observed::Refuses(refusal),
    }
}

/// What stands in an observed record for an answer that enforcement would have kept: its status, and nothing of what it said.
pub fn unsaid(status: u16) -> StoredResponse {
    StoredResponse {
        status,
        headers: Default::default(),
        body: bytes::Bytes::new(),
        trailers: Default::default(),
    }
}

/// The record of an observation, which says so to operators where it says what went wrong: no request that is enforced ever meets it.
#[must_use]
pub fn marked(mut record: Record) -> Record {
    if !is_marked(&record) {
        let error = record.error.take();
        record.error = Some(match error {
            None => MARK.to_owned(),
            Some(error) => format!("{MARK}: {error}"),
        });
    }
    record
}

/// Whether it says that it is the record of an observation.
pub fn is_marked(record: &Record) -> bool {
    let error = record.error.as_deref();
    error.is_some_and(|error| error.starts_with(MARK))
}

const MARK: &str = "only observed";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::idempotency::{
        Attempt, Fingerprint, Lapse, Origin, Outcome, Payload, Seen, Terms, Token, UnixMillis,
        UnknownOutcome, Verified, decide, settle,
    };

    fn attempt(token: u8, body: &str) -> Attempt {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add("body", body.as_bytes());
        let hour = Duration::from_secs(3_600);
        Attempt {
            token: Token::from_bytes([token; 16]),
            terms: Terms {
                lease: Duration::from_secs(30),
                retention: hour,
                failed_retention: hour,
                unknown_retention: hour,
            },
            now: UnixMillis(1),
            payload: Payload::Whole(fingerprint),
            credentials: None,
            named: false,
            verified: Verified::Untold,
            origin: Origin::default(),
            trace: None,
        }
    }

    /// What a second request finds after the first one, with this body, ended like this.
    fn after(
        outcome: Option<Outcome>,
        lapse: Lapse,
        body: &str,
        policy: UnknownOutcome,
    ) -> Observed {
        let first = attempt(1, "a");
        let record = match outcome {
            Some(outcome) => settle(first.claim(), first.terms, outcome, None, UnixMillis(2)),
            None => first.claim(),
        };
        let quiet = None;
        let seen = Seen {
            record,
            lapse,
            quiet,
        };
        observed(decide(&seen, &attempt(2, body), policy, Duration::MAX))
    }

    #[test]
    fn a_duplicate_is_seen_as_enforcement_would_treat_it() {
        let completed = |response| {
            Some(Outcome::Completed {
                status: 201,
                response,
            })
        };
        let (status, error) = (Some(500), None);
        let ended = |outcome, body| after(outcome, Lapse::Live, body, UnknownOutcome::Reject);
        assert_eq!(ended(completed(Some(unsaid(201))), "a"), Observed::Replays);
        assert_eq!(
            ended(completed(None), "a"),
            Observed::Refuses(Refusal::ResponseNotStored(Some(201)))
        );
        assert_eq!(
            ended(completed(Some(unsaid(201))), "b"),
            Observed::Refuses(Refusal::KeyReused(vec!["body".to_owned()]))
        );
        assert_eq!(ended(None, "a"), Observed::Refuses(Refusal::InProgress));
        let released = Some(Outcome::Released { status, error });
        assert!(matches!(
            ended(released, "b"),
            Observed::Executes(Some(Expect::Released(_)))
        ));
    }

    #[test]
    fn the_record_of_an_observation_says_so_once_and_what_went_wrong() {
        let mut record = crate::idempotency::sample::in_flight(1);
        assert!(!is_marked(&record));
        let claim = marked(marked(record.clone()));
        assert_eq!(claim.error.as_deref(), Some("only observed"));
        record.error = Some("lost".to_owned());
        let settled = marked(record);
        assert_eq!(settled.error.as_deref(), Some("only observed: lost"));
        assert!(is_marked(&claim) && is_marked(&settled));
    }

    #[test]
    fn an_unknown_outcome_stays_so_unless_the_policy_runs_it_again() {
        let (status, error) = (None, None);
        let unknown = || Some(Outcome::Unknown { status, error });
        for policy in [UnknownOutcome::Reject, UnknownOutcome::Probe] {
            for (outcome, lapse) in [(unknown(), Lapse::Live), (None, Lapse::Lapsed)] {
                assert_eq!(
                    after(outcome, lapse, "a", policy),
                    Observed::Refuses(Refusal::OutcomeUnknown)
                );
            }
        }
        assert!(matches!(
            after(unknown(), Lapse::Live, "a", UnknownOutcome::Retry),
            Observed::Executes(Some(Expect::Unknown(_)))
        ));
    }

    #[test]
    fn its_own_claim_is_known_again() {
        let first = attempt(1, "a");
        let seen = Seen {
            record: first.claim(),
            lapse: Lapse::Live,
            quiet: None,
        };
        let verdict = decide(&seen, &first, UnknownOutcome::Reject, Duration::MAX);
        assert_eq!(observed(verdict), Observed::Executes(None));
    }
}
