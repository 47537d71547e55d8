//! Every row of the two tables of a key's life.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LEASE: Duration = Duration::from_secs(30);
const TERMS: Terms = Terms {
    lease: LEASE,
    retention: Duration::from_secs(100),
    failed_retention: Duration::from_secs(200),
    unknown_retention: Duration::from_secs(400),
};
const NOW: UnixMillis = UnixMillis(1_000);
const LATER: UnixMillis = UnixMillis(9_000);

pub(in crate::idempotency) fn attempt(of: u8) -> Attempt {
    Attempt {
        token: Token::from_bytes([of; 16]),
        terms: TERMS,
        now: NOW,
        payload: Payload::Whole(body(1)),
        credentials: Some([7; 16]),
        named: true,
        verified: Verified::No,
        origin: Origin::default(),
        trace: None,
    }
}

pub(in crate::idempotency) fn settled(of: u8, state: State) -> Record {
    end(&attempt(of).claim(), state)
}

fn end(claim: &Record, state: State) -> Record {
    let (status, error) = (Some(503), Some("why"));
    let outcome = match state {
        State::InFlight => return claim.clone(),
        State::Unknown => Outcome::Unknown { status, error },
        State::Released => Outcome::Released { status, error },
        State::Completed => Outcome::Completed {
            status: 201,
            response: Some(answer()),
        },
    };
    settle(claim.clone(), TERMS, outcome, None, LATER)
}

fn answer() -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: Default::default(),
        body: bytes::Bytes::from_static(b"\0\xffone"),
        trailers: Default::default(),
    }
}

fn body(of: u8) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add_digest("body", [of; 16]);
    fingerprint
}

fn with(payload: Payload) -> Attempt {
    Attempt {
        payload,
        ..attempt(2)
    }
}

fn meets(record: &Record, lapse: Lapse, attempt: &Attempt, in_doubt: UnknownOutcome) -> Verdict {
    let record = record.clone();
    let quiet = Some(Duration::ZERO);
    let seen = Seen {
        record,
        lapse,
        quiet,
    };
    decide(&seen, attempt, in_doubt, Duration::MAX)
}

/// What the same request finds, under `reject` and under `retry`.
fn finds(record: &Record, lapse: Lapse) -> [Verdict; 2] {
    [UnknownOutcome::Reject, UnknownOutcome::Retry]
        .map(|policy| meets(record, lapse, &attempt(2), policy))
}

fn refused(refusal: Refusal) -> [Verdict; 2] {
    [0; 2].map(|_| Verdict::Refuse(refusal.clone()))
}

const FIRST: Token = Token::from_bytes([1; 16]);

#[test]
fn a_bid_is_for_the_claim_and_gives_the_whole_attempt_back() {
    let payloads = [
        Payload::Whole(body(1)),
        Payload::Whole(Fingerprint::default()),
        Payload::Streamed,
        Payload::Consumed(body(1)),
    ];
    for payload in payloads {
        let attempt = Attempt {
            origin: Origin::new("orders", "POST", "/orders", [5; 16]),
            ..with(payload)
        };
        let bid = attempt.clone().bid();
        assert_eq!(*bid.claim(), attempt.claim());
        assert_eq!(*bid.clone().won(), attempt.claim());
        assert_eq!(format!("{:?}", bid.lost()), format!("{attempt:?}"));
    }
}

// What is found in the store.

#[test]
fn a_key_of_which_nothing_is_known_is_claimed_for_its_unknown_retention() {
    let claim = attempt(1).claim();
    assert_eq!((claim.state, claim.attempts), (State::InFlight, 1));
    assert_eq!((claim.ttl, claim.lease), (TERMS.unknown_retention, LEASE));
    assert_eq!(claim.fingerprint, Some(body(1)));
    assert!(!claim.in_doubt);
    assert_eq!((claim.settled, claim.expires), (None, None));
}

#[test]
fn a_released_record_is_claimed_over_by_its_name_whatever_the_body() {
    let record = settled(1, State::Released);
    let whole = |of| Payload::Whole(body(of));
    for payload in [whole(1), whole(2), Payload::Streamed] {
        for policy in [UnknownOutcome::Reject, UnknownOutcome::Retry] {
            assert_eq!(
                meets(&record, Lapse::Untold, &with(payload.clone()), policy),
                Verdict::Claim(Expect::Released(FIRST))
            );
        }
    }
}

