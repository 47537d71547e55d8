//! The rules that hold in every store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idemproxy::idempotency::expect::{Ruling, Standing};
use idemproxy::idempotency::{Expect, Lapse, Record, RecordId, State, Token};
use idemproxy::store::{Inserted, Replaced, Store};

pub(crate) use crate::listing::*;
use crate::records::*;

/// Makes every rule a test of the store that the function `$fresh` gives: `(store, guard)`, the guard being dropped last.
macro_rules! contract {
    ($fresh:path) => {
        $crate::contract::contract!($fresh:
            an_insert_where_nothing_is_creates,
            an_insert_meets_what_is_there_byte_for_byte,
            a_repeated_insert_meets_its_own_token,
            a_replace_does_what_its_expectation_rules,
            a_replace_that_stands_already_succeeds,
            a_settlement_restores_a_lost_record_and_says_so,
            only_its_own_token_renews_and_only_in_flight,
            a_lease_lapses_without_heartbeats_and_not_with_them,
            a_live_claim_is_not_taken_over,
            a_lapsed_claim_is_taken_over_once_by_fifty,
            a_holder_whose_claim_was_taken_over_settles_and_renews_nothing,
            a_claim_outlives_its_lease,
            a_record_is_gone_after_its_time_to_live,
            a_renewed_claim_outlives_its_first_time_to_live,
            two_hundred_inserts_of_an_id_create_once,
            two_ids_do_not_touch_each_other,
            a_large_answer_comes_back_whole,
            a_look_never_tells_of_more_quiet_than_there_was,
            a_page_holds_its_limit_and_no_id_is_told_twice,
            a_page_whose_time_is_up_tells_where_to_go_on,
            a_listing_tells_all_but_the_answer,
            a_lapsed_claim_is_listed_as_unknown_and_a_live_one_is_not,
            what_stands_is_found_once_while_others_come_and_go,
            a_listing_that_stands_still_holds_up_no_claim,
            an_order_is_written_over_the_record_that_was_shown_and_no_other,
            a_holder_neither_settles_nor_renews_after_an_order,
            without_force_a_claim_that_was_renewed_is_left_alone,
        );
    };
    ($fresh:path: $($rule:ident),* $(,)?) => {
        mod contract {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let (store, _guard) = $fresh().await;
                    let store = std::sync::Arc::new(store);
                    $crate::contract::$rule(std::sync::Arc::clone(&store)).await;
                }
            )*
        }
    };
}
pub(crate) use contract;

const STATES: [State; 4] = [
    State::InFlight,
    State::Unknown,
    State::Released,
    State::Completed,
];

pub(crate) async fn an_insert_where_nothing_is_creates(store: Arc<impl Store>) {
    let (id, claim) = (fresh_id(), claim());
    assert_eq!(store.look(id).await, Ok(None));
    create(&*store, id, &claim).await;
    let seen = store.look(id).await.unwrap().unwrap();
    assert_eq!((seen.record, seen.lapse), (claim, Lapse::Live));
}

pub(crate) async fn an_insert_meets_what_is_there_byte_for_byte(store: Arc<impl Store>) {
    let (id, first) = (fresh_id(), claim());
    create(&*store, id, &first).await;
    let body: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let answer = completed(&first, body);
    let settled = store.replace(id, Expect::Held(first.token), &answer).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    match store.insert(id, &claim()).await.unwrap() {
        Inserted::Occupied(seen) => assert_eq!(seen.record, answer),
        Inserted::Created => panic!("created over an answer"),
    }
    assert_eq!(store.look(id).await.unwrap().unwrap().record, answer);
}

pub(crate) async fn a_repeated_insert_meets_its_own_token(store: Arc<impl Store>) {
    let (id, claim) = (fresh_id(), claim());
    create(&*store, id, &claim).await;
    match store.insert(id, &claim).await.unwrap() {
        Inserted::Occupied(seen) => assert_eq!(seen.record.token, claim.token),
        Inserted::Created => panic!("created twice"),
    }
}

