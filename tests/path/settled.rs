//! What settles a claim, what the record says then, and what the client gets.

use super::STORE;
use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn answers_that_are_final_are_stored() {
    let world = World::policy(STORE, "").await;
    for status in [
        200, 201, 202, 204, 301, 302, 303, 307, 400, 402, 404, 405, 410, 412, 422, 451,
    ] {
        let key = status.to_string();
        let mut reply = Reply::new(status).field("Location", "/orders/1");
        if status != 204 {
            reply = reply.body("said once");
        }
        world.upstream.next(reply);
        let first = world.post(&key, "a").await;
        first.is_first(status, true, "completed");
        world.post(&key, "a").await.replays(&first);
        assert_eq!(first.field("location").as_deref(), Some("/orders/1"));
    }
    assert_eq!(world.upstream.asked(), 16);
}

#[tokio::test]
async fn answers_that_say_not_carried_out_release_the_key() {
    let world = World::policy(STORE, "").await;
    for status in [
        401, 403, 407, 408, 409, 421, 423, 425, 429, 500, 501, 503, 505, 507, 599,
    ] {
        let key = status.to_string();
        let before = world.upstream.asked();
        let refusal = Reply::new(status).field("Retry-After", "7").body("not now");
        world.upstream.next(refusal);
        let first = world.post(&key, "a").await;
        first.is_first(status, false, "released");
        assert_eq!(first.text(), "not now");
        assert_eq!(first.field("retry-after").as_deref(), Some("7"));
        let second = world.post(&key, "a").await;
        second.is_first(201, true, "completed");
        world.post(&key, "a").await.replays(&second);
        assert_eq!(world.upstream.asked(), before + 2, "{status}");
    }
}

