use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::Trouble;
use crate::support::eventually;
use crate::world::*;

#[tokio::test]
async fn the_answer_that_asks_for_a_confirmation_is_not_kept_and_the_confirmed_request_runs_once() {
    let world = World::of("confirm").await;
    let amount = json!({"amount": 5000});
    let ask = keyed("/transfers", "k", &amount);
    let confirm = keyed("/transfers?confirm=1", "k", &amount);
    for _ in 0..2 {
        let asked = world.send(&ask).await;
        asked.is_not_kept(200);
        assert_eq!(asked.document()["data"]["requires_confirmation"], true);
    }
    let first = world.send(&confirm).await;
    first.is_kept(201);
    world.send(&confirm).await.repeats(&first);
    // A late duplicate of the first step.
    world.send(&ask).await.repeats(&first);
    assert_eq!(world.api.effects(), ["sent 5000"]);
}

#[tokio::test]
async fn what_needs_no_confirmation_runs_once() {
    let world = World::of("confirm").await;
    let request = keyed("/transfers", "k", &json!({"amount": 5}));
    let first = world.send(&request).await;
    first.is_kept(201);
    world.send(&request).await.repeats(&first);
    assert_eq!(world.api.effects(), ["sent 5"]);
}

#[tokio::test]
async fn another_user_may_use_the_same_key() {
    let world = World::of("confirm").await;
    let request = keyed("/transfers", "k", &json!({"amount": 5}));
    for user in ["one", "other"] {
        world
            .send(&bearing(request.clone(), user))
            .await
            .is_kept(201);
    }
    assert_eq!(world.api.effects().len(), 2);
}

#[tokio::test]
async fn what_worked_is_kept_for_a_week_and_what_failed_for_a_day() {
    let world = World::of("confirm").await;
    let day = 86_400.0;
    for (key, amount, days) in [("good", 5, 7.0), ("bad", -5, 1.0)] {
        let request = keyed("/transfers", key, &json!({"amount": amount}));
        let first = world.send(&request).await;
        let expires = first.field("x-idempotency-expires").unwrap();
        let expires = httpdate::parse_http_date(&expires).unwrap();
        let left = expires
            .duration_since(std::time::SystemTime::now())
            .unwrap();
        let off = (left.as_secs_f64() - days * day).abs();
        assert!(off < 120.0, "{key}: {left:?}");
        world.send(&request).await.repeats(&first);
    }
}

#[tokio::test]
async fn the_proxys_errors_have_the_apis_envelope() {
    let world = World::of("confirm").await;
    let gate = CancellationToken::new();
    let request = keyed("/transfers", "k", &json!({"amount": 5}));
    world.api.next(Trouble::Slow(gate.clone()));
    let mut first = world.proxy.connect().await;
    first.send(&request.bytes()).await;
    eventually(|| world.api.effects().len() == 1).await;
    let refused = world.send(&request).await;
    refused.is_refused(409, "in-progress");
    assert!(refused.field("retry-after").is_some());
    assert_eq!(
        refused.field("content-type").as_deref(),
        Some("application/json")
    );
    let message = "This request is already being processed. Please wait.";
    let expected =
        json!({"success": false, "error": {"code": "REQUEST_IN_PROGRESS", "message": message}});
    assert_eq!(refused.document(), expected);
    gate.cancel();
    first.answer().await.is_kept(201);
    let other = keyed("/transfers", "k", &json!({"amount": 6}));
    let refused = world.send(&other).await;
    refused.is_refused(422, "key-reused");
    assert_eq!(
        refused.document()["error"]["message"],
        "This key was used for another request."
    );
    let refused = world.send(&json("POST", "/transfers", &json!({}))).await;
    refused.is_refused(400, "key-missing");
    assert_eq!(refused.document()["success"], false);
}