/// Every expectation against every state, under its own and another token, and against nothing.
pub(crate) async fn a_replace_does_what_its_expectation_rules(store: Arc<impl Store>) {
    let expectations: [fn(Token) -> Expect; 8] = [
        Expect::Released,
        Expect::Unknown,
        Expect::Lapsed,
        Expect::Held,
        |token| Expect::Shown(token, State::InFlight),
        |token| Expect::Shown(token, State::Unknown),
        |token| Expect::Shown(token, State::Released),
        |token| Expect::Shown(token, State::Completed),
    ];
    for expectation in expectations {
        for next_state in STATES {
            for own in [true, false] {
                for found in STATES.map(Some).into_iter().chain([None]) {
                    let current = Record {
                        state: found.unwrap_or(State::InFlight),
                        ..claim()
                    };
                    let expected = if own { current.token } else { fresh_token() };
                    rules(
                        &*store,
                        found.map(|_| &current),
                        expectation(expected),
                        next_state,
                    )
                    .await;
                }
            }
        }
    }
}

async fn rules(store: &impl Store, current: Option<&Record>, expect: Expect, next: State) {
    let id = fresh_id();
    if let Some(current) = current {
        create(store, id, current).await;
    }
    let next = settled(&claim(), next);
    let standing = current.map(|current| Standing {
        token: current.token,
        state: current.state,
        lapsed: false,
    });
    let (replaced, left) = match expect.rule(standing, &next) {
        Ruling::Write => (Replaced::Applied, Some(&next)),
        Ruling::Restore => (Replaced::Restored, Some(&next)),
        Ruling::Stands => (Replaced::Applied, current),
        Ruling::Stale => (Replaced::Stale, current),
    };
    let case = format!("{expect:?} on {standing:?}");
    assert_eq!(
        store.replace(id, expect, &next).await,
        Ok(replaced),
        "{case}"
    );
    let found = store.look(id).await.unwrap().map(|seen| seen.record);
    assert_eq!(found.as_ref(), left, "{case}");
}

pub(crate) async fn a_replace_that_stands_already_succeeds(store: Arc<impl Store>) {
    for state in [State::Unknown, State::Released, State::Completed] {
        let (id, claim) = (fresh_id(), claim());
        create(&*store, id, &claim).await;
        let end = settled(&claim, state);
        for _ in 0..3 {
            let again = store.replace(id, Expect::Held(claim.token), &end).await;
            assert_eq!(again, Ok(Replaced::Applied), "{state:?}");
        }
        let other = settled(&claim, State::Completed);
        let changed = store.replace(id, Expect::Held(claim.token), &other).await;
        let expected = if state == State::Released {
            Replaced::Stale
        } else {
            Replaced::Applied
        };
        assert_eq!(changed, Ok(expected), "{state:?}");
    }
}

pub(crate) async fn a_settlement_restores_a_lost_record_and_says_so(store: Arc<impl Store>) {
    let (id, claim) = (fresh_id(), claim());
    let answer = completed(&claim, "done");
    let settled = store.replace(id, Expect::Held(claim.token), &answer).await;
    assert_eq!(settled, Ok(Replaced::Restored));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, answer);
}

pub(crate) async fn only_its_own_token_renews_and_only_in_flight(store: Arc<impl Store>) {
    let (id, claim) = (fresh_id(), claim());
    assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Stale));
    create(&*store, id, &claim).await;
    assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied));
    assert_eq!(store.renew(id, fresh_token()).await, Ok(Replaced::Stale));
    assert_eq!(
        store.renew(fresh_id(), claim.token).await,
        Ok(Replaced::Stale)
    );
    for state in [State::Unknown, State::Completed] {
        let end = settled(&claim, state);
        store
            .replace(id, Expect::Held(claim.token), &end)
            .await
            .unwrap();
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Stale));
    }
}

