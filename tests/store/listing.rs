//! The rules of listings, and of what operators change, that hold in every store.
//!
//! Some stores are shared with other tests: each test lists the records of a route of its own.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use idemproxy::idempotency::operator::{Order, ordered};
use idemproxy::idempotency::{
    Expect, Lapse, Origin, Record, RecordId, Seen, State, Terms, UnixMillis,
};
use idemproxy::store::{Listed, Listing, Replaced, Store};

use crate::records::*;

/// A claim under a route that no other test has.
fn of_this_test() -> Record {
    let mut claim = claim();
    let route = uuid::Uuid::now_v7().to_string();
    claim.origin = Origin::new(&route, "POST", "/orders", [3; 16]);
    claim
}

fn like(record: &Record) -> Record {
    Record {
        token: fresh_token(),
        ..record.clone()
    }
}

/// A page, and what its time was too short for.
async fn page(
    store: &impl Store,
    after: Option<RecordId>,
    limit: usize,
    wanted: &(impl Fn(&Listed) -> bool + Send + Sync),
) -> Listing {
    let mut page = store.list(after, limit, wanted).await.unwrap();
    while page.records.len() < limit && page.next.is_some() {
        let rest = limit - page.records.len();
        let next = store.list(page.next, rest, wanted).await.unwrap();
        page.records.extend(next.records);
        page.next = next.next;
        page.unreadable += next.unreadable;
    }
    page
}

/// Every page, one after another.
async fn pages(
    store: &impl Store,
    limit: usize,
    wanted: impl Fn(&Listed) -> bool + Send + Sync,
) -> Vec<Listing> {
    let mut pages: Vec<Listing> = Vec::new();
    loop {
        let after = pages.last().and_then(|page| page.next);
        let page = page(store, after, limit, &wanted).await;
        let more = page.next.is_some();
        pages.push(page);
        if !more {
            return pages;
        }
    }
}