#[test]
fn a_body_that_went_by_cannot_claim_any_more() {
    assert_eq!(
        meets(
            &settled(1, State::Released),
            Lapse::Live,
            &with(Payload::Consumed(body(1))),
            UnknownOutcome::Reject
        ),
        Verdict::Refuse(Refusal::InProgress)
    );
}

#[test]
fn in_flight_under_a_live_lease_is_in_progress() {
    let record = attempt(1).claim();
    assert_eq!(finds(&record, Lapse::Live), refused(Refusal::InProgress));
}

#[test]
fn in_flight_is_looked_at_again_until_the_store_tells_the_lease() {
    assert_eq!(
        finds(&attempt(1).claim(), Lapse::Untold),
        [Verdict::Look, Verdict::Look]
    );
}

#[test]
fn in_flight_with_its_lease_lapsed_is_unknown_or_taken_over() {
    assert_eq!(
        finds(&attempt(1).claim(), Lapse::Lapsed),
        [
            Verdict::Refuse(Refusal::OutcomeUnknown),
            Verdict::Claim(Expect::Lapsed(FIRST))
        ]
    );
}

#[test]
fn nothing_is_taken_over_before_the_store_was_watched_for_the_lease_of_the_record() {
    let seen = Seen {
        record: Record {
            lease: LEASE * 2,
            ..attempt(1).claim()
        },
        lapse: Lapse::Lapsed,
        quiet: None,
    };
    let after = |steady| decide(&seen, &attempt(2), UnknownOutcome::Retry, steady);
    assert_eq!(
        after(LEASE * 2 - Duration::from_millis(1)),
        Verdict::Refuse(Refusal::InProgress)
    );
    assert_eq!(after(LEASE * 2), Verdict::Claim(Expect::Lapsed(FIRST)));
}

#[test]
fn unknown_is_unknown_or_executed_again() {
    for lapse in [Lapse::Untold, Lapse::Live, Lapse::Lapsed] {
        assert_eq!(
            finds(&settled(1, State::Unknown), lapse),
            [
                Verdict::Refuse(Refusal::OutcomeUnknown),
                Verdict::Claim(Expect::Unknown(FIRST))
            ]
        );
    }
}

#[test]
fn in_doubt_without_a_fingerprint_on_either_side_is_never_executed_again() {
    let streamed = with(Payload::Streamed).claim();
    let consumed = with(Payload::Consumed(body(1)));
    let bare = Record {
        token: FIRST,
        ..streamed
    };
    for record in [bare.clone(), end(&bare, State::Unknown)] {
        for attempt in [attempt(2), with(Payload::Streamed), consumed.clone()] {
            assert_eq!(
                meets(&record, Lapse::Lapsed, &attempt, UnknownOutcome::Retry),
                Verdict::Refuse(Refusal::OutcomeUnknown)
            );
        }
    }
    for record in [attempt(1).claim(), settled(1, State::Unknown)] {
        assert_eq!(
            meets(&record, Lapse::Lapsed, &consumed, UnknownOutcome::Retry),
            Verdict::Refuse(Refusal::OutcomeUnknown)
        );
    }
}

