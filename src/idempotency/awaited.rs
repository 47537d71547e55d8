//! What a duplicate that waits does about what it sees.

use std::time::Duration;

use super::record::State;
use super::transition::{Attempt, Lapse, Refusal, Seen, UnknownOutcome, Verdict, decide};

/// What a duplicate that waits does about what it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The first request is still running: wait on.
    Running,
    /// Answer from the record.
    Replay,
    /// Answer with a refusal.
    Refuse(Refusal),
}

/// Decides what a duplicate that waits does about what it sees; nothing is there where the record is gone.
///
/// It reads and never writes. Where [`decide`] would claim, take over or probe it is refused as in progress, and does so
/// at its next try: else all that waited for one key would rush for it at once.
pub fn awaited(seen: Option<&Seen>, attempt: &Attempt, in_doubt: UnknownOutcome) -> Awaited {
    let Some(seen) = seen else {
        return Awaited::Refuse(Refusal::InProgress);
    };
    match decide(seen, attempt, in_doubt, Duration::MAX) {
        Verdict::Replay => Awaited::Replay,
        Verdict::Refuse(Refusal::InProgress) if seen.is_running() => Awaited::Running,
        Verdict::Refuse(refusal) => Awaited::Refuse(refusal),
        Verdict::Mine
        | Verdict::Claim(_)
        | Verdict::Probe(_)
        | Verdict::Look
        | Verdict::Hash
        | Verdict::Verify => Awaited::Refuse(Refusal::InProgress),
    }
}

impl Seen {
    /// Whether somebody is at work on it, by a lease that is known to be live.
    pub fn is_running(&self) -> bool {
        self.record.state == State::InFlight && self.lapse == Lapse::Live
    }
}

#[cfg(test)]
mod tests {
    use super::super::transition::Payload;
    use super::super::transition::tests::{attempt, settled};
    use super::super::{Fingerprint, Record};
    use super::*;

    const POLICIES: [UnknownOutcome; 3] = [
        UnknownOutcome::Reject,
        UnknownOutcome::Retry,
        UnknownOutcome::Probe,
    ];

    fn sees(record: Record, lapse: Lapse, attempt: &Attempt, in_doubt: UnknownOutcome) -> Awaited {
        let seen = Seen {
            record,
            lapse,
            quiet: Some(Duration::ZERO),
        };
        awaited(Some(&seen), attempt, in_doubt)
    }

    /// What it does under `reject`, `retry` and `probe`.
    fn does(record: &Record, lapse: Lapse) -> [Awaited; 3] {
        POLICIES.map(|policy| sees(record.clone(), lapse, &attempt(2), policy))
    }

    fn refused(refusal: Refusal) -> Awaited {
        Awaited::Refuse(refusal)
    }

    #[test]
    fn it_waits_while_the_lease_is_live_whoever_holds_it() {
        for holder in [1, 3] {
            let claim = settled(holder, State::InFlight);
            assert_eq!(does(&claim, Lapse::Live), [0; 3].map(|_| Awaited::Running));
        }
    }

    #[test]
    fn it_replays_what_was_completed() {
        let completed = settled(1, State::Completed);
        assert_eq!(
            does(&completed, Lapse::Live),
            [0; 3].map(|_| Awaited::Replay)
        );
    }

    #[test]
    fn it_claims_nothing_that_was_released_or_is_gone() {
        let in_progress = refused(Refusal::InProgress);
        let released = settled(1, State::Released);
        assert_eq!(
            does(&released, Lapse::Live),
            [0; 3].map(|_| in_progress.clone())
        );
        for policy in POLICIES {
            assert_eq!(awaited(None, &attempt(2), policy), in_progress);
        }
    }

    #[test]
    fn what_is_unknown_or_lapsed_is_said_and_left_to_the_next_try_where_the_policy_goes_on() {
        let lapsed = (settled(1, State::InFlight), Lapse::Lapsed);
        let unknown = (settled(1, State::Unknown), Lapse::Live);
        for (record, lapse) in [lapsed, unknown] {
            let next_try = || refused(Refusal::InProgress);
            assert_eq!(
                does(&record, lapse),
                [refused(Refusal::OutcomeUnknown), next_try(), next_try()]
            );
        }
    }

    #[test]
    fn another_body_is_refused_whatever_became_of_the_first() {
        let mut other = attempt(2);
        let mut fingerprint = Fingerprint::default();
        fingerprint.add_digest("body", [9; 16]);
        other.payload = Payload::Consumed(fingerprint);
        for state in [State::InFlight, State::Completed, State::Unknown] {
            let saw = sees(
                settled(1, state),
                Lapse::Live,
                &other,
                UnknownOutcome::Retry,
            );
            assert_eq!(saw, refused(Refusal::KeyReused(vec!["body".to_owned()])));
        }
    }

    #[test]
    fn other_credentials_and_answers_that_were_not_kept_are_refused() {
        let mut other = attempt(2);
        other.credentials = Some([8; 16]);
        let completed = settled(1, State::Completed);
        let saw = sees(
            completed.clone(),
            Lapse::Live,
            &other,
            UnknownOutcome::Reject,
        );
        assert_eq!(saw, refused(Refusal::CredentialsChanged(Some(201))));
        let mut bare = completed;
        bare.response = None;
        let saw = sees(bare, Lapse::Live, &attempt(2), UnknownOutcome::Reject);
        assert_eq!(saw, refused(Refusal::ResponseNotStored(Some(201))));
    }
}
