//! What operators may do to records, and to which.

use std::time::Duration;

use idemproxy::idempotency::{Lapse, Record, State};
use serde_json::{Value, json};

use super::STORE;
use crate::desk::{Desk, record};
use crate::support::patiently;
use crate::world::Says;

#[tokio::test]
async fn a_live_lease_is_respected_unless_forced() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::InFlight)).await;
    let before = operator.told(&format!("/v1/keys/{id}")).await;
    for answer in [
        operator.release(&id, json!({})).await,
        operator.delete(&id, json!({"force": false})).await,
        operator.resolve(&id, json!({"executed": true})).await,
        operator.resolve(&id, json!({"executed": false})).await,
    ] {
        answer.is_refused(409, "LEASE_LIVE");
    }
    let mut after = operator.told(&format!("/v1/keys/{id}")).await;
    after["expires"] = before["expires"].clone();
    assert_eq!(after, before);
    let entry = operator.release(&id, json!({"force": true})).await.is_done();
    assert_eq!(entry["state"], "released");
    assert_ne!(entry["version"], before["version"]);
    assert_eq!(entry["error"], "released by an operator");
}

#[tokio::test]
async fn force_for_one_refusal_overrides_no_other() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::InFlight)).await;
    for other in ["STORE_UNWATCHED", "ALREADY_COMPLETED"] {
        let answer = operator.release(&id, json!({"force": other})).await;
        answer.is_refused(409, "LEASE_LIVE");
    }
    let entry = operator.release(&id, json!({"force": "LEASE_LIVE"})).await.is_done();
    assert_eq!(entry["state"], "released");
    // Nor is it held against an order that needs none.
    let gone = operator.delete(&id, json!({"force": "LEASE_LIVE"})).await.is_done();
    assert_eq!(gone["path"], "");
}

#[tokio::test]
async fn a_lapsed_claim_is_released_without_force() {
    let desk = Desk::open(STORE).await;
    let id = desk
        .put(&Record {
            lease: Duration::from_millis(200),
            ..record(State::InFlight)
        })
        .await;
    let entry = patiently(async {
        loop {
            let answer = desk.operator.release(&id, json!({})).await;
            if answer.status == 200 {
                return answer.is_done();
            }
            // Until it lapsed; and until the store was watched for long enough to believe that.
            let code = answer.document()["code"].as_str().unwrap().to_owned();
            assert!(["LEASE_LIVE", "STORE_UNWATCHED"].contains(&&*code), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(entry["state"], "released");
}

#[tokio::test]
async fn an_unknown_outcome_can_be_settled_each_way() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let response = json!({"status": 200, "headers": {"content-type": "text/plain"}, "body": "found"});
    for (order, state, status, bytes) in [
        (json!({"executed": true, "response": response}), "completed", 200, json!(5)),
        (json!({"executed": true}), "completed", 201, Value::Null),
        (json!({"executed": false}), "released", 201, Value::Null),
    ] {
        let id = desk.put(&record(State::Unknown)).await;
        let entry = operator.resolve(&id, order.clone()).await.is_done();
        assert_eq!(entry["state"], state, "{order}");
        assert_eq!(entry["status"], status, "{order}");
        assert_eq!(entry["response_bytes"], bytes, "{order}");
        assert_eq!(operator.told(&format!("/v1/keys/{id}")).await["version"], entry["version"]);
    }
    let id = desk.put(&record(State::Unknown)).await;
    assert_eq!(operator.release(&id, json!({})).await.is_done()["state"], "released");
    operator.release(&id, json!({})).await.is_refused(409, "ALREADY_RELEASED");
    let id = desk.put(&record(State::Unknown)).await;
    let entry = operator.delete(&id, json!({})).await.is_done();
    assert_eq!(entry["state"], "released");
    assert_eq!(entry["path"], "");
}

#[tokio::test]
async fn what_contradicts_a_release_has_another_code_than_what_is_one() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::Released)).await;
    for force in [false, true] {
        let again = operator.release(&id, json!({"force": force})).await;
        again.is_refused(409, "ALREADY_RELEASED");
    }
    let against = json!({"executed": true});
    operator.resolve(&id, against).await.is_refused(409, "SETTLED_AS_RELEASED");
    let forced = json!({"executed": true, "force": true});
    operator.resolve(&id, forced).await.is_done();
}

#[tokio::test]
async fn what_is_completed_is_released_by_force_alone() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::Completed)).await;
    operator.release(&id, json!({})).await.is_refused(409, "ALREADY_COMPLETED");
    let entry = operator.release(&id, json!({"force": true})).await.is_done();
    assert_eq!(entry["state"], "released");
    assert_eq!(entry["response_bytes"], Value::Null);
}

#[tokio::test]
async fn a_change_names_the_record_that_was_shown() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::Unknown)).await;
    let target = format!("/v1/keys/{id}/release");
    let shown = operator.get(&format!("/v1/keys/{id}")).await;
    let (version, tag) = (
        shown.document()["version"].as_str().unwrap().to_owned(),
        shown.field("etag").unwrap(),
    );
    let body = json!({"reason": "the tests"});
    let change = operator.change("POST", &target, &body);
    for wrong in ["\"0\"", &version, "\"0\", \"1\"", "W/\"0\""] {
        let change = change.clone().field("If-Match", wrong);
        operator.send(&change).await.is_refused(412, "VERSION_DIFFERS");
    }
    operator
        .release(&id, json!({"version": "0"}))
        .await
        .is_refused(412, "VERSION_DIFFERS");
    // It is settled meanwhile by somebody else.
    let other = desk.put(&record(State::Unknown)).await;
    let stale = operator.told(&format!("/v1/keys/{other}")).await["version"].clone();
    operator.resolve(&other, json!({"executed": true})).await.is_done();
    for force in [false, true] {
        operator
            .release(&other, json!({"version": stale, "force": force}))
            .await
            .is_refused(412, "VERSION_DIFFERS");
    }
    operator.send(&change.field("If-Match", tag)).await.is_done();
    assert_eq!(operator.told(&format!("/v1/keys/{id}")).await["state"], "released");
}