#[test]
fn in_doubt_is_asked_about_where_the_policy_says_so() {
    let probes = |record: &Record, lapse, payload| {
        meets(record, lapse, &with(payload), UnknownOutcome::Probe)
    };
    let (flying, unknown) = (attempt(1).claim(), settled(1, State::Unknown));
    for payload in [Payload::Whole(body(1)), Payload::Consumed(body(1))] {
        let of = |record, lapse| probes(record, lapse, payload.clone());
        assert_eq!(
            of(&flying, Lapse::Lapsed),
            Verdict::Probe(Expect::Lapsed(FIRST))
        );
        assert_eq!(
            of(&unknown, Lapse::Live),
            Verdict::Probe(Expect::Unknown(FIRST))
        );
        // How long ago it was is part of what is asked.
        assert_eq!(of(&unknown, Lapse::Untold), Verdict::Look);
        assert_eq!(
            of(&flying, Lapse::Live),
            Verdict::Refuse(Refusal::InProgress)
        );
    }
    let other = probes(&unknown, Lapse::Live, Payload::Whole(body(2)));
    assert!(matches!(other, Verdict::Refuse(Refusal::KeyReused(_))));
    let bare = Record {
        fingerprint: None,
        ..unknown
    };
    assert_eq!(
        probes(&bare, Lapse::Live, Payload::Whole(body(1))),
        Verdict::Refuse(Refusal::OutcomeUnknown)
    );
    let seen = Seen {
        record: flying,
        lapse: Lapse::Lapsed,
        quiet: None,
    };
    assert_eq!(
        decide(
            &seen,
            &attempt(2),
            UnknownOutcome::Probe,
            LEASE - Duration::from_millis(1)
        ),
        Verdict::Refuse(Refusal::InProgress),
        "downtime is not lapse"
    );
}

#[test]
fn an_absence_is_believed_after_its_time_and_of_those_who_would_see() {
    let second = Duration::from_secs(1);
    let after = |quiet, attempt: &Attempt, verified| {
        let seen = Seen {
            record: settled(1, State::Unknown),
            lapse: Lapse::Live,
            quiet,
        };
        absent(&seen, attempt, 60 * second, Duration::MAX, verified)
    };
    let same = attempt(2);
    assert_eq!(after(Some(60 * second), &same, false), Absence::Believed);
    assert_eq!(
        after(Some(59 * second), &same, false),
        Absence::TooSoon(second)
    );
    assert_eq!(after(None, &same, false), Absence::Nothing);
    let other = Attempt {
        credentials: Some([8; 16]),
        ..attempt(2)
    };
    assert_eq!(after(Some(60 * second), &other, false), Absence::Nothing);
    assert_eq!(after(Some(60 * second), &other, true), Absence::Believed);
    let gone = with(Payload::Consumed(body(1)));
    assert_eq!(after(Some(60 * second), &gone, true), Absence::Nothing);
}

#[test]
fn an_absence_is_believed_only_of_a_store_that_was_watched_for_as_long() {
    let second = Duration::from_secs(1);
    let of = |state, lapse, after, quiet, steady| {
        let seen = Seen {
            record: settled(1, state),
            lapse,
            quiet: Some(quiet * second),
        };
        absent(&seen, &attempt(2), after * second, steady * second, false)
    };
    let left = |seconds| Absence::TooSoon(seconds * second);
    for (state, lapse) in [
        (State::Unknown, Lapse::Live),
        (State::InFlight, Lapse::Lapsed),
    ] {
        let of = |after, quiet, steady| of(state, lapse, after, quiet, steady);
        // The clock of another server wrote when it was heard of last.
        assert_eq!(of(60, 3_600, 59), left(1));
        assert_eq!(of(60, 3_600, 60), Absence::Believed);
        assert_eq!(of(60, 59, 3_600), left(1));
        // Whoever took over meanwhile renews within a lease of 30 s.
        assert_eq!(of(0, 3_600, 29), left(1));
        assert_eq!(of(0, 0, 30), Absence::Believed);
        assert_eq!(of(0, 0, 0), left(30));
    }
}

#[test]
fn what_the_upstream_knows_of_is_completed_under_a_token_and_credentials_of_its_own() {
    let unknown = settled(1, State::Unknown);
    let other = Attempt {
        credentials: Some([8; 16]),
        ..attempt(2)
    };
    let record = found(&unknown, &other, 200, None, LATER);
    assert_eq!(
        (record.state, record.token),
        (State::Completed, other.token)
    );
    assert_eq!(record.credentials, other.credentials);
    assert_eq!(record.fingerprint, unknown.fingerprint);
    assert_eq!(
        (record.ttl, record.status, record.error),
        (TERMS.retention, Some(200), None)
    );
}