pub(crate) async fn a_lease_lapses_without_heartbeats_and_not_with_them(store: Arc<impl Store>) {
    // Longer, so that a busy machine renews in time; if it did not, the round does not count.
    let lease = Duration::from_secs(1);
    let claim = Record { lease, ..claim() };
    let id = fresh_id();
    create(&*store, id, &claim).await;
    let (begun, mut renewed) = (Instant::now(), Instant::now());
    while begun.elapsed() < lease * 2 {
        let before = Instant::now();
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied));
        renewed = before;
        tokio::time::sleep(lease / 10).await;
        let seen = store.look(id).await.unwrap().unwrap();
        assert!(seen.lapse == Lapse::Live || renewed.elapsed() > lease);
    }
    eventually("the lease lapses", || lapsed(&*store, id)).await;
    assert!(renewed.elapsed() >= lease);
}

pub(crate) async fn a_look_never_tells_of_more_quiet_than_there_was(store: Arc<impl Store>) {
    /// Clocks of two processes tick apart, and a store counts whole milliseconds.
    const GRAIN: Duration = Duration::from_millis(20);
    let quiet = async |id| store.look(id).await.unwrap().unwrap().quiet;
    let (id, claim) = (fresh_id(), claim());
    let mut touched = Instant::now();
    create(&*store, id, &claim).await;
    let unknown = settled(&claim, State::Unknown);
    for step in 0..3 {
        if step > 0 {
            touched = Instant::now();
        }
        match step {
            1 => assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied)),
            2 => {
                let held = Expect::Held(claim.token);
                let replaced = store.replace(id, held, &unknown).await;
                assert_eq!(replaced, Ok(Replaced::Applied));
            }
            _ => {}
        }
        let told = quiet(id).await.unwrap();
        assert!(told <= touched.elapsed() + GRAIN, "{told:?}");
        // Long enough to be told from a clock that the step before began.
        eventually("it is quiet", || async {
            let told = quiet(id).await.unwrap();
            assert!(told <= touched.elapsed() + GRAIN, "{told:?}");
            told > 5 * GRAIN
        })
        .await;
    }
}

pub(crate) async fn a_live_claim_is_not_taken_over(store: Arc<impl Store>) {
    let (id, first, second) = (fresh_id(), claim(), claim());
    create(&*store, id, &first).await;
    let taken = store
        .replace(id, Expect::Lapsed(first.token), &second)
        .await;
    assert_eq!(taken, Ok(Replaced::Stale));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, first);
}