#[tokio::test]
async fn answers_of_a_gateway_that_lost_one_leave_the_outcome_unknown() {
    let world = World::policy(STORE, "").await;
    for status in [502, 504] {
        let key = status.to_string();
        let before = world.upstream.asked();
        world.upstream.next(Reply::new(status).body("bad gateway"));
        let first = world.post(&key, "a").await;
        first.is_first(status, false, "unknown");
        assert_eq!(first.text(), "bad gateway");
        world
            .post(&key, "a")
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
        assert_eq!(world.upstream.asked(), before + 1);
    }
    assert_eq!(world.proxy.metric("idemproxy_records_unknown_total"), 2.0);
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_completed_without_it() {
    let world = World::policy(STORE, "max_stored_response = \"1KiB\"").await;
    let large = vec![b'x'; 1025];
    let reply = Reply::new(201).body(&large);
    let chunked = reply.chunked().then(chunk(&large)).then(chunk(""));
    for (key, act) in [("length", reply.into()), ("chunks", chunked)] {
        world.upstream.next(act);
        let first = world.post(key, "a").await;
        first.is_first(201, false, "in-flight");
        assert_eq!(first.body, large);
        // It is settled before its last byte is with the client.
        let second = world.post(key, "a").await;
        second
            .is_problem(409, "response-not-stored")
            .in_state("completed");
        assert_eq!(second.document()["status_code"], 201);
        world
            .post(key, "b")
            .await
            .is_problem(422, "key-reused")
            .in_state("completed");
    }
    assert_eq!(world.upstream.asked(), 2);
    let limit = r#"idemproxy_limit_reached_total{limit="max_stored_response"}"#;
    assert_eq!(world.proxy.metric(limit), 2.0);
}

#[tokio::test]
async fn a_lease_is_renewed_while_an_answer_streams() {
    let policy = "max_stored_response = \"1KiB\"\nlease = \"1s\"\nunknown_outcome = \"retry\"";
    let world = World::policy(STORE, policy).await;
    let (large, events) = (vec![b'x'; 1025], b"data: 1\n\n");
    let stream = Reply::new(200).field("content-type", "text/event-stream");
    for (key, reply, pieces) in [
        ("large", Reply::new(200).chunked(), &large[..]),
        ("events", stream.chunked(), &events[..]),
    ] {
        let (gate, asked) = (Gate::new(), world.upstream.asked());
        let act = (reply.then(chunk(pieces)))
            .then(Step::Wait(gate.clone()))
            .then(chunk(""));
        world.upstream.next(act);
        let request = post("/orders", key, "a");
        let mut first = world.begin(&request).await;
        world.upstream.executed(asked + 1).await;
        world.stays_in_flight(&request, 1500).await;
        gate.cancel();
        first.answer().await.is_first(200, false, "in-flight");
        world
            .send(&request)
            .await
            .is_problem(409, "response-not-stored");
        assert_eq!(world.upstream.asked(), asked + 1);
    }
}

#[tokio::test]
async fn an_answer_that_just_fits_is_kept() {
    let world = World::policy(STORE, "max_stored_response = \"1KiB\"").await;
    world.upstream.next(Reply::new(201).body(vec![b'x'; 1024]));
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    world.post("k", "a").await.replays(&first);
}

#[tokio::test]
async fn a_large_refusal_still_releases() {
    let world = World::policy(STORE, "max_stored_response = \"1KiB\"").await;
    world.upstream.next(Reply::new(500).body(vec![b'x'; 5000]));
    let first = world.post("k", "a").await;
    first.is_first(500, false, "released");
    assert_eq!(first.body.len(), 5000);
    world.post("k", "a").await.is_first(201, true, "completed");
}

#[tokio::test]
async fn an_event_stream_arrives_as_it_is_sent_and_is_completed_without_it() {
    let world = World::policy(STORE, "").await;
    let (second, end) = (Gate::new(), Gate::new());
    world.upstream.next(
        Reply::new(200)
            .field("Content-Type", "Text/Event-Stream; charset=utf-8")
            .chunked()
            .then(chunk("data: 1\n\n"))
            .then(Step::Wait(second.clone()))
            .then(chunk("data: 2\n\n"))
            .then(Step::Wait(end.clone()))
            .then(chunk("")),
    );
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    client.peek_until(b"data: 1").await;
    world
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    second.cancel();
    client.peek_until(b"data: 2").await;
    end.cancel();
    let answer = client.answer().await;
    answer.is_first(200, false, "in-flight");
    assert_eq!(answer.text(), "data: 1\n\ndata: 2\n\n");
    let retry = world.send(&request).await;
    retry
        .is_problem(409, "response-not-stored")
        .in_state("completed");
    assert_eq!(retry.document()["status_code"], 200);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn an_event_stream_goes_on_when_its_client_has_left() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(
        Reply::new(200)
            .field("Content-Type", "text/event-stream")
            .chunked()
            .then(chunk("data: 1\n\n"))
            .then(Step::Wait(gate.clone()))
            .then(chunk("data: 2\n\n"))
            .then(chunk("")),
    );
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    client.peek_until(b"data: 1").await;
    client.abort();
    world
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    world
        .settled(&request)
        .await
        .is_problem(409, "response-not-stored")
        .in_state("completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_while_it_streams_is_aborted_and_its_outcome_unknown() {
    let world = World::policy(STORE, "max_stored_response = \"10B\"").await;
    let events = Reply::new(200).field("Content-Type", "text/event-stream");
    let large = Reply::new(201).body(vec![b'x'; 100_000]);
    let endless = Reply::new(201).head("Connection: close");
    let cases = [
        ("chunks", events.chunked().then(chunk("data: 1\n\n"))),
        ("length", large.cut_after(50_000)),
        (
            "close",
            Act::new([Step::Send(endless), Step::Send(vec![b'x'; 100])]),
        ),
    ];
    for (key, act) in cases {
        for (how, step) in [("fin", Step::Fin), ("reset", Step::Reset)] {
            // Without a length, an orderly close is the end.
            if (key, how) == ("close", "fin") {
                continue;
            }
            let gate = Gate::new();
            let act = act.clone().then(Step::Wait(gate.clone())).then(step);
            world.upstream.next(act);
            let request = post("/orders", &format!("{key}-{how}"), "a");
            let mut client = world.begin(&request).await;
            let head = client.head().await;
            head.in_state("in-flight");
            assert_eq!(head.all("x-idempotency-stored"), ["false"]);
            gate.cancel();
            let answer = client.rest_of(head).await;
            assert_eq!(answer.ending, Ending::Cut, "{key} {how}: {answer:?}");
            // Who sees the end finds the outcome in the record.
            world
                .send(&request)
                .await
                .is_problem(409, "outcome-unknown")
                .in_state("unknown");
        }
    }
    assert_eq!(world.upstream.asked(), 5);
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_it_could_be_kept_leaves_the_outcome_unknown() {
    let world = World::policy(STORE, "upstream_timeout = \"300ms\"").await;
    let reply = Reply::new(201).body("all of it");
    let cases = [
        ("fin", reply.cut_after(3).then(Step::Fin)),
        ("reset", reply.cut_after(3).then(Step::Reset)),
        ("silence", reply.cut_after(3).then(Step::Never)),
        ("chunk", reply.chunked().then(chunk("all")).then(Step::Fin)),
    ];
    for (key, act) in cases {
        world.upstream.next(act);
        world
            .post(key, "a")
            .await
            .is_problem(502, "upstream-failed")
            .in_state("unknown");
        world
            .post(key, "a")
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
    }
    assert_eq!(world.upstream.executions(), 4);
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_aborted_too() {
    let world = World::policy(STORE, "").await;
    let reply = Reply::new(503).body("all of it");
    world.upstream.next(reply.cut_after(3).then(Step::Fin));
    let mut client = world.begin(&post("/orders", "k", "a")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.ending), (503, Ending::Cut));
    answer.in_state("released");
    world.post("k", "a").await.is_first(201, true, "completed");
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_tried_again_and_releases() {
    let mut world = World::with_upstream(
        STORE,
        "[policy]\nretry = { attempts = 3, base = \"5ms\", max = \"10ms\" }",
        Upstream::absent(),
    )
    .await;
    for _ in 0..2 {
        world
            .post("k", "a")
            .await
            .is_problem(502, "upstream-unreachable")
            .in_state("released");
    }
    world.upstream.listen();
    world.post("k", "b").await.is_first(201, true, "completed");
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn an_upstream_that_comes_up_between_two_tries_is_asked_once() {
    let mut world = World::with_upstream(
        STORE,
        "[policy]\nretry = { attempts = 100, base = \"20ms\", max = \"20ms\" }",
        Upstream::absent(),
    )
    .await;
    let request = post("/orders", "k", "a");
    let mut client = world.begin(&request).await;
    world.proxy.reaches(CLAIMS, 1.0).await;
    world.upstream.listen();
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_status_of_the_retry_policy_is_tried_again_under_one_claim() {
    let world = World::policy(
        STORE,
        "retry = { attempts = 3, base = \"1ms\", max = \"2ms\", on = [\"connect\", \"503\"] }",
    )
    .await;
    world.upstream.next(Reply::new(503)).next(Reply::new(503));
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    assert!(
        world
            .upstream
            .ledger()
            .iter()
            .all(|entry| entry.body == b"a")
    );
    world.post("k", "a").await.replays(&first);
    assert_eq!(world.upstream.asked(), 3);
    for _ in 0..3 {
        world.upstream.next(Reply::new(503));
    }
    world.post("l", "a").await.is_first(503, false, "released");
    assert_eq!(world.upstream.asked(), 6);
}

#[tokio::test]
async fn a_connection_lost_after_the_request_leaves_the_outcome_unknown() {
    let world = World::policy(STORE, "").await;
    let half = b"HTTP/1.1 201 Created\r\nContent-Le".to_vec();
    let cases = [
        ("fin", Act::new([Step::Fin])),
        ("reset", Act::new([Step::Reset])),
        ("half a head", Act::new([Step::Send(half), Step::Fin])),
        (
            "no answer at all",
            Act::new([Step::Send(b"220 mail.example ESMTP\r\n\r\n".to_vec())]),
        ),
        (
            "unread, then reset",
            Act::new([Step::Reset]).reading(Reading::Head(0)),
        ),
    ];
    for (number, (what, act)) in cases.into_iter().enumerate() {
        let key = number.to_string();
        world.upstream.next(act);
        let answer = world.post(&key, "a").await;
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        answer
            .is_problem(502, "upstream-failed")
            .in_state("unknown");
        world
            .post(&key, "a")
            .await
            .is_problem(409, "outcome-unknown")
            .in_state("unknown");
        assert_eq!(world.upstream.asked(), number + 1, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_kept_whole() {
    let world = World::policy(STORE, "").await;
    let reply = Reply::new(201).field("X-A", "1").body("slow but sure");
    world
        .upstream
        .next(Act::new([Step::Trickle(reply.bytes())]));
    let first = world.post("k", "a").await;
    first.is_first(201, true, "completed");
    assert_eq!(first.text(), "slow but sure");
    world.post("k", "a").await.replays(&first);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_leaves_the_outcome_unknown() {
    let world = World::policy(STORE, "upstream_timeout = \"200ms\"").await;
    world.upstream.next(Act::new([Step::Never]));
    world
        .post("k", "a")
        .await
        .is_problem(504, "upstream-timeout")
        .in_state("unknown");
    world
        .post("k", "a")
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_client_that_has_waited_long_enough_finds_the_answer_later() {
    let world = World::policy(STORE, "client_timeout = \"200ms\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).body("x").after(&gate));
    let request = post("/orders", "k", "a");
    world
        .send(&request)
        .await
        .is_problem(504, "still-processing")
        .in_state("in-flight");
    world
        .send(&request)
        .await
        .is_problem(409, "in-progress")
        .in_state("in-flight");
    gate.cancel();
    let replay = world.settled(&request).await;
    assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
    assert_eq!((replay.status, replay.text().as_str()), (201, "x"));
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_finds_its_answer_at_the_retry() {
    let world = World::policy(STORE, "").await;
    for (key, reset) in [("reset", true), ("fin", false)] {
        let gate = Gate::new();
        let before = world.upstream.executions();
        world.upstream.next(Reply::new(201).body(key).after(&gate));
        let request = post("/orders", key, "a");
        let client = world.begin(&request).await;
        world.upstream.executed(before + 1).await;
        if reset {
            client.abort();
        } else {
            drop(client);
        }
        world.proxy.reaches("idemproxy_connections", 0.0).await;
        world
            .send(&request)
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
        gate.cancel();
        let replay = world.settled(&request).await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{replay:?}");
        assert_eq!(replay.text(), key);
        assert_eq!(world.upstream.executions(), before + 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_its_upload_claims_nothing() {
    let world = World::policy(STORE, "").await;
    let request = post("/orders", "k", "abcdef");
    let mut client = world.connect().await;
    client.send(&request.head(6)).await;
    client.send(b"abc").await;
    world.proxy.reaches("idemproxy_in_flight", 1.0).await;
    client.abort();
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    assert_eq!(world.upstream.connections(), 0);
    // With another body: nothing is known of the first.
    world
        .post("k", "xyz")
        .await
        .is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn an_exchange_that_outlives_its_client_is_counted_while_it_runs() {
    let world = World::policy(STORE, "").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let client = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.executed(1).await;
    client.abort();
    world.proxy.reaches("idemproxy_connections", 0.0).await;
    assert_eq!(world.proxy.metric("idemproxy_in_flight"), 1.0);
    gate.cancel();
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_request_that_was_not_sent_is_tried_again_at_its_own_upstream_alone() {
    let mut own = Upstream::absent();
    let route = format!(
        "[[route]]\npath = \"/own\"\nupstream = \"{}\"\nretry = {{ base = \"1ms\" }}\n",
        own.url()
    );
    let world = World::config(STORE, &route).await;
    let request = post("/own", "k", "a");
    world
        .send(&request)
        .await
        .is_problem(502, "upstream-unreachable")
        .in_state("released");
    own.listen();
    world.send(&request).await.is_first(201, true, "completed");
    assert_eq!((own.executions(), world.upstream.asked()), (1, 0));
}

#[tokio::test]
async fn the_readiness_page_tells_which_upstream_was_there() {
    let mut own = Upstream::absent();
    let route = format!(
        "[[route]]\npath = \"/own\"\nupstream = \"{}\"\nretry = {{ on = [] }}\n",
        own.url()
    );
    let world = World::config(STORE, &route).await;
    let line = |address, what| format!("upstream: {address}: {what}\n");
    let tells = async |address, what| {
        let page = world.proxy.page("/readyz?verbose").await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains(&line(address, what)), "{page:?}");
    };
    tells(world.upstream.address(), "not asked yet").await;
    world.send(&post("/own", "k", "a")).await;
    tells(own.address(), "down").await;
    tells(world.upstream.address(), "not asked yet").await;
    own.listen();
    world.send(&post("/own", "k", "a")).await;
    tells(own.address(), "up").await;
}