#[test]
fn a_rule_keeps_what_ends_by_it_and_nothing_else() {
    let minute = Some(Duration::from_secs(60));
    let released = Outcome::Released {
        status: Some(409),
        error: None,
    };
    let terms = TERMS.keeping(&released, minute);
    let claim = attempt(1).claim();
    let ends = |claim: &Record| settle(claim.clone(), terms, released.clone(), None, LATER);
    assert_eq!(ends(&claim).ttl, Duration::from_secs(60));
    // In doubt it is unknown, and kept as such.
    let doubtful = Record {
        in_doubt: true,
        ..claim
    };
    assert_eq!(ends(&doubtful).ttl, TERMS.unknown_retention);
    assert_eq!(TERMS.keeping(&released, None), TERMS);
}

#[test]
fn completed_is_replayed() {
    for lapse in [Lapse::Untold, Lapse::Live] {
        assert_eq!(
            finds(&settled(1, State::Completed), lapse),
            [Verdict::Replay, Verdict::Replay]
        );
    }
}

#[test]
fn completed_under_other_credentials_is_refused_with_its_status() {
    for credentials in [None, Some([8; 16])] {
        let record = Record {
            credentials,
            ..settled(1, State::Completed)
        };
        assert_eq!(
            finds(&record, Lapse::Untold),
            refused(Refusal::CredentialsChanged(Some(201)))
        );
    }
}

#[test]
fn credentials_that_name_nobody_are_not_compared_for_a_stored_answer() {
    for credentials in [None, Some([8; 16])] {
        let attempt = Attempt {
            credentials,
            named: false,
            verified: Verified::Untold,
            ..attempt(2)
        };
        assert_eq!(
            meets(
                &settled(1, State::Completed),
                Lapse::Untold,
                &attempt,
                UnknownOutcome::Reject
            ),
            Verdict::Replay
        );
        // What they see of an operation is another matter.
        let seen = Seen {
            record: settled(1, State::Unknown),
            lapse: Lapse::Live,
            quiet: Some(Duration::MAX),
        };
        assert_eq!(
            absent(&seen, &attempt, Duration::ZERO, Duration::MAX, false),
            Absence::Nothing
        );
    }
}

#[test]
fn completed_under_other_credentials_is_shown_to_those_that_were_verified() {
    let with = |verified| Attempt {
        verified,
        ..attempt(2)
    };
    let meets = |record: &Record, verified| {
        meets(
            record,
            Lapse::Untold,
            &with(verified),
            UnknownOutcome::Retry,
        )
    };
    let theirs = Record {
        // Of whom does not matter: whoever made it may have made its credentials up.
        credentials: Some([8; 16]),
        ..settled(1, State::Completed)
    };
    assert_eq!(meets(&theirs, Verified::Untold), Verdict::Verify);
    assert_eq!(meets(&theirs, Verified::Yes), Verdict::Replay);
    assert_eq!(
        meets(&theirs, Verified::No),
        Verdict::Refuse(Refusal::CredentialsChanged(Some(201)))
    );
    let without = Record {
        response: None,
        ..theirs.clone()
    };
    assert_eq!(
        meets(&without, Verified::Yes),
        Verdict::Refuse(Refusal::ResponseNotStored(Some(201)))
    );
    // Nobody looks where it changes nothing.
    let own = settled(1, State::Completed);
    for verified in [Verified::Untold, Verified::Yes, Verified::No] {
        assert_eq!(meets(&own, verified), Verdict::Replay);
    }
    for state in [State::InFlight, State::Unknown, State::Released] {
        let theirs = Record {
            credentials: Some([8; 16]),
            ..settled(1, state)
        };
        assert_eq!(
            meets(&theirs, Verified::Untold),
            meets(&theirs, Verified::Yes)
        );
    }
}

#[test]
fn another_body_is_a_key_used_twice_whoever_was_verified() {
    let theirs = Record {
        credentials: Some([8; 16]),
        ..settled(1, State::Completed)
    };
    for verified in [Verified::Untold, Verified::Yes, Verified::No] {
        let attempt = Attempt {
            verified,
            ..with(Payload::Whole(body(2)))
        };
        assert_eq!(
            meets(&theirs, Lapse::Untold, &attempt, UnknownOutcome::Reject),
            Verdict::Refuse(Refusal::KeyReused(vec!["body".to_owned()]))
        );
    }
}