/// Writes so many records, many at a time.
async fn create_all(store: &Arc<impl Store>, record: &Record, number: usize) -> BTreeSet<RecordId> {
    const AT_A_TIME: usize = 50;
    let ids: Vec<RecordId> = (0..number).map(|_| scattered_id()).collect();
    let tasks: Vec<_> = (0..AT_A_TIME)
        .map(|first| {
            let (store, record) = (Arc::clone(store), record.clone());
            let ids: Vec<_> = ids[first.min(number)..]
                .iter()
                .copied()
                .step_by(AT_A_TIME)
                .collect();
            tokio::spawn(async move {
                for id in ids {
                    create(&*store, id, &like(&record)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ids.into_iter().collect()
}

/// An id anywhere among the others, as those of keys are.
fn scattered_id() -> RecordId {
    let mut bytes = *fresh_id().as_bytes();
    bytes.reverse();
    RecordId::from_bytes(bytes)
}

pub(crate) async fn a_page_holds_its_limit_and_no_id_is_told_twice(store: Arc<impl Store>) {
    let record = of_this_test();
    let ids = create_all(&store, &record, 25).await;
    let own = |listed: &Listed| listed.record.origin.route() == record.origin.route();
    for limit in [1, 7, 24, 25, 26, 1000] {
        let pages = pages(&*store, limit, own).await;
        let (last, full) = pages.split_last().unwrap();
        assert_eq!(last.next, None);
        for page in full {
            assert_eq!(page.records.len(), limit);
            assert!(page.next.is_some());
        }
        let told: Vec<RecordId> = pages
            .iter()
            .flat_map(|page| page.records.iter().map(|listed| listed.id))
            .collect();
        // Ascending, and so once each.
        assert_eq!(told, Vec::from_iter(ids.iter().copied()), "{limit}");
    }
    let none = page(&*store, ids.last().copied(), 5, &own).await;
    assert_eq!((none.records.len(), none.next), (0, None));
    assert_eq!(store.list(None, 0, &own).await.unwrap().records, []);
}

pub(crate) async fn a_page_whose_time_is_up_tells_where_to_go_on(store: Arc<impl Store>) {
    let record = of_this_test();
    let ids = create_all(&store, &record, 3).await;
    let asked = AtomicU64::new(0);
    let slow = |listed: &Listed| {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            // Longer than a page takes.
            std::thread::sleep(Duration::from_millis(2_100));
        }
        listed.record.origin.route() == record.origin.route()
    };
    let first = store.list(None, 100, &slow).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(first.records.len() <= 1);
    assert!(first.next.is_some());
    let rest = page(&*store, first.next, 100, &slow).await;
    let told = first.records.iter().chain(&rest.records);
    assert!(told.map(|listed| listed.id).eq(ids));
}

pub(crate) async fn a_listing_tells_all_but_the_answer(store: Arc<impl Store>) {
    let claim = of_this_test();
    let mut expected = Vec::new();
    for (state, body) in [
        (State::InFlight, None),
        (State::Unknown, None),
        (State::Released, None),
        (State::Completed, None),
        (State::Completed, Some(0)),
        (State::Completed, Some(10)),
        (State::Completed, Some(1 << 20)),
    ] {
        let (id, claim) = (scattered_id(), like(&claim));
        create(&*store, id, &claim).await;
        let end = match body {
            Some(length) => completed(&claim, vec![b'#'; length]),
            None => settled(&claim, state),
        };
        if state != State::InFlight {
            let settled = store.replace(id, Expect::Held(claim.token), &end).await;
            assert_eq!(settled, Ok(Replaced::Applied));
        }
        let end = if state == State::InFlight { claim } else { end };
        expected.push((id, end, body));
    }
    // Much before the answer's body: more than is read at first.
    let (id, mut large) = (scattered_id(), like(&claim));
    large.origin = Origin::new(
        large.origin.route(),
        "POST",
        &"/long".repeat(10_000),
        [3; 16],
    );
    create(&*store, id, &large).await;
    let mut end = completed(&large, vec![b'#'; 100_000]);
    let fields = [("x-long", vec![b'+'; 50_000])];
    end.response.as_mut().unwrap().headers = fields.into_iter().collect();
    let settled = store.replace(id, Expect::Held(large.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    expected.push((id, end, Some(100_000)));
    expected.sort_by_key(|(id, ..)| *id);

    let own = |listed: &Listed| listed.record.origin.route() == claim.origin.route();
    let listing = page(&*store, None, 100, &own).await;
    assert_eq!(listing.records.len(), expected.len());
    for (listed, (id, record, body)) in listing.records.iter().zip(expected) {
        let ttl = record.ttl;
        let told = Record {
            response: None,
            ..record
        };
        assert_eq!((listed.id, &listed.record), (id, &told));
        assert_eq!(
            listed.response_bytes,
            body.map(|length| length as u64),
            "{told:?}"
        );
        assert!(!listed.lapsed);
        assert_eq!(listed.state(), told.state);
        let left = listed.expires_in.unwrap();
        assert!(left <= ttl && left > ttl / 2, "{left:?}");
    }
}

pub(crate) async fn a_lapsed_claim_is_listed_as_unknown_and_a_live_one_is_not(
    store: Arc<impl Store>,
) {
    let live = of_this_test();
    let short = Record {
        lease: Duration::from_millis(200),
        ..like(&live)
    };
    let (first, second) = (scattered_id(), scattered_id());
    create(&*store, first, &live).await;
    create(&*store, second, &short).await;
    let route = live.origin.route();
    let wants = |state| {
        move |listed: &Listed| listed.record.origin.route() == route && listed.state() == state
    };
    eventually("its lease lapses", || async {
        let listing = page(&*store, None, 9, &wants(State::Unknown)).await;
        listing.records.iter().any(|it| it.id == second)
    })
    .await;
    let unknown = page(&*store, None, 9, &wants(State::Unknown)).await;
    assert_eq!(unknown.records.len(), 1);
    assert!(unknown.records[0].lapsed);
    assert_eq!(unknown.records[0].record, short, "it is told as it stands");
    let running = page(&*store, None, 9, &wants(State::InFlight)).await;
    assert_eq!(running.records.len(), 1);
    assert_eq!(running.records[0].id, first);
    // Its holder was slow, and not gone.
    assert_eq!(
        store.renew(second, short.token).await,
        Ok(Replaced::Applied)
    );
    let own = |listed: &Listed| listed.record.origin.route() == route;
    let listing = page(&*store, None, 9, &own).await;
    let seen = store.look(second).await.unwrap().unwrap();
    let listed = listing.records.iter().find(|it| it.id == second).unwrap();
    assert!(!listed.lapsed || seen.lapse == Lapse::Lapsed);
}

/// Five thousand records stand; beside them others come, change and expire all the time.
pub(crate) async fn what_stands_is_found_once_while_others_come_and_go(store: Arc<impl Store>) {
    let record = of_this_test();
    let standing = create_all(&store, &record, 5000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let passing = Record {
        ttl: Duration::from_millis(50),
        lease: Duration::from_millis(20),
        ..like(&record)
    };
    let others = tokio::spawn({
        let (store, stop, written) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&written));
        async move {
            while !stop.load(Ordering::Relaxed) {
                let (id, claim) = (scattered_id(), like(&passing));
                create(&*store, id, &claim).await;
                let end = Record {
                    ttl: Duration::from_millis(50),
                    ..settled(&claim, State::Completed)
                };
                let settled = store.replace(id, Expect::Held(claim.token), &end).await;
                assert_ne!(settled, Ok(Replaced::Stale));
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    eventually("others come", || async {
        written.load(Ordering::Relaxed) > 3
    })
    .await;
    let own = |listed: &Listed| listed.record.origin.route() == record.origin.route();
    let pages = loop {
        let before = written.load(Ordering::Relaxed);
        let pages = pages(&*store, 700, own).await;
        // Else nobody came meanwhile, and it proves nothing.
        if written.load(Ordering::Relaxed) > before + 1 {
            break pages;
        }
    };
    stop.store(true, Ordering::Relaxed);
    others.await.unwrap();

    assert!(pages.len() >= 5000 / 700);
    let told: Vec<RecordId> = pages
        .iter()
        .flat_map(|page| page.records.iter().map(|listed| listed.id))
        .collect();
    assert!(
        told.is_sorted_by(|one, next| one < next),
        "an id is told twice"
    );
    let told: BTreeSet<RecordId> = told.into_iter().collect();
    assert_eq!(standing.difference(&told).count(), 0, "some were missed");
}

/// Whenever a listing has to wait, it is left alone there, and claims are made.
pub(crate) async fn a_listing_that_stands_still_holds_up_no_claim(store: Arc<impl Store>) {
    let record = of_this_test();
    create_all(&store, &record, 1000).await;
    let own = |listed: &Listed| listed.record.origin.route() == record.origin.route();
    let mut listing = pin!(page(&*store, None, usize::MAX, &own));
    let mut claims = 0;
    let listing = loop {
        match poll_fn(|context| Poll::Ready(listing.as_mut().poll(context))).await {
            Poll::Ready(listing) => break listing,
            Poll::Pending => {
                let (id, claim) = (scattered_id(), claim());
                create(&*store, id, &claim).await;
                let end = completed(&claim, "done");
                let settled = store.replace(id, Expect::Held(claim.token), &end).await;
                assert_eq!(settled, Ok(Replaced::Applied));
                claims += 1;
            }
        }
    };
    assert_eq!(listing.records.len(), 1000);
    assert!(claims > 0, "it never waited");
}

const TERMS: Terms = Terms {
    lease: Duration::from_secs(600),
    retention: Duration::from_secs(3600),
    failed_retention: Duration::from_secs(3600),
    unknown_retention: Duration::from_secs(3600),
};

/// What an operator orders with force.
fn forced(seen: &Seen, order: Order) -> (Expect, Record) {
    let now = UnixMillis(1_790_000_002_000);
    let written = ordered(
        Some(seen),
        Duration::MAX,
        order,
        true,
        fresh_token(),
        TERMS,
        now,
    );
    written.unwrap()
}

fn orders() -> [Order; 4] {
    let answer = completed(&claim(), "by hand").response;
    [
        Order::Release,
        Order::Delete,
        Order::Executed(answer),
        Order::NotExecuted,
    ]
}

pub(crate) async fn an_order_is_written_over_the_record_that_was_shown_and_no_other(
    store: Arc<impl Store>,
) {
    for state in [
        State::InFlight,
        State::Unknown,
        State::Released,
        State::Completed,
    ] {
        for order in orders() {
            if state == State::Released && matches!(order, Order::Release | Order::NotExecuted) {
                continue;
            }
            let case = format!("{order:?} on {state:?}");
            let (id, claim) = (fresh_id(), claim());
            create(&*store, id, &claim).await;
            if state != State::InFlight {
                let end = settled(&claim, state);
                let settled = store.replace(id, Expect::Held(claim.token), &end).await;
                assert_eq!(settled, Ok(Replaced::Applied));
            }
            let shown = store.look(id).await.unwrap().unwrap();
            let (expect, first) = forced(&shown, order.clone());
            let (_, second) = forced(&shown, order);
            assert_eq!(
                store.replace(id, expect, &first).await,
                Ok(Replaced::Applied),
                "{case}"
            );
            assert_eq!(
                store.replace(id, expect, &first).await,
                Ok(Replaced::Applied),
                "{case}, sent again"
            );
            assert_eq!(
                store.replace(id, expect, &second).await,
                Ok(Replaced::Stale),
                "{case}, of another operator"
            );
            assert_eq!(
                store.look(id).await.unwrap().unwrap().record,
                first,
                "{case}"
            );
        }
    }
    let (id, claim) = (fresh_id(), claim());
    create(&*store, id, &claim).await;
    let shown = store.look(id).await.unwrap().unwrap();
    let end = completed(&claim, "by its holder");
    let settled = store.replace(id, Expect::Held(claim.token), &end).await;
    assert_eq!(settled, Ok(Replaced::Applied));
    for order in orders() {
        let (expect, next) = forced(&shown, order);
        assert_eq!(store.replace(id, expect, &next).await, Ok(Replaced::Stale));
        let gone = store.replace(fresh_id(), expect, &next).await;
        assert_eq!(gone, Ok(Replaced::Stale), "nothing is restored");
    }
    assert_eq!(store.look(id).await.unwrap().unwrap().record, end);
}

pub(crate) async fn a_holder_neither_settles_nor_renews_after_an_order(store: Arc<impl Store>) {
    for order in orders() {
        let (id, claim) = (fresh_id(), claim());
        create(&*store, id, &claim).await;
        let shown = store.look(id).await.unwrap().unwrap();
        let (expect, next) = forced(&shown, order);
        let replaced = store.replace(id, expect, &next).await;
        assert_eq!(replaced, Ok(Replaced::Applied));
        eventually("the holder hears of it", || async {
            store.renew(id, claim.token).await == Ok(Replaced::Stale)
        })
        .await;
        for state in [State::Unknown, State::Released, State::Completed] {
            let late = settled(&claim, state);
            let late = store.replace(id, Expect::Held(claim.token), &late).await;
            assert_eq!(late, Ok(Replaced::Stale));
        }
        assert_eq!(store.look(id).await.unwrap().unwrap().record, next);
        if next.state == State::Released {
            let again = crate::records::claim();
            let claimed = store.replace(id, Expect::Released(next.token), &again);
            assert_eq!(claimed.await, Ok(Replaced::Applied));
            assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Stale));
            assert_eq!(store.renew(id, again.token).await, Ok(Replaced::Applied));
        }
    }
}

pub(crate) async fn without_force_a_claim_that_was_renewed_is_left_alone(store: Arc<impl Store>) {
    for order in orders() {
        let (id, claim) = (fresh_id(), claim());
        create(&*store, id, &claim).await;
        // It had lapsed when it was shown, and its holder was heard of since.
        let shown = Seen {
            lapse: Lapse::Lapsed,
            ..store.look(id).await.unwrap().unwrap()
        };
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Applied));
        let now = UnixMillis(1_790_000_002_000);
        let token = fresh_token();
        let (expect, next) =
            ordered(Some(&shown), Duration::MAX, order, false, token, TERMS, now).unwrap();
        assert_eq!(store.replace(id, expect, &next).await, Ok(Replaced::Stale));
        assert_eq!(store.look(id).await.unwrap().unwrap().record, claim);
    }
    for order in orders() {
        let (id, claim) = (fresh_id(), short_claim());
        create(&*store, id, &claim).await;
        eventually("its lease lapses", || async {
            store.look(id).await.unwrap().unwrap().lapse == Lapse::Lapsed
        })
        .await;
        let shown = store.look(id).await.unwrap().unwrap();
        let now = UnixMillis(1_790_000_002_000);
        let token = fresh_token();
        let (expect, next) =
            ordered(Some(&shown), Duration::MAX, order, false, token, TERMS, now).unwrap();
        assert_eq!(
            store.replace(id, expect, &next).await,
            Ok(Replaced::Applied)
        );
        assert_eq!(store.renew(id, claim.token).await, Ok(Replaced::Stale));
        assert_eq!(store.look(id).await.unwrap().unwrap().record, next);
    }
}
