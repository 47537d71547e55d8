//! Every row of the table of orders, and what holds after each of them.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::idempotency::expect::{Ruling, Standing, may_renew};
use crate::idempotency::transition::tests::{attempt, settled};
use crate::idempotency::{Refusal, Trace, UnknownOutcome, Verdict, decide};

const STATES: [State; 4] = [
    State::InFlight,
    State::Unknown,
    State::Released,
    State::Completed,
];
const LAPSES: [Lapse; 3] = [Lapse::Untold, Lapse::Live, Lapse::Lapsed];
const NOW: UnixMillis = UnixMillis(50_000);
const NEW: Token = Token::from_bytes([9; 16]);
const TRACE: Trace = Trace {
    trace_id: [3; 16],
    span_id: [4; 8],
};
const FIRST: Token = Token::from_bytes([1; 16]);

fn terms() -> Terms {
    attempt(1).terms
}

fn answer() -> StoredResponse {
    StoredResponse {
        status: 202,
        headers: [("a", "b")].into_iter().collect(),
        body: "by hand".into(),
        trailers: Default::default(),
    }
}

fn orders() -> [Order; 5] {
    [
        Order::Release,
        Order::Delete,
        Order::Executed(Some(answer())),
        Order::Executed(None),
        Order::NotExecuted,
    ]
}

fn seen(state: State, lapse: Lapse) -> Seen {
    Seen {
        record: settled(1, state),
        lapse,
        quiet: None,
    }
}

/// A record as it may have come to be, of an operator's view.
fn any_seen() -> impl Strategy<Value = Seen> {
    let parts = (
        prop::sample::select(STATES.to_vec()),
        prop::sample::select(LAPSES.to_vec()),
        (any::<u32>(), any::<bool>(), 0..1_000_000u64),
    );
    parts.prop_map(|(state, lapse, (attempts, in_doubt, ttl))| {
        let mut seen = seen(state, lapse);
        seen.record.attempts = attempts;
        seen.record.in_doubt = in_doubt;
        seen.record.ttl = Duration::from_millis(ttl);
        seen.record.origin = Origin::new("people", "POST", "/people/ada", [5; 16]);
        seen.record.trace = Some(TRACE);
        seen
    })
}

fn any_order() -> impl Strategy<Value = Order> {
    prop::sample::select(orders().to_vec())
}

fn order(
    seen: &Seen,
    steady: Duration,
    order: Order,
    force: bool,
) -> Result<(Expect, Record), Refused> {
    ordered(Some(seen), steady, order, force, NEW, terms(), NOW)
}

#[test]
fn each_order_is_carried_out_where_the_table_says() {
    let watched = Duration::MAX;
    let shown = |state| Ok(Expect::Shown(FIRST, state));
    for order_given in orders() {
        for force in [false, true] {
            let outcome = |seen: &Seen, steady| {
                order(seen, steady, order_given.clone(), force).map(|(expect, _)| expect)
            };
            let unless_forced = |state, refused| if force { shown(state) } else { Err(refused) };
            let case = format!("{order_given:?}, force {force}");
            for lapse in [Lapse::Live, Lapse::Untold] {
                assert_eq!(
                    outcome(&seen(State::InFlight, lapse), watched),
                    unless_forced(State::InFlight, Refused::LeaseLive),
                    "{case}"
                );
            }
            let lapsed = seen(State::InFlight, Lapse::Lapsed);
            let lease = terms().lease;
            let short = lease - Duration::from_secs(4);
            assert_eq!(
                outcome(&lapsed, short),
                unless_forced(State::InFlight, Refused::Unwatched(Duration::from_secs(4))),
                "{case}"
            );
            for steady in [lease, watched] {
                let expected = if force {
                    Expect::Shown(FIRST, State::InFlight)
                } else {
                    Expect::Lapsed(FIRST)
                };
                assert_eq!(outcome(&lapsed, steady), Ok(expected), "{case}");
            }
            let unknown = outcome(&seen(State::Unknown, Lapse::Live), Duration::ZERO);
            assert_eq!(unknown, shown(State::Unknown), "{case}");

            let released = outcome(&seen(State::Released, Lapse::Live), watched);
            let completed = outcome(&seen(State::Completed, Lapse::Live), watched);
            let settled = |state| unless_forced(state, Refused::AlreadySettled(state));
            let (on_released, on_completed) = match order_given {
                Order::Delete => (shown(State::Released), shown(State::Completed)),
                Order::Executed(_) => (settled(State::Released), settled(State::Completed)),
                Order::Release | Order::NotExecuted => {
                    (Err(Refused::AlreadyReleased), settled(State::Completed))
                }
            };
            assert_eq!(released, on_released, "{case}");
            assert_eq!(completed, on_completed, "{case}");
        }
    }
}