#[test]
fn completed_without_its_answer_is_refused_with_its_status() {
    let record = Record {
        response: None,
        ..settled(1, State::Completed)
    };
    assert_eq!(
        finds(&record, Lapse::Untold),
        refused(Refusal::ResponseNotStored(Some(201)))
    );
}

#[test]
fn another_body_is_a_key_used_twice_unless_the_record_is_released() {
    let reused = Verdict::Refuse(Refusal::KeyReused(vec!["body".to_owned()]));
    for state in [State::InFlight, State::Unknown, State::Completed] {
        for lapse in [Lapse::Untold, Lapse::Live, Lapse::Lapsed] {
            for payload in [Payload::Whole(body(2)), Payload::Consumed(body(2))] {
                for policy in [UnknownOutcome::Reject, UnknownOutcome::Retry] {
                    assert_eq!(
                        meets(&settled(1, state), lapse, &with(payload.clone()), policy),
                        reused
                    );
                }
            }
        }
    }
}

#[test]
fn a_streamed_body_is_hashed_before_anything_is_said_of_it() {
    for state in [State::InFlight, State::Unknown, State::Completed] {
        assert_eq!(
            meets(
                &settled(1, state),
                Lapse::Live,
                &with(Payload::Streamed),
                UnknownOutcome::Retry
            ),
            Verdict::Hash
        );
    }
}

#[test]
fn a_record_without_a_fingerprint_is_believed_by_everyone() {
    let record = Record {
        fingerprint: None,
        ..settled(1, State::Completed)
    };
    for payload in [Payload::Whole(body(2)), Payload::Streamed] {
        assert_eq!(
            meets(&record, Lapse::Live, &with(payload), UnknownOutcome::Reject),
            Verdict::Replay
        );
    }
}

#[test]
fn its_own_claim_is_its_own_however_late_it_hears_of_it() {
    for lapse in [Lapse::Untold, Lapse::Live, Lapse::Lapsed] {
        assert_eq!(
            finds(&attempt(2).claim(), lapse),
            [Verdict::Mine, Verdict::Mine]
        );
    }
}

#[test]
fn its_own_claim_that_was_settled_meanwhile_is_not_executed() {
    for state in [State::Unknown, State::Released, State::Completed] {
        assert_eq!(
            finds(&settled(2, state), Lapse::Live),
            refused(Refusal::InProgress)
        );
    }
}

// What settles a claim.

#[test]
fn an_answer_that_is_stored_completes_the_claim_with_it() {
    let record = settled(1, State::Completed);
    assert_eq!(record.state, State::Completed);
    assert_eq!(
        (record.status, record.response),
        (Some(201), Some(answer()))
    );
    assert_eq!(record.ttl, TERMS.retention);
    assert_eq!(record.settled, Some(LATER));
    assert_eq!(record.expires, Some(UnixMillis(109_000)));
    assert_eq!(
        (record.token, record.created, record.error),
        (FIRST, NOW, None)
    );
}

#[test]
fn an_answer_too_large_completes_the_claim_without_it() {
    let outcome = Outcome::Completed {
        status: 201,
        response: None,
    };
    let record = settle(attempt(1).claim(), TERMS, outcome, None, LATER);
    assert_eq!((record.state, record.status), (State::Completed, Some(201)));
    assert_eq!(record.response, None);
}

#[test]
fn what_was_not_carried_out_is_released_and_says_why() {
    let record = settled(1, State::Released);
    assert_eq!(record.state, State::Released);
    assert_eq!(record.ttl, TERMS.failed_retention);
    assert_eq!(
        (record.status, record.error.as_deref()),
        (Some(503), Some("why"))
    );
    assert_eq!((record.settled, record.expires), (Some(LATER), None));
}

#[test]
fn what_nobody_knows_is_unknown_for_its_own_retention() {
    let record = settled(1, State::Unknown);
    assert_eq!(record.state, State::Unknown);
    assert_eq!(record.ttl, TERMS.unknown_retention);
    assert_eq!(
        (record.status, record.error.as_deref()),
        (Some(503), Some("why"))
    );
    assert_eq!((record.settled, record.expires), (Some(LATER), None));
}