pub(crate) async fn a_lapsed_claim_is_taken_over_once_by_fifty(store: Arc<impl Store>) {
    let (id, first) = (fresh_id(), short_claim());
    create(&*store, id, &first).await;
    eventually("the lease lapses", || lapsed(&*store, id)).await;
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (store, next) = (Arc::clone(&store), claim());
            tokio::spawn(async move {
                let taken = store.replace(id, Expect::Lapsed(first.token), &next).await;
                (taken.unwrap() == Replaced::Applied).then_some(next.token)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for one in tries {
        winners.extend(one.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        store.look(id).await.unwrap().unwrap().record.token,
        winners[0]
    );
}

pub(crate) async fn a_holder_whose_claim_was_taken_over_settles_and_renews_nothing(
    store: Arc<impl Store>,
) {
    let (id, first, second) = (fresh_id(), short_claim(), claim());
    create(&*store, id, &first).await;
    eventually("the lease lapses", || lapsed(&*store, id)).await;
    let taken = store
        .replace(id, Expect::Lapsed(first.token), &second)
        .await;
    assert_eq!(taken, Ok(Replaced::Applied));
    assert_eq!(store.renew(id, first.token).await, Ok(Replaced::Stale));
    let late = store
        .replace(id, Expect::Held(first.token), &completed(&first, "late"))
        .await;
    assert_eq!(late, Ok(Replaced::Stale));
    assert_eq!(store.renew(id, second.token).await, Ok(Replaced::Applied));
    let end = completed(&second, "second");
    let settled = store.replace(id, Expect::Held(second.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, end);
}

pub(crate) async fn a_claim_outlives_its_lease(store: Arc<impl Store>) {
    let (id, first) = (fresh_id(), short_claim());
    create(&*store, id, &first).await;
    eventually("the lease lapses", || lapsed(&*store, id)).await;
    assert!(matches!(
        store.insert(id, &claim()).await,
        Ok(Inserted::Occupied(seen)) if seen.record == first
    ));
    // Slow is not gone: nobody took it over, so its heartbeat and its settlement still count.
    assert_eq!(store.renew(id, first.token).await, Ok(Replaced::Applied));
    let settled = store
        .replace(id, Expect::Held(first.token), &completed(&first, "late"))
        .await;
    assert_eq!(settled, Ok(Replaced::Applied));
}

pub(crate) async fn a_record_is_gone_after_its_time_to_live(store: Arc<impl Store>) {
    for state in STATES {
        let (id, ttl) = (fresh_id(), Duration::from_secs(1));
        let record = Record {
            state,
            ttl,
            ..short_claim()
        };
        let begun = Instant::now();
        create(&*store, id, &record).await;
        eventually("the record is gone", || async {
            store.look(id).await == Ok(None)
        })
        .await;
        assert!(
            begun.elapsed() >= ttl - Duration::from_millis(5),
            "{state:?} went too soon"
        );
        assert_eq!(store.renew(id, record.token).await, Ok(Replaced::Stale));
        create(&*store, id, &claim()).await;
    }
}

pub(crate) async fn a_renewed_claim_outlives_its_first_time_to_live(store: Arc<impl Store>) {
    let (id, ttl) = (fresh_id(), Duration::from_secs(3));
    let claim = Record {
        ttl,
        ..short_claim()
    };
    create(&*store, id, &claim).await;
    let begun = Instant::now();
    while begun.elapsed() < ttl * 3 / 2 {
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied));
        assert_eq!(store.look(id).await.unwrap().unwrap().record, claim);
        tokio::time::sleep(ttl / 20).await;
    }
    eventually("the record is gone", || async {
        store.look(id).await == Ok(None)
    })
    .await;
}

pub(crate) async fn two_hundred_inserts_of_an_id_create_once(store: Arc<impl Store>) {
    let id = fresh_id();
    let tries: Vec<_> = (0..200)
        .map(|_| {
            let (store, claim) = (Arc::clone(&store), claim());
            tokio::spawn(async move {
                match store.insert(id, &claim).await.unwrap() {
                    Inserted::Created => (true, claim.token),
                    Inserted::Occupied(seen) => (false, seen.record.token),
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in tries {
        all.push(one.await.unwrap());
    }
    let created: Vec<_> = all.iter().filter(|(created, _)| *created).collect();
    assert_eq!(created.len(), 1);
    assert!(all.iter().all(|(_, token)| *token == created[0].1));
}

pub(crate) async fn two_ids_do_not_touch_each_other(store: Arc<impl Store>) {
    let mut bytes = *fresh_id().as_bytes();
    let one = RecordId::from_bytes(bytes);
    bytes[15] ^= 1;
    let other = RecordId::from_bytes(bytes);
    let (first, second) = (claim(), claim());
    create(&*store, one, &first).await;
    create(&*store, other, &second).await;
    let end = completed(&first, "one");
    store
        .replace(one, Expect::Held(first.token), &end)
        .await
        .unwrap();
    assert_eq!(store.look(one).await.unwrap().unwrap().record, end);
    assert_eq!(store.look(other).await.unwrap().unwrap().record, second);
}

pub(crate) async fn a_large_answer_comes_back_whole(store: Arc<impl Store>) {
    let (id, claim) = (fresh_id(), claim());
    create(&*store, id, &claim).await;
    let body: Vec<u8> = (0..1 << 20)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let answer = completed(&claim, body);
    let settled = store.replace(id, Expect::Held(claim.token), &answer).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    assert_eq!(store.look(id).await.unwrap().unwrap().record, answer);
}

async fn lapsed(store: &impl Store, id: RecordId) -> bool {
    let seen = store.look(id).await.unwrap();
    seen.is_some_and(|seen| seen.lapse == Lapse::Lapsed)
}
