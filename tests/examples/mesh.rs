use serde_json::json;

use crate::api::Trouble;
use crate::world::*;

const ID: &str = "order-1";

#[tokio::test]
async fn a_503_of_the_mesh_that_hides_an_answer_does_not_run_again() {
    let world = World::of("mesh").await;
    let create = keyed("/orders", ID, &json!({"client_id": ID, "item": "tea"}));
    world.api.next(Trouble::MeshLostIt);
    let lost = world.send(&create).await;
    lost.is_not_kept(503);
    assert_eq!(
        lost.field("x-idempotency-state").as_deref(),
        Some("unknown")
    );
    let found = world.send(&create).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(found.document()["client_id"], ID);
    assert_eq!(world.api.effects(), [format!("created {ID}")]);
    assert_eq!(world.api.asked(), 1);
}

#[tokio::test]
async fn what_the_mesh_did_not_send_and_what_the_api_refused_may_run_again() {
    let world = World::of("mesh").await;
    let create = keyed("/orders", ID, &json!({"client_id": ID, "item": "tea"}));
    for trouble in [Trouble::MeshRefused, Trouble::Busy] {
        world.api.next(trouble);
        let refused = world.send(&create).await;
        refused.is_not_kept(503);
        assert_eq!(
            refused.field("x-idempotency-state").as_deref(),
            Some("released")
        );
    }
    world.send(&create).await.is_kept(201);
    assert_eq!(world.api.effects(), [format!("created {ID}")]);
}
