//! Keys that another configuration would forget.

use crate::world::*;

const NARROW: &str = "[policy]\nscope = [\"path\"]\n";

#[tokio::test]
async fn a_changed_scope_is_taken_only_by_who_says_that_keys_may_be_forgotten() {
    let world = World::of("").await;
    world.post("k", "a").await;
    let fault = "9:9: [\"path\"]: `scope` is another for route default, so that the keys used there so far would be forgotten, and run again";
    world.refuses(NARROW, 409, &[fault]).await;
    let detail = reload(&world.proxy, "?forget_keys=false").await.text();
    assert!(
        detail.contains("POST /v1/reload?forget_keys=true"),
        "{detail}"
    );
    let again = world.post("k", "a").await;
    assert_eq!(again.field("x-idempotency-replay").as_deref(), Some("true"));
    let answer = reload(&world.proxy, "?forget_keys=true").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let anew = world.post("k", "a").await;
    assert_eq!(anew.field("x-idempotency-replay"), None);
    assert_eq!(world.upstream.executions(), 2);
    // It is what it goes by now.
    world.reload(&format!("{NARROW}retention = \"1h\"\n")).await;
}

#[tokio::test]
async fn keys_are_forgotten_by_no_restart_of_a_kind_that_needs_one() {
    let world = World::of("").await;
    world
        .file
        .write(&configuration(&world.upstream, NARROW).replace("\"tests\"", "\"other\""));
    let answer = reload(&world.proxy, "?forget_keys=true").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.text().contains("`service`"), "{answer:?}");
}

#[tokio::test]
async fn each_thing_that_names_records_is_told_with_its_place() {
    let world = World::of(
        "[[route]]\nname = \"ip\"\npath = \"/ip\"\nscope = [\"client-ip\"]\n[[route]]\npath = \"/query\"\nkey = [\"query:k\"]\n\
         [[route]]\npath = \"/content\"\nretention = \"1m\"\nkey = [\"content\"]\n",
    )
    .await;
    let again = "so that the keys used there so far would be forgotten, and run again";
    world
        .refuses(
            "[[route]]\nname = \"ip\"\npath = \"/ip\"\nscope = [\"client-ip\"]\n[[route]]\npath = \"/query\"\nkey = [\"cookie:k\", \"query:k\"]\n\
             [[route]]\npath = \"/content\"\nretention = \"1m\"\nkey = [\"content\"]\nfingerprint = [\"body\"]\n\
             [server]\ntrust_forwarded = [\"loopback\"]\n[[route]]\nname = \"new\"\npath = \"/orders\"\nscope = []\n",
            409,
            &[
                &format!("14:7: [\"cookie:k\", \"query:k\"]: `key` is another for route /query, {again}"),
                &format!("19:15: [\"body\"]: `fingerprint` is another for route /content, {again}"),
                &format!("21:19: [\"loopback\"]: `server.trust_forwarded` is another for route ip, {again}"),
                &format!("25:9: []: `scope` is another for route new, {again}"),
            ],
        )
        .await;
    assert_eq!(world.post("k", "a").await.status, 201);
}

#[tokio::test]
async fn other_keys_of_an_issuer_are_other_claims() {
    let world = World::of("").await;
    let secret = world
        .file
        .beside("secret", "0123456789abcdef0123456789abcdef");
    let jwt = format!("[jwt]\nsecret_file = {secret:?}\n");
    // Nothing is named by it.
    world.reload(&jwt).await;
    std::fs::write(&secret, "fedcba9876543210fedcba9876543210").unwrap();
    world.reload(&jwt).await;
    let claims =
        format!("{jwt}[[route]]\npath = \"/new\"\nmethods = [\"PUT\"]\nscope = [\"jwt:sub\"]\n");
    world.file.write(&configuration(&world.upstream, &claims));
    assert_eq!(reload(&world.proxy, "?forget_keys=true").await.status, 200);
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let answer = reload(&world.proxy, "").await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        answer.text().contains("[jwt] is another for route /new"),
        "{answer:?}"
    );
    assert!(!answer.text().contains("0123456789"), "{answer:?}");
}

#[tokio::test]
async fn who_ends_enforcement_is_told_of_the_keys_that_would_run_again() {
    let world = World::of("").await;
    world.post("k", "a").await;
    let again = "takes requests out of route default whose keys were used so far, so that their retries would run again";
    for mode in ["observe", "off"] {
        world
            .refuses(
                &format!("[policy]\nmode = \"{mode}\"\n"),
                409,
                &[&format!("9:8: \"{mode}\": `mode` {again}")],
            )
            .await;
    }
    world
        .refuses(
            "[policy]\nmethods = [\"PUT\"]\n",
            409,
            &[&format!("9:11: [\"PUT\"]: `methods` {again}")],
        )
        .await;
    let replay = world.post("k", "a").await;
    assert_eq!(
        replay.field("x-idempotency-replay").as_deref(),
        Some("true")
    );
    assert_eq!(world.upstream.executions(), 1);
}
