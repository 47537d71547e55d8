use serde_json::json;

use crate::api::Trouble;
use crate::support::{Client, get};
use crate::world::*;

const ID: &str = "6f1c1d2e-8a3b-4c5d-9e0f-1a2b3c4d5e6f";

#[tokio::test]
async fn a_row_that_is_there_already_is_answered_with_200_and_the_row() {
    let world = World::of("duplicate-creates").await;
    let create = json("POST", "/orders", &json!({"client_id": ID, "item": "tea"}));
    // It came into the database round the proxy.
    let api = world.api.address();
    assert_eq!(Client::once(api, &create).await.status, 201);
    let first = world.send(&create).await;
    first.is_kept(200);
    assert_eq!(first.document()["client_id"], ID);
    assert_eq!(first.document()["version"], 1);
    world.send(&create).await.repeats(&first);
    assert_eq!(world.api.effects(), [format!("created {ID}")]);
}

#[tokio::test]
async fn a_new_row_is_answered_with_201_and_so_is_its_retry() {
    let world = World::of("duplicate-creates").await;
    let create = json("POST", "/orders", &json!({"client_id": ID, "item": "tea"}));
    let first = world.send(&create).await;
    first.is_kept(201);
    world.send(&create).await.repeats(&first);
    assert_eq!(world.api.asked(), 1);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_found_by_the_retry() {
    let world = World::of("duplicate-creates").await;
    let create = json("POST", "/orders", &json!({"client_id": ID, "item": "tea"}));
    world.api.next(Trouble::AnswerLost);
    world.send(&create).await.is_refused(502, "upstream-failed");
    let found = world.send(&create).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(found.document()["client_id"], ID);
    world.send(&create).await.repeats(&found);
    assert_eq!(world.api.effects(), [format!("created {ID}")]);
}

#[tokio::test]
async fn a_create_without_its_id_is_refused_and_reads_pass() {
    let world = World::of("duplicate-creates").await;
    let answer = world.send(&json("POST", "/orders", &json!({}))).await;
    answer.is_refused(400, "key-missing");
    let row = world
        .send(&get(&format!("/orders/by-client-id/{ID}")))
        .await;
    assert_eq!(row.status, 404);
    assert_eq!(row.field("x-idempotency-id"), None);
    assert_eq!(world.api.asked(), 0);
}
