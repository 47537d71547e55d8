//! What a key has to look like, whatever its source.

use crate::support::*;
use crate::world::*;

const UUID4: &str = "9f7c2a1e-5f5e-4f0e-8d0e-0a1b2c3d4e5f";

async fn world(policy: &str) -> World {
    World::policy(Backing::Memory, policy).await
}

/// A version 7 UUID, this many seconds from now.
fn uuid7(seconds: i64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let millis = i64::try_from(now.as_millis()).unwrap() + seconds * 1000;
    let bits = u128::try_from(millis).unwrap() << 80 | 0x7abc_8abc_0123_4567_89ab;
    uuid::Uuid::from_u128(bits).to_string()
}

async fn refused(world: &World, key: &str, word: &str) {
    let answer = world.post(key, "a").await;
    answer.is_problem(400, "key-invalid");
    let detail = answer.document()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("header idempotency-key"), "{detail}");
    assert!(detail.contains(word), "{detail} does not say {word:?}");
    assert!(!detail.contains(key), "{detail}");
}

#[tokio::test]
async fn a_uuid_is_asked_for_by_version() {
    let any = world("key_format = \"uuid\"").await;
    let first = any.post(UUID4, "a").await;
    first.is_first(201, true, "completed");
    any.post(&format!("\"{UUID4}\""), "a").await.replays(&first);
    any.post(&uuid7(0), "a")
        .await
        .is_first(201, true, "completed");
    // Well-formed, and another key: a format refuses keys and changes none.
    let capitals = any.post(&UUID4.to_uppercase(), "a").await;
    capitals.is_first(201, true, "completed");
    refused(&any, "order-17", "8-4-4-4-12").await;
    refused(&any, &UUID4.replace('-', ""), "8-4-4-4-12").await;
    refused(&any, "00000000-0000-0000-0000-000000000000", "nil").await;

    let four = world("key_format = \"uuid4\"").await;
    four.post(UUID4, "a").await.is_first(201, true, "completed");
    refused(&four, &uuid7(0), "version 4").await;
}

#[tokio::test]
async fn a_uuid7_is_of_about_now() {
    let world = world("key_format = \"uuid7\"").await;
    for seconds in [0, 30, -6 * 86_400] {
        let answer = world.post(&uuid7(seconds), "a").await;
        answer.is_first(201, true, "completed");
    }
    refused(&world, UUID4, "version 7").await;
    refused(&world, &uuid7(3_600), "uuid7_max_future").await;
    refused(&world, &uuid7(-8 * 86_400), "uuid7_max_age").await;
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn the_bounds_of_a_uuid7_are_the_operators() {
    let world =
        world("key_format = \"uuid7\"\nuuid7_max_future = \"2h\"\nuuid7_max_age = \"1h\"").await;
    let ahead = world.post(&uuid7(3_600), "a").await;
    ahead.is_first(201, true, "completed");
    refused(&world, &uuid7(-2 * 3_600), "uuid7_max_age").await;
}

#[tokio::test]
async fn a_regular_expression_holds_for_the_whole_key_of_any_source() {
    let world = world(
        "key_format = 'regex:ord|ord_\\d+'\nkey = [\"header:Idempotency-Key\", \"query:id\", \"json:/id\"]",
    )
    .await;
    for key in ["ord", "ord_17"] {
        world.post(key, "a").await.is_first(201, true, "completed");
    }
    for key in ["ord_", "xord_17", "ord_17x", "ord_17 "] {
        let answer = world
            .send(&post("/orders", "", format!(r#"{{"id":"{key}"}}"#)))
            .await;
        answer.is_problem(400, "key-invalid");
        assert!(answer.text().contains("the body at /id"), "{answer:?}");
    }
    let answer = world.send(&post("/orders?id=x", "", "a")).await;
    answer.is_problem(400, "key-invalid");
    assert!(answer.text().contains("query parameter id"), "{answer:?}");
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_key_from_the_content_has_no_format_to_keep() {
    let world = world(
        "key = [\"content\"]\nretention = \"1m\"\nkey_format = \"uuid7\"\nkey_max_length = 5",
    )
    .await;
    let first = world.send(&post("/orders", "", "a")).await;
    first.is_first(201, true, "completed");
    world.send(&post("/orders", "", "a")).await.replays(&first);
}
