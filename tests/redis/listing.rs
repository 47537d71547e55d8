//! Listings: what they ask of the server, and what they make of what is there.

use std::collections::BTreeSet;

use idemproxy::idempotency::{Expect, RecordId, State};
use idemproxy::store::{
    Inserted, Listed, Listing, Redis, Replaced, Store, StoreError, StoreSettings,
};

use crate::records::*;
use crate::support::RedisServer;

fn all(_: &Listed) -> bool {
    true
}

/// Ids all over, as those of keys are.
fn scattered(number: u32) -> RecordId {
    RecordId::from_bytes(u128::from(number.wrapping_mul(2_654_435_761)).to_le_bytes())
}

async fn patient(server: &RedisServer, prefix: &str) -> Redis {
    let settings = StoreSettings {
        prefix: prefix.to_owned(),
        timeout: TIMEOUT * 25,
        ..settings()
    };
    Redis::connect(&server.url(), &settings).await.unwrap()
}

/// All that there is, however many pages it takes.
pub(crate) async fn whole(store: &Redis) -> Result<Listing, StoreError> {
    let mut whole = store.list(None, usize::MAX, &all).await?;
    while let Some(next) = whole.next {
        let page = store.list(Some(next), usize::MAX, &all).await?;
        whole.records.extend(page.records);
        whole.unreadable += page.unreadable;
        whole.next = page.next;
    }
    Ok(whole)
}

fn ids(listing: &Listing) -> Vec<RecordId> {
    listing.records.iter().map(|listed| listed.id).collect()
}

