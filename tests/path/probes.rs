//! What is asked of the upstream about operations in doubt, and about other credentials.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// Probes, and believes an absence after so long.
fn probing(after: &str, more: &str) -> String {
    format!(
        r#"
        lease = "300ms"
        upstream_timeout = "1s"
        max_stored_response = "1KiB"
        unknown_outcome = "probe"
        probe = {{ path = "/orders/{{key}}", after = "{after}" }}
        {more}
        "#
    )
}

/// A key whose outcome is unknown: its request was read, and not answered.
async fn in_doubt(world: &World, request: &Request) {
    world.upstream.next(Act::new([Step::Fin]));
    world
        .send(request)
        .await
        .is_problem(502, "upstream-failed")
        .in_state("unknown");
}

/// Waits until the store was watched for a lease: before that nothing is believed to be over.
async fn watched(world: &World) {
    let request = post("/orders", "watched", "a");
    in_doubt(world, &request).await;
    patiently(async {
        loop {
            world.upstream.next(Reply::new(404));
            let answer = world.send(&request).await;
            if answer.status != 409 {
                answer.is_first(201, true, "completed");
                return;
            }
            answer.is_problem(409, "in-progress");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_upstream_knows_of_is_completed_with_its_answer() {
    let world = World::policy(STORE, &probing("1h", "")).await;
    let request = post("/orders", "a b", "a").field("Authorization", "Basic dTpw");
    in_doubt(&world, &request).await;
    world
        .upstream
        .next(Reply::new(203).field("X-Row", "7").body("row 7"));
    let found = world.send(&request).await;
    assert_eq!((found.status, found.text()), (200, "row 7".to_owned()));
    found.in_state("completed");
    let asked = world.upstream.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/orders/a%20b")
    );
    assert_eq!(asked.field("authorization"), Some("Basic dTpw"));
    assert_eq!(asked.field("idempotency-key"), None);
    world.send(&request).await.replays(&found);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn another_request_under_the_key_asks_nothing() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    in_doubt(&world, &post("/orders", "k", "a")).await;
    world
        .post("k", "b")
        .await
        .is_problem(422, "key-reused")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn what_the_upstream_does_not_know_of_is_carried_out_again() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    watched(&world).await;
    let asked = world.upstream.asked();
    let request = post("/orders", "k", "a");
    in_doubt(&world, &request).await;
    world.upstream.next(Reply::new(404));
    let second = world.send(&request).await;
    second.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), asked + 3);
    let entry = world.upstream.last();
    assert_eq!((entry.method.as_str(), entry.body.as_slice()), ("POST", &b"a"[..]));
    assert_eq!(entry.all("x-idempotency-attempt"), ["2"]);
    world.send(&request).await.replays(&second);
}

#[tokio::test]
async fn an_absence_is_not_believed_at_once() {
    let world = World::policy(STORE, &probing("1h", "")).await;
    let request = post("/orders", "k", "a");
    in_doubt(&world, &request).await;
    for _ in 0..2 {
        world.upstream.next(Reply::new(404));
        let answer = world.send(&request).await;
        answer.is_problem(409, "in-progress").in_state("unknown");
        let after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&after), "{after}");
    }
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn an_absence_is_believed_once_its_time_has_passed() {
    let world = World::policy(STORE, &probing("1s", "")).await;
    let request = post("/orders", "k", "a");
    let began = tokio::time::Instant::now();
    in_doubt(&world, &request).await;
    let answer = patiently(async {
        loop {
            world.upstream.next(Reply::new(404));
            let answer = world.send(&request).await;
            if answer.status != 409 {
                return answer;
            }
            answer.is_problem(409, "in-progress");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    answer.is_first(201, true, "completed");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn every_other_answer_leaves_the_outcome_unknown() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    let request = post("/orders", "k", "a");
    in_doubt(&world, &request).await;
    let acts: [Act; 8] = [
        Act::new([Step::Never]),
        Act::new([Step::Fin]),
        Reply::new(200).body("cut").cut_after(1).then(Step::Fin),
        Reply::new(200).body("stalls").cut_after(1).then(Step::Never),
        Reply::new(302).field("Location", "/elsewhere").into(),
        Reply::new(500).into(),
        Reply::new(401).into(),
        Reply::new(403).into(),
    ];
    for (place, act) in acts.into_iter().enumerate() {
        world.upstream.next(act);
        let answer = world.send(&request).await;
        answer.is_problem(409, "outcome-unknown").in_state("unknown");
        assert_eq!(world.upstream.asked(), place + 2);
    }
}

#[tokio::test]
async fn what_is_found_and_too_large_to_keep_is_completed_without_it() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    let request = post("/orders", "k", "a");
    in_doubt(&world, &request).await;
    world.upstream.next(Reply::new(200).body(vec![b'x'; 2000]));
    for _ in 0..2 {
        let answer = world.send(&request).await;
        answer
            .is_problem(409, "response-not-stored")
            .in_state("completed");
        assert_eq!(answer.document()["status_code"], 200);
    }
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn one_at_a_time_asks_about_a_key() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    let request = post("/orders", "k", "a");
    in_doubt(&world, &request).await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(200).body("row").after(&gate));
    let mut first = world.begin(&request).await;
    world.upstream.asked_for(2).await;
    for _ in 0..3 {
        let meanwhile = world.send(&request).await;
        meanwhile.is_problem(409, "in-progress").in_state("unknown");
    }
    gate.cancel();
    let first = first.answer().await;
    assert_eq!(first.text(), "row");
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn an_absence_under_other_credentials_proves_nothing() {
    let world = World::policy(STORE, &probing("0s", "")).await;
    let under = |password: &str| {
        // Basic credentials of the user `u`.
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    in_doubt(&world, &under("dTpw")).await;
    world.upstream.next(Reply::new(404));
    let answer = world.send(&under("dTpx")).await;
    answer.is_problem(409, "outcome-unknown").in_state("unknown");
    // What they see is there.
    world.upstream.next(Reply::new(200).body("row"));
    let found = world.send(&under("dTpx")).await;
    assert_eq!((found.status, found.text()), (200, "row".to_owned()));
    world.send(&under("dTpx")).await.replays(&found);
    // The answer was given to those credentials, and is shown under them.
    world
        .send(&under("dTpw"))
        .await
        .is_problem(409, "credentials-changed");
}

#[tokio::test]
async fn an_absence_is_believed_under_the_credentials_of_the_record_whatever_the_scope() {
    let scopes = ["[\"method\", \"path\"]", "[\"method\", \"path\", \"caller\"]"];
    let headers = ["Authorization", "Cookie", "X-Api-Key"];
    for (scope, header) in scopes
        .iter()
        .flat_map(|scope| headers.map(|header| (*scope, header)))
        // Two of these are two callers, and have a record each.
        .filter(|(scope, header)| !(scope.contains("caller") && *header == "Authorization"))
    {
        let world = World::policy(STORE, &probing("0s", &format!("scope = {scope}"))).await;
        watched(&world).await;
        let by = |who: &str| post("/orders", "k", "a").field(header, who);
        in_doubt(&world, &by("one")).await;
        let asked = world.upstream.asked();
        world.upstream.next(Reply::new(404));
        world
            .send(&by("other"))
            .await
            .is_problem(409, "outcome-unknown");
        world.upstream.next(Reply::new(404));
        world
            .send(&post("/orders", "k", "a"))
            .await
            .is_problem(409, "outcome-unknown");
        assert_eq!(world.upstream.asked(), asked + 2, "{scope} {header}");
        world.upstream.next(Reply::new(404));
        world
            .send(&by("one"))
            .await
            .is_first(201, true, "completed");
        // The answer is shown as before: they name nobody.
        let replayed = world.send(&by("other")).await;
        assert_eq!(replayed.status, 201, "{scope} {header}");
        assert_eq!(world.upstream.asked(), asked + 4, "{scope} {header}");
    }
}

#[tokio::test]
async fn credentials_that_stand_prove_no_absence_where_they_may_be_of_somebody_else() {
    let more = "scope = [\"method\", \"path\"]\nreplay_check = { path = \"/me\" }";
    let world = World::policy(STORE, &probing("0s", more)).await;
    let by = |who: &str| post("/orders", "k", "a").field("Authorization", who);
    in_doubt(&world, &by("one")).await;
    world.upstream.next(Reply::new(404)).next(Reply::new(200));
    world
        .send(&by("other"))
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(world.upstream.asked(), 2, "nobody asks who it is");
}

#[tokio::test]
async fn other_credentials_get_the_stored_answer_if_the_upstream_says_that_they_stand() {
    let check = r#"replay_check = { path = "/me", cache = "1h" }"#;
    let world = World::policy(STORE, check).await;
    let under = |key: &str, password: &str| {
        post("/orders", key, "a")
            .field("Authorization", format!("Basic {password}"))
            .field("Cookie", "session=of-somebody-else")
    };
    let first = world.send(&under("k", "dTpw")).await;
    first.is_first(201, true, "completed");
    world.upstream.next(Reply::new(200).body("you"));
    world.send(&under("k", "dTpx")).await.replays(&first);
    let asked = world.upstream.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/me")
    );
    assert_eq!(asked.field("authorization"), Some("Basic dTpx"));
    // It says nothing of whoever the Authorization header names.
    assert_eq!(asked.field("cookie"), None);
    // It is remembered, for every key.
    world.send(&under("k", "dTpx")).await.replays(&first);
    assert_eq!(world.upstream.asked(), 2);

    let acts: [Act; 4] = [
        Reply::new(401).into(),
        Reply::new(302).field("Location", "/login").into(),
        Reply::new(500).into(),
        Act::new([Step::Fin]),
    ];
    for (place, act) in acts.into_iter().enumerate() {
        world.upstream.next(act);
        let answer = world.send(&under("k", "dTp5")).await;
        answer
            .is_problem(409, "credentials-changed")
            .in_state("completed");
        assert_eq!(answer.document()["status_code"], 201);
        assert_eq!(world.upstream.asked(), place + 3, "a refusal is not remembered");
    }
    assert_eq!(
        world
            .upstream
            .ledger()
            .iter()
            .filter(|entry| entry.method == "POST")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_yes_that_is_known_waits_for_nobody_and_one_at_a_time_asks() {
    let check = r#"replay_check = { path = "/me", cache = "1h" }"#;
    let world = World::policy(STORE, check).await;
    let under = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    let first = world.send(&under("dTpw")).await;
    world.upstream.next(Reply::new(200));
    world.send(&under("dTpx")).await.replays(&first);
    let gate = Gate::new();
    world.upstream.next(Reply::new(200).after(&gate));
    let mut asks = world.begin(&under("dTp5")).await;
    world.upstream.asked_for(3).await;
    world.send(&under("dTpx")).await.replays(&first);
    let meanwhile = world.send(&under("dTp5")).await;
    meanwhile
        .is_problem(409, "in-progress")
        .in_state("completed");
    assert_eq!(meanwhile.field("retry-after").as_deref(), Some("1"));
    gate.cancel();
    asks.answer().await.replays(&first);
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn a_yes_is_believed_for_its_time_and_of_the_same_question() {
    let under = |agent: &str, peer: &str| {
        post("/orders", "k", "a")
            .field("Authorization", "Basic dTpx")
            .field("User-Agent", agent)
            .field("X-Forwarded-For", peer)
    };
    for (cache, asked) in [("0s", 5), ("1h", 4)] {
        let check = format!("replay_check = {{ path = \"/me\", cache = \"{cache}\" }}");
        let world = World::policy(STORE, &check).await;
        let first = world
            .send(&post("/orders", "k", "a").field("Authorization", "Basic dTpw"))
            .await;
        for request in [
            under("a", "192.0.2.1"),
            under("b", "192.0.2.1"),
            under("a", "192.0.2.2"),
            under("a", "192.0.2.1").field("Traceparent", "00-1-2-00"),
        ] {
            world.upstream.next(Reply::new(200));
            world.send(&request).await.replays(&first);
        }
        assert_eq!(world.upstream.asked(), asked, "{cache}");
    }
    // Not for ever.
    let world = World::policy(STORE, r#"replay_check = { path = "/me", cache = "50ms" }"#).await;
    let by = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    world.send(&by("dTpw")).await;
    world.upstream.next(Reply::new(200));
    world.send(&by("dTpx")).await;
    assert_eq!(world.upstream.asked(), 2);
    world.upstream.next(Reply::new(401));
    let refused = patiently(async {
        loop {
            let answer = world.send(&by("dTpx")).await;
            if answer.status == 409 {
                return answer;
            }
        }
    })
    .await;
    refused.is_problem(409, "credentials-changed");
    assert_eq!(world.upstream.asked(), 3);
}

#[tokio::test]
async fn credentials_that_stand_are_told_that_an_answer_was_not_kept() {
    let policy = "replay_check = { path = \"/me\" }\nmax_stored_response = \"1KiB\"";
    let world = World::policy(STORE, policy).await;
    let under = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    world.upstream.next(Reply::new(201).body(vec![b'x'; 2000]));
    world.send(&under("dTpw")).await;
    world.upstream.next(Reply::new(200));
    let answer = world.send(&under("dTpx")).await;
    answer
        .is_problem(409, "response-not-stored")
        .in_state("completed");
}

#[tokio::test]
async fn a_checked_caller_may_see_what_is_absent() {
    let world =
        World::policy(STORE, &probing("0s", "replay_check = { path = \"/me\" }")).await;
    let under = |password: &str| {
        post("/orders", "k", "a").field("Authorization", format!("Basic {password}"))
    };
    watched(&world).await;
    let asked = world.upstream.asked();
    in_doubt(&world, &under("dTpw")).await;
    world.upstream.next(Reply::new(404)).next(Reply::new(200));
    let second = world.send(&under("dTpx")).await;
    second.is_first(201, true, "completed");
    let targets: Vec<String> = world
        .upstream
        .ledger()
        .into_iter()
        .skip(asked)
        .map(|entry| format!("{} {}", entry.method, entry.target))
        .collect();
    assert_eq!(
        targets,
        ["POST /orders", "GET /orders/k", "GET /me", "POST /orders"]
    );
}
