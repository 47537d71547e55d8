//! `mode = "observe"`: requests pass as they are, and what enforcement would have done is counted.

use super::STORE;
use crate::support::*;
use crate::world::*;

/// The line that counts an outcome of the default route.
macro_rules! counted {
    ($outcome:literal) => {
        concat!(
            "idemproxy_requests_total{route=\"default\",outcome=\"",
            $outcome,
            "\"}"
        )
    };
}

async fn observe(policy: &str) -> World {
    World::policy(STORE, &format!("mode = \"observe\"\n{policy}")).await
}

/// That the answer is the upstream's and nothing of ours is in it.
#[track_caller]
fn passed(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.ending), (status, Ending::Whole), "{answer:?}");
    let ours = |name: &String| name.to_lowercase().starts_with("x-idempotency-");
    let names: Vec<_> = answer.fields.iter().map(|(name, _)| name).collect();
    assert!(!names.into_iter().any(ours), "{answer:?}");
}

#[tokio::test]
async fn a_duplicate_runs_again_and_counts_as_replayed() {
    let world = observe("").await;
    passed(&world.post("k", "a").await, 201);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    // However its duplicates end, the first one stands.
    world.upstream.next(Reply::new(500));
    passed(&world.post("k", "a").await, 500);
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
    let second = world.post("k", "a").await;
    passed(&second, 201);
    assert_eq!(second.text(), "made 3");
    world.proxy.reaches(counted!("observed_replayed"), 2.0).await;
    passed(&world.post("k", "b").await, 201);
    world.proxy.reaches(counted!("observed_key_reused"), 1.0).await;
    assert_eq!(world.upstream.executions(), 4);
    assert_eq!(world.proxy.metric(counted!("observed_executed")), 1.0);
    assert_eq!(world.proxy.metric(counted!("bypassed")), 0.0);
}

#[tokio::test]
async fn requests_and_answers_are_those_of_a_proxy_that_is_off() {
    let world = observe("").await;
    let config = configuration(&world.upstream, "memory:", "[policy]\nmode = \"off\"\n");
    let off = Proxy::start(&config).await;
    let reply = Reply::new(201)
        .field("X-Idempotency-Replay", "true")
        .field("X-Idempotency-Id", "theirs")
        .field("X-Idempotency-Stored", "maybe")
        .field("X-Idempotency-Error", "in-progress")
        .field("Set-Cookie", "a=1")
        .body("made");
    let request = post("/orders?a=1", "k", r#"{"a":1}"#)
        .field("Authorization", "Bearer t")
        .field("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    for _ in 0..2 {
        let mut answers = Vec::new();
        for proxy in [&world.proxy, &off] {
            world.upstream.next(reply.clone());
            let mut answer = proxy.send(&request).await;
            answer.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
            answers.push(answer);
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].all("x-idempotency-id"), ["theirs"]);
        let ledger = world.upstream.ledger();
        let [.., observed, off] = ledger.as_slice() else {
            panic!("two requests came");
        };
        assert_eq!(
            (&observed.method, &observed.target, &observed.fields, &observed.body),
            (&off.method, &off.target, &off.fields, &off.body)
        );
    }
}

#[tokio::test]
async fn a_duplicate_meanwhile_runs_too_and_counts_as_in_progress() {
    let world = observe("").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/orders", "k", "a");
    let mut first = world.begin(&request).await;
    world.proxy.reaches(CLAIMS, 1.0).await;
    world.upstream.asked_for(1).await;
    passed(&world.send(&request).await, 201);
    world.proxy.reaches(counted!("observed_in_progress"), 1.0).await;
    gate.cancel();
    passed(&first.answer().await, 201);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
}