#[test]
fn a_streamed_body_gets_its_fingerprint_when_it_went_by_and_keeps_the_first() {
    let late = |claim: &Record, fingerprint| {
        let outcome = Outcome::Unknown {
            status: None,
            error: None,
        };
        settle(claim.clone(), TERMS, outcome, fingerprint, LATER).fingerprint
    };
    let streamed = with(Payload::Streamed).claim();
    assert_eq!(late(&streamed, Some(body(3))), Some(body(3)));
    assert_eq!(late(&streamed, None), None);
    assert_eq!(late(&attempt(1).claim(), Some(body(3))), Some(body(1)));
}

#[test]
fn a_claim_over_another_counts_on_and_keeps_what_operators_want_to_know() {
    let earlier = settled(1, State::Released);
    let claim = attempt(2).claim_over(&earlier);
    assert_eq!((claim.state, claim.attempts), (State::InFlight, 2));
    assert_eq!(claim.token, Token::from_bytes([2; 16]));
    assert_eq!((claim.created, claim.status), (earlier.created, Some(503)));
    assert_eq!(claim.error.as_deref(), Some("why"));
    assert_eq!((claim.ttl, claim.response), (TERMS.unknown_retention, None));
}

#[test]
fn an_attempt_that_took_over_cannot_say_that_the_one_before_was_not_carried_out() {
    for state in [State::InFlight, State::Unknown] {
        let claim = attempt(2).claim_over(&settled(1, state));
        assert!(claim.in_doubt);
        let released = end(&claim, State::Released);
        assert_eq!(released.state, State::Unknown);
        assert_eq!(released.ttl, TERMS.unknown_retention);
        assert!(attempt(3).claim_over(&released).in_doubt);
        assert_eq!(end(&claim, State::Completed).state, State::Completed);
    }
    let claim = attempt(2).claim_over(&settled(1, State::Released));
    assert!(!claim.in_doubt);
    assert_eq!(end(&claim, State::Released).state, State::Released);
}

fn states() -> impl Strategy<Value = State> {
    prop::sample::select(vec![
        State::InFlight,
        State::Unknown,
        State::Released,
        State::Completed,
    ])
}

proptest! {
    #[test]
    fn a_claim_names_what_it_saw_and_only_what_policy_and_store_allow(
        state in states(), streamed: bool, retry: bool, steady in 0..60_u64, other: bool,
        lapse in prop::sample::select(vec![Lapse::Untold, Lapse::Live, Lapse::Lapsed]),
    ) {
        let payload = if streamed { Payload::Streamed } else { Payload::Whole(body(1 + u8::from(other))) };
        let policy = if retry { UnknownOutcome::Retry } else { UnknownOutcome::Reject };
        let steady = Duration::from_secs(steady);
        let seen = Seen { record: settled(1, state), lapse, quiet: None };
        match decide(&seen, &with(payload), policy, steady) {
            Verdict::Claim(Expect::Released(token)) => prop_assert_eq!((token, state), (FIRST, State::Released)),
            Verdict::Claim(Expect::Unknown(token)) => {
                prop_assert_eq!((token, state), (FIRST, State::Unknown));
                prop_assert!(retry && !streamed && !other);
            }
            Verdict::Claim(Expect::Lapsed(token)) => {
                prop_assert_eq!((token, state, lapse), (FIRST, State::InFlight, Lapse::Lapsed));
                prop_assert!(retry && !streamed && !other && steady >= LEASE);
            }
            Verdict::Claim(Expect::Held(_) | Expect::Shown(..)) | Verdict::Mine | Verdict::Probe(_) => prop_assert!(false, "not its own"),
            Verdict::Verify => prop_assert!(false, "its credentials are the record's"),
            Verdict::Replay => prop_assert_eq!(state, State::Completed),
            Verdict::Look => prop_assert_eq!((state, lapse), (State::InFlight, Lapse::Untold)),
            Verdict::Hash => prop_assert!(streamed),
            Verdict::Refuse(_) => prop_assert_ne!(state, State::Released),
        }
    }
}
