use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};

use crate::world::*;

/// A UUIDv7 of a moment so far from now; `ahead` or behind.
fn uuid7(distance: Duration, ahead: bool) -> String {
    let now = SystemTime::now();
    let at = if ahead {
        now + distance
    } else {
        now - distance
    };
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Uuid::new_v7(Timestamp::from_unix(
        NoContext,
        at.as_secs(),
        at.subsec_nanos(),
    ))
    .to_string()
}

fn batch(key: &str) -> Value {
    json!({"batch_id": key, "items": [1, 2, 3]})
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_batch_runs_once_as_a_whole() {
    let world = World::of("batches").await;
    let key = uuid7(Duration::ZERO, true);
    let request = json("POST", "/batches", &batch(&key));
    let first = world.send(&request).await;
    first.is_kept(207);
    world.send(&request).await.repeats(&first);
    // The same key in the header is the same batch.
    let request = request.field("Idempotency-Key", &key);
    world.send(&request).await.repeats(&first);
    assert_eq!(world.api.effects(), ["made 1", "made 2", "made 3"]);
}

#[tokio::test]
async fn another_batch_under_the_same_key_is_refused() {
    let world = World::of("batches").await;
    let key = uuid7(Duration::ZERO, true);
    world
        .send(&json("POST", "/batches", &batch(&key)))
        .await
        .is_kept(207);
    let other = json!({"batch_id": key, "items": [4]});
    let refused = world.send(&json("POST", "/batches", &other)).await;
    refused.is_refused(422, "key-reused");
    let kind = refused.field("content-type");
    assert_eq!(kind.as_deref(), Some("application/problem+json"));
    assert_eq!(refused.document()["code"], "KEY_REUSED");
}

#[tokio::test]
async fn an_id_whose_time_is_out_of_bounds_is_refused_and_one_within_is_not() {
    let world = World::of("batches").await;
    for (distance, ahead) in [
        (Duration::from_secs(300), true),
        (8 * DAY, false),
        (3650 * DAY, true),
    ] {
        let key = uuid7(distance, ahead);
        let refused = world.send(&json("POST", "/batches", &batch(&key))).await;
        refused.is_refused(400, "key-invalid");
    }
    assert_eq!(world.api.asked(), 0);
    for (distance, ahead) in [(Duration::from_secs(30), true), (6 * DAY, false)] {
        let key = uuid7(distance, ahead);
        world
            .send(&json("POST", "/batches", &batch(&key)))
            .await
            .is_kept(207);
    }
    let four = uuid7(Duration::ZERO, true);
    let four = format!("{}4{}", &four[..14], &four[15..]);
    let refused = world.send(&json("POST", "/batches", &batch(&four))).await;
    refused.is_refused(400, "key-invalid");
}