#[test]
fn where_nothing_is_there_is_nothing_to_order() {
    for order in orders() {
        for force in [false, true] {
            let refused = ordered(None, Duration::MAX, order.clone(), force, NEW, terms(), NOW);
            assert_eq!(refused, Err(Refused::NothingThere));
        }
    }
}

#[test]
fn duplicates_get_what_the_operator_said() {
    for state in STATES {
        for order_given in orders() {
            let Ok((_, record)) = order(
                &seen(state, Lapse::Live),
                Duration::MAX,
                order_given.clone(),
                true,
            ) else {
                continue;
            };
            let first_status = settled(1, state).status;
            let meets = Seen {
                record,
                lapse: Lapse::Live,
                quiet: None,
            };
            for policy in [UnknownOutcome::Reject, UnknownOutcome::Retry] {
                let verdict = decide(&meets, &attempt(2), policy, Duration::MAX);
                let expected = match &order_given {
                    Order::Executed(Some(_)) => Verdict::Replay,
                    Order::Executed(None) => {
                        Verdict::Refuse(Refusal::ResponseNotStored(first_status))
                    }
                    _ => Verdict::Claim(Expect::Released(NEW)),
                };
                assert_eq!(verdict, expected, "{order_given:?} on {state:?}");
            }
        }
    }
}

#[test]
fn an_answer_of_the_operators_comes_with_its_status_and_its_end() {
    let mut unknown = seen(State::Unknown, Lapse::Live);
    unknown.record.ttl = Duration::from_secs(1);
    let executed = Order::Executed(Some(answer()));
    let (_, record) = order(&unknown, Duration::MAX, executed, false).unwrap();
    assert_eq!((record.state, record.status), (State::Completed, Some(202)));
    assert_eq!(record.response, Some(answer()));
    assert_eq!(record.ttl, terms().retention);
    assert_eq!(record.expires, Some(NOW.after(terms().retention)));
}

#[test]
fn what_is_deleted_is_forgotten_and_what_is_released_is_not() {
    let mut shown = seen(State::Completed, Lapse::Live);
    shown.record.origin = Origin::new("people", "POST", "/people/ada", [5; 16]);
    shown.record.trace = Some(TRACE);
    let (_, released) = order(&shown, Duration::MAX, Order::Release, true).unwrap();
    assert_eq!(released.origin, shown.record.origin);
    assert_eq!(released.fingerprint, shown.record.fingerprint);
    assert_eq!(released.status, shown.record.status);
    assert_eq!(released.response, None);
    let (_, deleted) = order(&shown, Duration::MAX, Order::Delete, false).unwrap();
    let forgotten = Origin::new("people", "POST", "", [0; 16]);
    assert_eq!(deleted.origin, forgotten);
    assert_eq!((deleted.fingerprint, deleted.credentials), (None, None));
    assert_eq!(deleted.trace, None);
    assert_eq!((deleted.status, deleted.response), (None, None));
    assert_eq!(deleted.state, State::Released);
}