#[tokio::test]
async fn of_changes_at_once_one_wins_and_the_others_are_told() {
    let desk = Desk::open(STORE).await;
    let mut lost = 0;
    for _ in 0..10 {
        let id = desk.put(&record(State::Unknown)).await;
        let orders = (0..8).map(|number| {
            let (operator, id) = (desk.operator.clone(), id.clone());
            tokio::spawn(async move {
                match number % 2 {
                    0 => operator.release(&id, json!({})).await,
                    _ => operator.resolve(&id, json!({"executed": true})).await,
                }
            })
        });
        let mut won = Vec::new();
        for order in orders.collect::<Vec<_>>() {
            let answer = order.await.unwrap();
            if answer.status == 200 {
                won.push(answer.is_done());
            } else {
                let code = answer.document()["code"].as_str().unwrap().to_owned();
                answer.is_refused(409, &code);
                lost += u32::from(code == "RECORD_CHANGED");
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let now = desk.operator.told(&format!("/v1/keys/{id}")).await;
        assert_eq!(now["version"], won[0]["version"]);
    }
    println!("{lost} of 70 were refused by the store, the others by what they saw");
    // In memory a change is over before the next one begins.
    assert!(lost > 0 || STORE == crate::world::Backing::Memory);
}

#[tokio::test]
async fn a_holder_can_neither_settle_nor_renew_what_was_forced_away() {
    use idemproxy::idempotency::{Expect, RecordId};
    use idemproxy::store::{Replaced, Store};
    let desk = Desk::open(STORE).await;
    let claim = record(State::InFlight);
    let settled = Record {
        state: State::Completed,
        ..claim.clone()
    };
    for order in ["release", "delete", "executed", "not executed"] {
        let id = desk.put(&Record { token: fresh(), ..claim.clone() }).await;
        let key = RecordId::from_bytes(u128::from_str_radix(&id, 16).unwrap().to_be_bytes());
        let held = desk.store.look(key).await.unwrap().unwrap().record.token;
        let force = json!({"force": true});
        let answer = match order {
            "release" => desk.operator.release(&id, force).await,
            "delete" => desk.operator.delete(&id, force).await,
            "executed" => desk.operator.resolve(&id, json!({"force": true, "executed": true})).await,
            _ => desk.operator.resolve(&id, json!({"force": true, "executed": false})).await,
        };
        let entry = answer.is_done();
        let renewed = desk.store.renew(key, held).await.unwrap();
        assert_eq!(renewed, Replaced::Stale, "{order}");
        let end = Record { token: held, ..settled.clone() };
        let ended = desk.store.replace(key, Expect::Held(held), &end).await;
        assert_eq!(ended, Ok(Replaced::Stale), "{order}");
        let seen = desk.store.look(key).await.unwrap().unwrap();
        assert_ne!(seen.record.token, held);
        assert_eq!(seen.lapse, Lapse::Live);
        assert_eq!(entry["state"], seen.record.state.name());
    }
}

fn fresh() -> idemproxy::idempotency::Token {
    idemproxy::idempotency::Token::from_bytes(uuid::Uuid::now_v7().into_bytes())
}

#[tokio::test]
async fn what_is_no_change_is_refused_and_changes_nothing() {
    let desk = Desk::open(STORE).await;
    let operator = &desk.operator;
    let id = desk.put(&record(State::Unknown)).await;
    let release = format!("/v1/keys/{id}/release");
    let before = operator.told(&format!("/v1/keys/{id}")).await["version"].clone();
    let good = json!({"reason": "the tests"});
    let typed = |media: &str| operator.request("POST", &release).field("Content-Type", media);
    let large = json!({"reason": "the tests", "executed": true, "response": {"status": 200, "body": "x".repeat(1_001)}});
    let huge = json!({"reason": "x".repeat(100_000)});
    let resolve = format!("/v1/keys/{id}/resolve");
    let framed = json!({"reason": "x", "executed": true, "response": {"status": 200, "headers": {"transfer-encoding": "chunked"}}});
    for (request, status) in [
        (operator.request("POST", &release).body(good.to_string()), 415),
        (typed("text/plain").body(good.to_string()), 415),
        (typed("application/jsonp").body(good.to_string()), 415),
        (typed("application/json").body("{"), 400),
        (operator.change("POST", &release, &json!({"reason": " "})), 400),
        (operator.change("POST", &release, &json!({"reason": "x", "execute": true})), 400),
        (operator.change("POST", &resolve, &good), 400),
        (operator.change("POST", &resolve, &large), 400),
        (operator.change("POST", &resolve, &framed), 400),
        (operator.change("POST", &release, &huge), 413),
        (operator.change("PUT", &release, &good), 405),
        (operator.request("GET", &release), 405),
        (operator.change("POST", &format!("/v1/keys/{id}"), &good), 405),
        (operator.change("POST", "/v1/keys", &good), 405),
        (operator.change("POST", "/v1/keys/00112233445566778899aabbccddeeff/release", &good), 404),
    ] {
        operator.send(&request).await.is_refused(status, "");
    }
    let after = operator.told(&format!("/v1/keys/{id}")).await["version"].clone();
    assert_eq!(after, before);
    let with_charset = typed("Application/JSON; charset=utf-8").body(good.to_string());
    operator.send(&with_charset).await.is_done();
}