#[tokio::test]
async fn what_the_upstream_answers_frees_the_key_or_leaves_it_in_doubt() {
    let world = observe("max_stored_response = \"10B\"").await;
    world.upstream.next(Reply::new(500)).next(Reply::new(201));
    world.post("released", "a").await;
    world.proxy.reaches(counted!("observed_released"), 1.0).await;
    world.post("released", "b").await;
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    world.post("released", "b").await;
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
    world.upstream.next(Reply::new(502));
    world.post("unknown", "a").await;
    world.proxy.reaches(counted!("observed_outcome_unknown"), 1.0).await;
    world.post("unknown", "a").await;
    world.proxy.reaches(counted!("observed_outcome_unknown"), 2.0).await;
    world.upstream.next(Reply::new(201).body("x".repeat(11)));
    world.post("large", "a").await;
    world.proxy.reaches(counted!("observed_executed"), 2.0).await;
    world.post("large", "a").await;
    world.proxy.reaches(counted!("observed_response_not_stored"), 1.0).await;
    // No record of enforcement came of any of it.
    assert_eq!(world.proxy.metric("idemproxy_records_unknown_total"), 0.0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_comes_leaves_the_key_in_doubt() {
    let world = observe("").await;
    world.upstream.next(Reply::new(201).body("whole").cut_after(2).then(Step::Reset));
    let answer = world.post("cut", "a").await;
    assert_eq!(answer.ending, Ending::Cut);
    world.proxy.reaches(counted!("observed_outcome_unknown"), 1.0).await;
    world.upstream.next(Act::new([Step::Reset]));
    world.post("lost", "a").await.is_problem(502, "upstream-failed");
    world.proxy.reaches(counted!("observed_outcome_unknown"), 2.0).await;
    world.upstream.next(Act::new([Step::Never]));
    let client = world.begin(&post("/orders", "left", "a")).await;
    world.proxy.reaches(CLAIMS, 3.0).await;
    world.upstream.executed(3).await;
    client.abort();
    world.proxy.reaches(counted!("observed_outcome_unknown"), 3.0).await;
    for (number, key) in [(4.0, "cut"), (5.0, "lost"), (6.0, "left")] {
        passed(&world.post(key, "a").await, 201);
        let metric = || world.proxy.metric(counted!("observed_outcome_unknown"));
        eventually(|| metric() == number).await;
    }
}

#[tokio::test]
async fn an_upstream_that_was_not_reached_leaves_the_key_free() {
    let mut world = World::with_upstream(
        STORE,
        "[policy]\nmode = \"observe\"",
        Upstream::absent(),
    )
    .await;
    world.post("k", "a").await.is_problem(502, "upstream-unreachable");
    world.proxy.reaches(counted!("observed_released"), 1.0).await;
    world.upstream.listen();
    passed(&world.post("k", "a").await, 201);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
}

#[tokio::test]
async fn what_enforcement_would_refuse_passes_and_is_counted() {
    let world = observe("key_required = true\nmax_request_body = \"10B\"").await;
    let keyed = |target: &str| post(target, "k", "a");
    for request in [
        post("/orders", "", "a"),
        keyed("/orders").field("Idempotency-Key", "l"),
        keyed("/orders").field("Authorization", "a").field("Authorization", "b"),
        keyed("/orders").field("Connection", "Idempotency-Key"),
        keyed("/a/../orders"),
        post("/orders", "k", "longer than ten"),
    ] {
        passed(&world.send(&request).await, 201);
        let entry = world.upstream.last();
        assert_eq!((entry.target, entry.body), (request.target, request.body));
    }
    for (line, count) in [
        (counted!("observed_key_missing"), 1.0),
        (counted!("observed_key_invalid"), 1.0),
        (counted!("observed_scope_ambiguous"), 1.0),
        (counted!("observed_bad_request"), 2.0),
        (counted!("observed_body_too_large"), 1.0),
        (CLAIMS, 0.0),
    ] {
        assert_eq!(world.proxy.metric(line), count, "{line}");
    }
    // In chunks its size shows when it has gone by.
    let mut client = world.connect().await;
    client.send(&keyed("/orders").chunked_head()).await;
    client.send(b"10\r\n0123456789abcdef\r\n0\r\n\r\n").await;
    passed(&client.answer().await, 201);
    world.proxy.reaches(counted!("observed_body_too_large"), 2.0).await;
    assert_eq!(world.upstream.last().body, b"0123456789abcdef");
}

#[tokio::test]
async fn what_has_no_key_and_needs_none_counts_as_before() {
    let world = observe("").await;
    passed(&world.post("", "a").await, 201);
    passed(&world.send(&get("/orders")).await, 201);
    assert_eq!(world.proxy.metric(counted!("bypassed")), 2.0);
    assert_eq!(world.proxy.metric(CLAIMS), 0.0);
}

#[tokio::test]
async fn a_caller_under_other_credentials_is_seen() {
    let world = observe("").await;
    let with = |credentials: &str| post("/orders", "k", "a").field("Authorization", credentials);
    world.send(&with("Basic dTpvbmU=")).await;
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    world.send(&with("Basic dTp0d28=")).await;
    world.proxy.reaches(counted!("observed_credentials_changed"), 1.0).await;
    world.send(&with("Basic dTpvbmU=")).await;
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
}

#[tokio::test]
async fn large_bodies_flow_both_ways_and_are_compared() {
    let world = observe("max_buffered_request = \"1KiB\"").await;
    let request = post("/orders", "k", vec![b'x'; 5000]);
    let gate = Gate::new();
    let answer = Reply::new(201).chunked().then(chunk("begun"));
    world.upstream.next(answer.then(Step::Wait(gate.clone())).then(chunk("done")).then(chunk("")));
    let mut client = world.connect().await;
    client.send(&request.head(5000)).await;
    client.send(&request.body[..2000]).await;
    world.upstream.asked_for(1).await;
    eventually(|| world.upstream.last().body.len() >= 2000).await;
    // As enforcement would, it is claimed while it comes.
    world.proxy.reaches(CLAIMS, 1.0).await;
    client.send(&request.body[2000..]).await;
    client.peek_until(b"begun").await;
    assert_eq!(world.proxy.metric(counted!("observed_executed")), 0.0);
    gate.cancel();
    let first = client.answer().await;
    passed(&first, 201);
    assert_eq!(first.text(), "begundone");
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    passed(&world.send(&request).await, 201);
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
    let other = post("/orders", "k", vec![b'y'; 5000]);
    passed(&world.send(&other).await, 201);
    world.proxy.reaches(counted!("observed_key_reused"), 1.0).await;
}

#[tokio::test]
async fn a_key_in_the_body_is_found_while_the_body_goes_by() {
    let world = observe("key = [\"json:/id\"]\nmax_buffered_request = \"1KiB\"").await;
    let request = post("/orders", "", r#"{"id":"k","n":1}"#);
    let mut client = world.connect().await;
    client.send(&request.head(request.body.len())).await;
    client.send(&request.body[..5]).await;
    world.upstream.asked_for(1).await;
    eventually(|| world.upstream.last().body.len() >= 5).await;
    client.send(&request.body[5..]).await;
    passed(&client.answer().await, 201);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    passed(&world.send(&request).await, 201);
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
    passed(&world.send(&post("/orders", "", r#"{"id":"k"}"#)).await, 201);
    world.proxy.reaches(counted!("observed_key_reused"), 1.0).await;
    passed(&world.send(&post("/orders", "", r#"{"n":1}"#)).await, 201);
    passed(&world.send(&post("/orders", "", "a=1")).await, 201);
    world.proxy.reaches(counted!("bypassed"), 2.0).await;
    let twice = post("/orders", "", r#"{"id":"k","id":"l"}"#);
    passed(&world.send(&twice).await, 201);
    world.proxy.reaches(counted!("observed_key_invalid"), 1.0).await;
    let large = post("/orders", "", format!(r#"{{"id":"{}"}}"#, "k".repeat(2000)));
    passed(&world.send(&large).await, 201);
    world.proxy.reaches(counted!("observed_body_too_large"), 1.0).await;
}

#[tokio::test]
async fn a_double_click_is_seen_by_its_content() {
    let world = observe("key = [\"content\"]\nretention = \"1h\"").await;
    for (line, count) in [
        (counted!("observed_executed"), 1.0),
        (counted!("observed_replayed"), 1.0),
    ] {
        passed(&world.post("", "a").await, 201);
        world.proxy.reaches(line, count).await;
    }
}

#[tokio::test]
async fn rules_for_answers_are_followed_by_what_goes_by() {
    let world = World::config(
        STORE,
        "[policy]\nmode = \"observe\"\n[[policy.response]]\nstatus = \"409\"\njson = { \"/code\" = \"23505\" }\n\
         outcome = \"store\"\nreply_status = 200\n",
    )
    .await;
    let conflict = |code: &str| Reply::new(409).body(format!(r#"{{"code":"{code}"}}"#));
    world.upstream.next(conflict("23505")).next(conflict("40001"));
    passed(&world.post("exists", "a").await, 409);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    passed(&world.post("busy", "a").await, 409);
    world.proxy.reaches(counted!("observed_released"), 1.0).await;
    world.post("exists", "a").await;
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
}

#[tokio::test]
async fn an_observed_route_and_an_enforced_one_know_nothing_of_each_other() {
    let world = World::config(
        STORE,
        "[policy]\nmode = \"observe\"\nscope = []\nfingerprint = [\"body\"]\n\
         [[route]]\npath = \"/kept\"\nmode = \"enforce\"\n",
    )
    .await;
    // The same key in the same scope on both.
    let (seen, kept) = (post("/seen", "k", "a"), post("/kept", "k", "a"));
    passed(&world.send(&seen).await, 201);
    world.proxy.reaches(counted!("observed_executed"), 1.0).await;
    let first = world.send(&kept).await;
    first.is_first(201, true, "completed");
    passed(&world.send(&seen).await, 201);
    world.proxy.reaches(counted!("observed_replayed"), 1.0).await;
    world.send(&kept).await.replays(&first);
    let (seen, kept) = (post("/seen", "l", "b"), post("/kept", "l", "a"));
    world.send(&kept).await.is_first(201, true, "completed");
    passed(&world.send(&seen).await, 201);
    world.proxy.reaches(counted!("observed_executed"), 2.0).await;
    assert_eq!(world.upstream.executions(), 5);
}

#[tokio::test]
async fn the_switch_to_enforcement_begins_anew() {
    let World {
        upstream,
        proxy,
        kept,
    } = observe("").await;
    let request = post("/orders", "k", "a");
    passed(&proxy.send(&request).await, 201);
    proxy.reaches(counted!("observed_executed"), 1.0).await;
    proxy.stopped().await;
    let enforcing = Proxy::start(&configuration(&upstream, &kept.url, "[policy]\n")).await;
    let first = enforcing.send(&request).await;
    first.is_first(201, true, "completed");
    enforcing.send(&request).await.replays(&first);
    enforcing.stopped().await;
    let again = configuration(&upstream, &kept.url, "[policy]\nmode = \"observe\"\n");
    let again = Proxy::start(&again).await;
    passed(&again.send(&request).await, 201);
    let found = if STORE.is_durable() {
        counted!("observed_replayed")
    } else {
        counted!("observed_executed")
    };
    again.reaches(found, 1.0).await;
    assert_eq!(upstream.executions(), 3);
}