/// How often the server carried out which command since its figures were set back.
fn carried_out(server: &RedisServer) -> impl Fn(&str) -> u64 {
    let info: String = redis::from_redis_value(server.command(&["INFO", "commandstats"])).unwrap();
    move |command| {
        let start = format!("cmdstat_{command}:calls=");
        let calls = info.lines().find_map(|line| line.strip_prefix(&start));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_reads_no_bodies_and_goes_through_the_keys_in_slices() {
    const RECORDS: u32 = 5000;
    const LARGE: u32 = 20;
    let server = RedisServer::start();
    let store = patient(&server, "test").await;
    for number in 0..RECORDS {
        let claim = claim();
        let id = scattered(number);
        assert_eq!(store.insert(id, &claim).await, Ok(Inserted::Created));
        if number < LARGE {
            let end = completed(&claim, 500_000);
            let settled = store.replace(id, Expect::Held(claim.token), &end).await;
            assert_eq!(settled, Ok(Replaced::Applied));
        }
    }
    let output = |server: &RedisServer| -> u64 {
        let info: String = redis::from_redis_value(server.command(&["INFO", "stats"])).unwrap();
        let sent = info
            .lines()
            .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        sent.unwrap().parse().unwrap()
    };
    server.command(&["CONFIG", "RESETSTAT"]);
    let sent = output(&server);
    let listing = whole(&store).await.unwrap();
    assert_eq!(listing.records.len(), RECORDS as usize);
    assert_eq!((listing.next, listing.unreadable), (None, 0));
    let large = |listed: &&Listed| listed.response_bytes == Some(500_000);
    assert_eq!(listing.records.iter().filter(large).count(), LARGE as usize);

    let calls = carried_out(&server);
    for never in ["get", "keys", "mget", "dump", "sort"] {
        assert_eq!(calls(never), 0, "{never}");
    }
    // Two hundred keys a slice, or few more: no other command waits for longer than that.
    assert!(
        calls("scan") >= u64::from(RECORDS) / 250,
        "{}",
        calls("scan")
    );
    assert!(calls("getrange") >= u64::from(RECORDS));
    let sent = output(&server) - sent;
    assert!(sent < u64::from(LARGE) * 500_000 / 2, "{sent} bytes came");

    server.command(&["CONFIG", "RESETSTAT"]);
    let page = store.list(None, 10, &all).await.unwrap();
    assert_eq!(ids(&page), ids(&listing)[..10]);
    assert!(page.next.is_some());
    let read = carried_out(&server)("getrange");
    assert!(read < 200, "{read} records were read for a page of ten");

    server.command(&["CONFIG", "RESETSTAT"]);
    let second = store.list(page.next, 10, &all).await.unwrap();
    assert_eq!(ids(&second), ids(&listing)[10..20]);
    assert_eq!(
        carried_out(&server)("scan"),
        0,
        "the next page went through the keys again"
    );
    // Nor is anything lost where nobody left what is to come: as for another process.
    let again = store.list(page.next, 10, &all).await.unwrap();
    assert_eq!(ids(&again), ids(&second));
    assert!(carried_out(&server)("scan") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_record_of_this_store_is_not_listed_and_what_is_unreadable_is_counted() {
    let server = RedisServer::start();
    // Each would match the other if a pattern were made of it as it stands.
    let prefixes = ["a*", "ab", "a?", "[ab]*", "a\\*", "a*:b", "^-"];
    let mut stores = Vec::new();
    for prefix in prefixes {
        stores.push(patient(&server, prefix).await);
    }
    for (number, store) in (1..).zip(&stores) {
        assert_eq!(
            store.insert(id(number), &claim()).await,
            Ok(Inserted::Created)
        );
    }
    for (number, store) in (1..).zip(&stores) {
        let listing = store.list(None, 100, &all).await.unwrap();
        assert_eq!((ids(&listing), listing.unreadable), (vec![id(number)], 0));
    }

    let store = patient(&server, "test").await;
    assert_eq!(store.insert(id(5), &claim()).await, Ok(Inserted::Created));
    for other in [
        "test:",
        "test:probe",
        "test:0505",
        &key(6).to_uppercase(),
        "test",
    ] {
        server.command(&["SET", other, "no record"]);
    }
    let listing = store.list(None, 100, &all).await.unwrap();
    assert_eq!((ids(&listing), listing.unreadable), (vec![id(5)], 0));

    let newer = redis::cmd("SET");
    let mut frame = idemproxy::store::encode(&claim()).to_vec();
    frame[idemproxy::store::header::VERSION] = 200;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    newer
        .clone()
        .arg(key(1))
        .arg(frame)
        .exec(&mut connection)
        .unwrap();
    server.command(&["SET", &key(2), "no record"]);
    server.command(&["SET", &key(3), ""]);
    server.command(&["HSET", &key(4), "a", "b"]);
    let listing = store.list(None, 100, &all).await.unwrap();
    assert_eq!((ids(&listing), listing.unreadable), (vec![id(5)], 4));
    // Each is counted in the page that it falls into.
    let rest = store.list(Some(id(2)), 100, &all).await.unwrap();
    assert_eq!((ids(&rest), rest.unreadable), (vec![id(5)], 2));

    server.command(&["PERSIST", &key(5)]);
    let listing = store.list(None, 100, &all).await.unwrap();
    assert_eq!(
        listing.records[0].expires_in, None,
        "the store does not say"
    );
    assert!(!listing.records[0].lapsed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_fails_the_page_and_when_it_is_back_the_page_is_whole() {
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let settings = StoreSettings {
        timeout: TIMEOUT * 5,
        ..settings()
    };
    let store = Redis::connect(&server.url(), &settings).await.unwrap();
    let standing: BTreeSet<RecordId> = (0..300).map(scattered).collect();
    for id in &standing {
        assert_eq!(store.insert(*id, &claim()).await, Ok(Inserted::Created));
    }
    server.freeze();
    let failed = store.list(None, 1000, &all).await;
    assert!(
        matches!(
            failed,
            Err(StoreError::Unanswered(_) | StoreError::Refused(_))
        ),
        "{failed:?}"
    );
    server.thaw();
    server.stop();
    let failed = store.list(None, 1000, &all).await;
    assert!(
        matches!(
            failed,
            Err(StoreError::Unanswered(_) | StoreError::Refused(_))
        ),
        "{failed:?}"
    );
    server.restart();
    crate::support::eventually("it answers again", || async {
        store.list(None, 1000, &all).await.is_ok()
    })
    .await;
    let listing = store.list(None, 1000, &all).await.unwrap();
    assert_eq!(BTreeSet::from_iter(ids(&listing)), standing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_rights_of_the_documentation_lists() {
    let server = RedisServer::start();
    server.command(&[
        "ACL",
        "SETUSER",
        "few",
        "on",
        ">secret",
        "~test:*",
        "+set",
        "+get",
        "+getrange",
        "+strlen",
        "+exists",
        "+pttl",
        "+pexpire",
        "+evalsha",
        "+script|load",
        "+info",
        "+ping",
        "+scan",
    ]);
    let url = format!("redis://few:secret@127.0.0.1:{}", server.port());
    let settings = StoreSettings {
        timeout: TIMEOUT * 25,
        ..settings()
    };
    let store = Redis::connect(&url, &settings).await.unwrap();
    assert_eq!(store.insert(id(1), &claim()).await, Ok(Inserted::Created));
    let listing = store.list(None, 10, &all).await.unwrap();
    assert_eq!(listing.records[0].state(), State::InFlight);

    server.command(&["ACL", "SETUSER", "few", "-scan"]);
    let refused = store.list(None, 10, &all).await;
    let why = "redis says NOPERM".to_owned();
    assert_eq!(refused, Err(StoreError::Refused(why)));
    assert!(store.look(id(1)).await.is_ok(), "claims go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_session_is_lost_in_the_middle_begins_anew() {
    let server = RedisServer::start();
    let store = patient(&server, "test").await;
    let standing: BTreeSet<RecordId> = (0..2000).map(scattered).collect();
    for id in &standing {
        assert_eq!(store.insert(*id, &claim()).await, Ok(Inserted::Created));
    }
    // One that ends soon after it began is not replaced at once.
    crate::support::eventually("the session is not a young one", || async {
        store.steady(id(1)) > std::time::Duration::from_millis(1500)
    })
    .await;
    server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..50 {
        let mut listing = std::pin::pin!(whole(&store));
        let mut killed = false;
        let listing = loop {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(listing.as_mut().poll(context))
            });
            match polled.await {
                std::task::Poll::Ready(listing) => break listing.unwrap(),
                // It is somewhere between its first slice and its last one.
                std::task::Poll::Pending if !killed && carried_out(&server)("scan") > 3 => {
                    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                    killed = true;
                }
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        };
        assert_eq!(BTreeSet::from_iter(ids(&listing)), standing);
        if killed {
            return;
        }
    }
    panic!("no listing was met in the middle");
}
