use serde_json::json;

use crate::support::Request;
use crate::world::*;

const APP: &str = "https://app.example";

fn of_page(request: Request, session: &str) -> Request {
    request
        .field("Origin", APP)
        .field("Cookie", format!("theme=dark; session={session}"))
}

#[tokio::test]
async fn a_double_click_on_a_form_without_keys_runs_once_for_each_user() {
    let world = World::of("browser").await;
    let form = json("POST", "/checkout", &json!({"cart": [1, 2]}));
    let click = of_page(form.clone(), "one");
    let (first, second) = tokio::join!(world.send(&click), world.send(&click));
    assert_eq!(
        (first.status, second.status),
        (201, 201),
        "{first:?} {second:?}"
    );
    assert_eq!(first.body, second.body);
    assert_eq!(world.api.effects().len(), 1);
    // Somebody else bought the same.
    world.send(&of_page(form, "other")).await.is_kept(201);
    let other_cart = json("POST", "/checkout", &json!({"cart": [3]}));
    world.send(&of_page(other_cart, "one")).await.is_kept(201);
    assert_eq!(world.api.effects().len(), 3);
}

#[tokio::test]
async fn pages_of_the_app_may_read_answers_replays_and_refusals() {
    let world = World::of("browser").await;
    let order = |item: &str| {
        of_page(
            keyed("/orders", "k", &json!({"client_id": "c", "item": item})),
            "s",
        )
    };
    let first = world.send(&order("tea")).await;
    first.is_kept(201);
    let replay = world.send(&order("tea")).await;
    replay.repeats(&first);
    let refused = world.send(&order("coffee")).await;
    refused.is_refused(422, "key-reused");
    for answer in [&first, &replay, &refused] {
        assert_eq!(
            answer.field("access-control-allow-origin").as_deref(),
            Some(APP),
            "{answer:?}"
        );
        let exposed = answer
            .all("access-control-expose-headers")
            .join(",")
            .to_lowercase();
        for name in [
            "x-idempotency-stored",
            "x-idempotency-replay",
            "x-idempotency-error",
            "x-idempotency-state",
        ] {
            assert!(exposed.contains(name), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_not() {
    let world = World::of("browser").await;
    let order = keyed("/orders", "", &json!({"client_id": "c"})).field("Idempotency-Key", "");
    let refused = world
        .send(&order.field("Origin", "https://evil.example"))
        .await;
    refused.is_refused(400, "key-invalid");
    assert_eq!(refused.field("access-control-allow-origin"), None);
    let twice = json("POST", "/orders", &json!({"client_id": "d"}));
    let twice = of_page(twice, "one")
        .field("Cookie", "session=other")
        .field("Idempotency-Key", "k");
    world.send(&twice).await.is_refused(400, "scope-ambiguous");
    assert_eq!(world.api.asked(), 0);
}
