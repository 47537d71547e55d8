//! What there is to see of records.

use std::collections::BTreeSet;
use std::time::Duration;

use idemproxy::idempotency::{Origin, Record, State, UnixMillis};
use serde_json::{Value, json};

use super::STORE;
use crate::desk::{Desk, record};
use crate::support::patiently;
use crate::world::Says;

const STATES: [State; 4] = [
    State::InFlight,
    State::Unknown,
    State::Released,
    State::Completed,
];

async fn ids(desk: &Desk, target: &str) -> Vec<String> {
    let page = desk.operator.told(target).await;
    let keys = page["keys"].as_array().unwrap().iter();
    keys.map(|key| key["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_state_is_listed_and_shown_without_what_is_nobodys_business() {
    let desk = Desk::open(STORE).await;
    for state in STATES {
        let put = record(state);
        let id = desk.put(&put).await;
        let page = format!("/v1/keys?state={}", state.name());
        let answer = desk.operator.get(&page).await;
        let listed = answer.document()["keys"][0].clone();
        assert_eq!(ids(&desk, &page).await, [&*id]);
        let shown = desk.operator.get(&format!("/v1/keys/{id}")).await;
        for text in [answer.text(), shown.text()] {
            for secret in ["of the body", "of the header", "x-secret", "k-1", "09090909", "07070707"] {
                assert!(!text.contains(secret), "{text}");
            }
            let token = format!("{:?}", put.token);
            assert!(!text.contains(&token), "{text}");
        }
        let mut shown = shown.is_done();
        let mut listed = listed;
        // Those that are not completed end some time from now, told to the second.
        if state != State::Completed {
            assert!(shown["expires"].is_string() && listed["expires"].is_string());
            shown["expires"] = Value::Null;
            listed["expires"] = Value::Null;
        }
        assert_eq!(shown, listed);
        let settled = state != State::InFlight;
        assert_eq!(
            shown,
            json!({
                "id": id,
                "version": shown["version"],
                "state": state.name(),
                "lapsed": false,
                "route": "orders",
                "method": "POST",
                "path": "/orders",
                "created": "2026-09-21T14:13:20.000Z",
                "settled": settled.then_some("2026-09-21T14:13:21.500Z"),
                "expires": (state == State::Completed).then_some("2026-09-22T14:13:21.500Z"),
                "attempts": 1,
                "in_doubt": false,
                "status": settled.then_some(201),
                "error": null,
                "response_bytes": (state == State::Completed).then_some(11),
                "observed": false,
                "mode": "enforce",
                "unknown_outcome": "retry",
            })
        );
    }
    assert_eq!(ids(&desk, "/v1/keys").await.len(), 4);
}

#[tokio::test]
async fn a_lapsed_claim_is_unknown_and_says_so() {
    let desk = Desk::open(STORE).await;
    let id = desk
        .put(&Record {
            lease: Duration::from_millis(200),
            ..record(State::InFlight)
        })
        .await;
    let target = format!("/v1/keys/{id}");
    let mut shown = desk.operator.told(&target).await;
    while shown["state"] != "unknown" {
        assert_eq!(shown["state"], "in-flight");
        assert_eq!(shown["lapsed"], false);
        tokio::time::sleep(Duration::from_millis(10)).await;
        shown = desk.operator.told(&target).await;
    }
    assert_eq!(shown["lapsed"], true);
    let listed = desk.operator.told("/v1/keys?state=unknown").await;
    assert_eq!(listed["keys"][0]["lapsed"], true);
    assert_eq!(listed["keys"][0]["version"], shown["version"]);
    assert!(ids(&desk, "/v1/keys?state=in-flight").await.is_empty());
}

#[tokio::test]
async fn pages_of_any_size_hold_each_record_once_and_the_last_has_no_cursor() {
    let desk = Desk::open(STORE).await;
    let mut put = BTreeSet::new();
    for number in 0..25 {
        put.insert(desk.put(&record(STATES[number % 4])).await);
    }
    for (limit, pages) in [(1, 25), (7, 4), (25, 1), (100, 1)] {
        let mut found = Vec::new();
        let mut cursor = String::new();
        let mut asked = 0;
        loop {
            let page = desk
                .operator
                .told(&format!("/v1/keys?limit={limit}{cursor}"))
                .await;
            asked += 1;
            let keys = page["keys"].as_array().unwrap();
            assert!(keys.len() <= limit, "{}", keys.len());
            found.extend(keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
            match page.get("cursor") {
                Some(next) => {
                    assert_eq!(keys.len(), limit, "only a full page has others after it");
                    cursor = format!("&cursor={}", next.as_str().unwrap());
                }
                None => break,
            }
        }
        // A page that happens to be the last full one may be followed by an empty one.
        assert!((pages..=pages + 1).contains(&asked), "{asked} pages of {limit}");
        assert_eq!(found.len(), put.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), put);
    }
    let page = desk.operator.told("/v1/keys?state=unknown&limit=3").await;
    assert_eq!(page["keys"].as_array().unwrap().len(), 3);
    let rest = format!(
        "/v1/keys?state=unknown&limit=100&cursor={}",
        page["cursor"].as_str().unwrap()
    );
    assert_eq!(ids(&desk, &rest).await.len(), 3);
}

#[tokio::test]
async fn records_are_found_by_route_key_and_age() {
    let desk = Desk::open(STORE).await;
    let mut other = record(State::Unknown);
    let key = crate::desk::digest_of("k 2");
    other.origin = Origin::new("a route & more", "POST", "/orders", key);
    other.created = UnixMillis(4_000_000_000_000);
    let (one, other) = (
        desk.put(&record(State::Unknown)).await,
        desk.put(&other).await,
    );
    for (query, found) in [
        ("route=orders", vec![&one]),
        ("route=a%20route+%26%20more", vec![&other]),
        ("route=nowhere", vec![]),
        ("key=k-1", vec![&one]),
        ("key=%22k-1%22", vec![&one]),
        ("key=k+2", vec![&other]),
        ("key=k", vec![]),
        ("older_than=1m", vec![&one]),
        ("newer_than=1m", vec![&other]),
        ("key=k-1&route=orders&state=unknown&older_than=1m", vec![&one]),
        ("key=k-1&state=released", vec![]),
    ] {
        assert_eq!(
            ids(&desk, &format!("/v1/keys?{query}")).await.iter().collect::<Vec<_>>(),
            found,
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_named() {
    let desk = Desk::open(STORE).await;
    for (target, status, detail) in [
        ("/v1/keys?limit=0", 400, "limit: "),
        ("/v1/keys?limit=1001", 400, "limit: "),
        ("/v1/keys?cursor=1", 400, "cursor: "),
        ("/v1/keys?stat=1", 400, "unknown parameter: stat"),
        ("/v1/keys/1", 400, "record id"),
        ("/v1/keys/", 400, "record id"),
        ("/v1/keys/00112233445566778899aabbccddeeff", 404, "no record"),
        ("/v1/keys/00112233445566778899aabbccddeeff/x", 404, "no such page"),
    ] {
        let answer = desk.operator.get(target).await;
        answer.is_refused(status, "");
        let told = answer.document()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(detail), "{target}: {told}");
    }
}

#[tokio::test]
async fn a_record_whose_time_is_over_is_gone() {
    let desk = Desk::open(STORE).await;
    let id = desk
        .put(&Record {
            ttl: Duration::from_millis(200),
            ..record(State::Released)
        })
        .await;
    let target = format!("/v1/keys/{id}");
    patiently(async {
        while desk.operator.get(&target).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(ids(&desk, "/v1/keys").await.is_empty());
}