proptest! {
    #[test]
    fn force_carries_out_what_yields_to_it_and_nothing_else(
        seen in any_seen(), given in any_order(), steady in 0..100u64,
    ) {
        let steady = Duration::from_secs(steady);
        let (plain, forced) = (order(&seen, steady, given.clone(), false), order(&seen, steady, given, true));
        match plain {
            Ok((_, record)) => prop_assert_eq!(record, forced.unwrap().1),
            Err(refused) => prop_assert_eq!(refused.yields_to_force(), forced.is_ok()),
        }
    }

    #[test]
    fn who_held_it_can_neither_settle_nor_renew(seen in any_seen(), given in any_order()) {
        if let Ok((expect, record)) = order(&seen, Duration::MAX, given, true) {
            let before = Standing { token: FIRST, state: seen.record.state, lapsed: seen.lapse == Lapse::Lapsed };
            prop_assert_eq!(expect.rule(Some(before), &record), Ruling::Write);
            let after = Standing { token: record.token, state: record.state, lapsed: false };
            for end in &STATES[1..] {
                prop_assert_eq!(Expect::Held(FIRST).rule(Some(after), &settled(1, *end)), Ruling::Stale);
            }
            prop_assert!(!may_renew(Some(after), FIRST));
            prop_assert_eq!(expect.rule(Some(after), &record), Ruling::Stands, "sent again");
        }
    }

    #[test]
    fn who_held_it_finds_a_record_for_as_long_as_its_claim_would_have_stood(
        seen in any_seen(), given in prop::collection::vec(any_order(), 1..4),
    ) {
        let held = seen.record.ttl;
        let mut seen = seen;
        for given in given {
            if let Ok((_, record)) = order(&seen, Duration::MAX, given, true) {
                prop_assert!(record.ttl >= held);
                seen.record = record;
            }
        }
    }

    #[test]
    fn an_order_on_what_changed_since_it_was_shown_writes_nothing(
        seen in any_seen(), given in any_order(), force: bool,
        token in 1..4u8, state in prop::sample::select(STATES.to_vec()), lapsed: bool,
    ) {
        if let Ok((expect, record)) = order(&seen, Duration::MAX, given, force) {
            prop_assert_eq!(expect.rule(None, &record), Ruling::Stale, "what is gone is not restored");
            let now = Standing { token: Token::from_bytes([token; 16]), state, lapsed };
            let as_shown = now.token == FIRST && state == seen.record.state;
            let met = as_shown && (force || state != State::InFlight || lapsed);
            let ruling = expect.rule(Some(now), &record);
            prop_assert_eq!(ruling, if met { Ruling::Write } else { Ruling::Stale });
        }
    }

    #[test]
    fn what_an_order_does_not_speak_of_stays_and_it_says_who_did_it(seen in any_seen(), given in any_order()) {
        let deletes = given == Order::Delete;
        if let Ok((_, record)) = order(&seen, Duration::MAX, given, true) {
            let before = &seen.record;
            prop_assert_eq!((record.attempts, record.created, record.lease), (before.attempts, before.created, before.lease));
            prop_assert_eq!((record.token, record.settled), (NEW, Some(NOW)));
            prop_assert!(record.error.as_ref().is_some_and(|error| error.ends_with("by an operator")));
            prop_assert_eq!(record.origin.route(), before.origin.route());
            if !deletes {
                prop_assert_eq!((&record.origin, &record.fingerprint), (&before.origin, &before.fingerprint));
                prop_assert_eq!((record.credentials, record.trace), (before.credentials, before.trace));
            }
            match record.state {
                State::Released => {
                    prop_assert!(record.response.is_none() && record.expires.is_none());
                    prop_assert!(record.ttl >= terms().failed_retention);
                }
                _ => {
                    prop_assert_eq!(record.state, State::Completed);
                    prop_assert!(record.ttl >= terms().retention);
                    prop_assert_eq!(record.expires, Some(NOW.after(record.ttl)));
                }
            }
            prop_assert!(!record.in_doubt, "the operator says what is so");
        }
    }
}

#[test]
fn an_operators_word_over_a_claim_is_known_from_that_of_others() {
    let claim = settled(1, State::InFlight);
    let over = |claim: &Record, order: Order| {
        let seen = Seen {
            record: claim.clone(),
            lapse: Lapse::Live,
            quiet: None,
        };
        let (_, record) =
            ordered(Some(&seen), Duration::ZERO, order, true, NEW, terms(), NOW).unwrap();
        record
    };
    assert!(!overruled(&claim, &claim));
    for order in orders() {
        let record = over(&claim, order.clone());
        assert!(overruled(&claim, &record), "{order:?}");
        // The next attempt keeps the word until it is settled.
        let next = attempt(2).claim_over(&record);
        assert!(!overruled(&claim, &next), "{order:?}");
        // An operator settled an attempt that had taken over, or one after the record was lost.
        let taken = attempt(2).claim_over(&claim);
        assert!(!overruled(&claim, &over(&taken, order.clone())));
        let mut anew = attempt(2).claim();
        anew.created = UnixMillis(claim.created.0 + 1);
        assert!(!overruled(&claim, &over(&anew, order)));
    }
}
