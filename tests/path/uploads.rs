//! Request bodies that are too large to hold: streamed, and fingerprinted on the way.

use super::STORE;
use crate::support::*;
use crate::world::*;

const STREAMED: &str = "max_buffered_request = \"1KiB\"";

fn large(fill: u8) -> Request {
    post("/orders", "k", vec![fill; 5000])
}

/// A client that has sent the head of a request of 5000 bytes, and so many of them; the upstream has them.
async fn begin_upload(world: &World, request: &Request, sent: usize) -> Client {
    let asked = world.upstream.asked();
    let mut client = world.connect().await;
    client.send(&request.head(request.body.len())).await;
    client.send(&request.body[..sent]).await;
    world.upstream.asked_for(asked + 1).await;
    eventually(|| world.upstream.last().body.len() >= sent).await;
    client
}

#[tokio::test]
async fn a_large_body_is_forwarded_while_it_comes() {
    let world = World::policy(STORE, STREAMED).await;
    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    assert_eq!(world.upstream.executions(), 0);
    client.send(&request.body[2000..]).await;
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    let entry = world.upstream.last();
    assert_eq!(
        (entry.body.len(), entry.all("content-length")),
        (5000, vec!["5000"])
    );
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_large_body_in_chunks_is_forwarded_in_chunks_with_its_trailers() {
    let world = World::policy(STORE, STREAMED).await;
    let mut request = large(b'x').field("Trailer", "X-Sum");
    let mut client = world.connect().await;
    client.send(&request.chunked_head()).await;
    let piece = format!("7d0\r\n{}\r\n", "x".repeat(2000));
    client.send(piece.as_bytes()).await;
    world.upstream.asked_for(1).await;
    client.send(piece.as_bytes()).await;
    let last = format!("3e8\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", "x".repeat(1000));
    client.send(last.as_bytes()).await;
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    let entry = world.upstream.last();
    assert_eq!(entry.body, request.body);
    assert_eq!(entry.all("transfer-encoding"), ["chunked"]);
    let (name, value) = &entry.trailers[0];
    assert_eq!(
        (name.to_lowercase().as_str(), value.as_str()),
        ("x-sum", "1")
    );
    // Framing is no part of a request.
    request.fields.retain(|(name, _)| name != "Trailer");
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_small_body_in_chunks_keeps_its_trailers() {
    let world = World::policy(STORE, "").await;
    let request = post("/orders", "k", "").field("Trailer", "X-Sum");
    let mut client = world.connect().await;
    client.send(&request.chunked_head()).await;
    client.send(b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    client.answer().await.is_first(201, true, "completed");
    let entry = world.upstream.last();
    assert_eq!(entry.body, b"ab");
    assert_eq!(entry.trailers.len(), 1, "{entry:?}");
}

#[tokio::test]
async fn a_duplicate_of_a_running_upload_is_refused_whatever_its_body() {
    let world = World::policy(STORE, STREAMED).await;
    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    for duplicate in [large(b'x'), large(b'y'), post("/orders", "k", "small")] {
        world
            .send(&duplicate)
            .await
            .is_problem(409, "in-progress")
            .in_state("in-flight");
    }
    client.send(&request.body[2000..]).await;
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_completed_upload_refuses_another_body() {
    let world = World::policy(STORE, STREAMED).await;
    let first = world.send(&large(b'x')).await;
    first.is_first(201, true, "completed");
    for other in [
        large(b'y'),
        post("/orders", "k", "small"),
        post("/orders", "k", vec![b'x'; 5001]),
        post("/orders", "k", vec![b'x'; 1000]),
    ] {
        let answer = world.send(&other).await;
        answer.is_problem(422, "key-reused").in_state("completed");
        assert!(answer.text().contains("body"), "{answer:?}");
    }
    world.send(&large(b'x')).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn the_body_of_a_duplicate_is_hashed_and_not_held() {
    let world = World::config(
        STORE,
        "[server]\nmax_buffered_total = \"2KiB\"\n[policy]\nmax_buffered_request = \"1KiB\"",
    )
    .await;
    let request = post("/orders", "k", vec![b'x'; 3_000_000]);
    let first = world.send(&request).await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_small_first_body_is_compared_with_a_large_second_one() {
    let world = World::policy(STORE, STREAMED).await;
    let first = world.post("k", "small").await;
    first.is_first(201, true, "completed");
    world
        .send(&large(b'x'))
        .await
        .is_problem(422, "key-reused")
        .in_state("completed");
    world.post("k", "small").await.replays(&first);
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_released_key_may_be_claimed_by_an_upload() {
    let world = World::policy(STORE, STREAMED).await;
    world.upstream.next(Reply::new(503));
    world
        .send(&large(b'x'))
        .await
        .is_first(503, false, "released");
    let second = world.send(&large(b'y')).await;
    second.is_first(201, true, "completed");
    world.send(&large(b'y')).await.replays(&second);
    assert_eq!(world.upstream.executions(), 2);
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_the_outcome_unknown() {
    let world = World::policy(STORE, &format!("{STREAMED}\nunknown_outcome = \"retry\"")).await;
    let request = large(b'x');
    let client = begin_upload(&world, &request, 2000).await;
    client.abort();
    // Without a fingerprint it cannot be told that this is the same request: it is not taken over either.
    world
        .settled(&request)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    world
        .post("k", "small")
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(
        (world.upstream.asked(), world.upstream.executions()),
        (1, 0)
    );
}

#[tokio::test]
async fn an_upload_that_is_cut_releases_where_the_policy_says_so() {
    let world = World::policy(STORE, &format!("{STREAMED}\ncut_upload = \"release\"")).await;
    let request = large(b'x');
    let client = begin_upload(&world, &request, 2000).await;
    client.abort();
    let second = world.settled(&request).await;
    second.is_first(201, true, "completed");
    world.send(&request).await.replays(&second);
    assert_eq!(
        (world.upstream.asked(), world.upstream.executions()),
        (2, 1)
    );
}

#[tokio::test]
async fn an_upload_whose_connection_is_half_closed_early_is_cut_too() {
    let world = World::policy(STORE, STREAMED).await;
    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    client.half_close().await;
    world
        .settled(&request)
        .await
        .is_problem(409, "outcome-unknown")
        .in_state("unknown");
    assert_eq!(world.upstream.executions(), 0);
}

#[tokio::test]
async fn an_upload_to_an_upstream_that_is_away_releases() {
    let mut world = World::with_upstream(
        STORE,
        &format!("[policy]\n{STREAMED}\nretry = {{ attempts = 2, base = \"1ms\", max = \"1ms\" }}"),
        Upstream::absent(),
    )
    .await;
    let request = large(b'x');
    world
        .send(&request)
        .await
        .is_problem(502, "upstream-unreachable")
        .in_state("released");
    world.upstream.listen();
    world.send(&request).await.is_first(201, true, "completed");
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn an_upload_waits_for_an_upstream_that_comes_up_and_arrives_whole() {
    let mut world = World::with_upstream(
        STORE,
        &format!(
            "[policy]\n{STREAMED}\nretry = {{ attempts = 100, base = \"20ms\", max = \"20ms\" }}"
        ),
        Upstream::absent(),
    )
    .await;
    let request = large(b'x');
    let mut client = world.begin(&request).await;
    world.proxy.reaches(CLAIMS, 1.0).await;
    world.upstream.listen();
    client.answer().await.is_first(201, true, "completed");
    assert_eq!(world.upstream.last().body, request.body);
}

#[tokio::test]
async fn an_answer_that_came_before_the_upload_ended_is_completed_and_believed() {
    let world = World::policy(STORE, STREAMED).await;
    let early = Act::from(Reply::new(413).body("enough"))
        .reading(Reading::Head(2000))
        .then(Step::ReadOn);
    world.upstream.next(early);
    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    let first = client.answer().await;
    first.is_first(413, true, "completed");
    client.abort();
    for duplicate in [large(b'x'), large(b'y'), post("/orders", "k", "small")] {
        world.send(&duplicate).await.replays(&first);
    }
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_body_of_which_no_byte_comes_is_given_up() {
    let world = World::config(
        STORE,
        &format!("[server]\nbody_idle_timeout = \"200ms\"\n[policy]\n{STREAMED}"),
    )
    .await;
    let small = post("/orders", "small", "abcdef");
    let mut client = world.connect().await;
    client.send(&small.head(6)).await;
    client.send(b"abc").await;
    client.answer().await.is_problem(400, "bad-request");
    assert_eq!(world.upstream.connections(), 0);
    world.send(&small).await.is_first(201, true, "completed");

    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    client
        .answer()
        .await
        .is_problem(400, "bad-request")
        .in_state("unknown");
    world
        .send(&request)
        .await
        .is_problem(409, "outcome-unknown");
    assert_eq!(world.upstream.executions(), 1);
}

#[tokio::test]
async fn an_upload_that_goes_on_is_not_given_up() {
    let world = World::config(
        STORE,
        &format!("[server]\nbody_idle_timeout = \"500ms\"\n[policy]\n{STREAMED}\nupstream_timeout = \"500ms\"\nclient_timeout = \"500ms\""),
    )
    .await;
    let request = large(b'x');
    let mut client = begin_upload(&world, &request, 2000).await;
    // Longer than any of the three, in pieces that are not.
    for sent in (2000..5000).step_by(500) {
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        client.send(&request.body[sent..sent + 500]).await;
        eventually(|| world.upstream.last().body.len() >= sent + 500).await;
    }
    client.answer().await.is_first(201, true, "completed");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_anything_is_claimed() {
    let world = World::policy(STORE, "max_request_body = \"2KiB\"").await;
    let too_large = post("/orders", "k", vec![b'x'; 2049]);
    world
        .send(&too_large)
        .await
        .is_problem(413, "body-too-large");
    let mut client = world.connect().await;
    client.send(&too_large.chunked_head()).await;
    client
        .send(format!("801\r\n{}\r\n", "x".repeat(2049)).as_bytes())
        .await;
    client.answer().await.is_problem(413, "body-too-large");
    assert_eq!(world.upstream.connections(), 0);
    let fits = post("/orders", "k", vec![b'x'; 2048]);
    world.send(&fits).await.is_first(201, true, "completed");
    let limit = r#"idemproxy_limit_reached_total{limit="max_request_body"}"#;
    assert_eq!(world.proxy.metric(limit), 2.0);
}

#[tokio::test]
async fn an_upload_that_grows_over_the_limit_is_cut() {
    for (cut, then) in [("unknown", "unknown"), ("release", "released")] {
        let world = World::policy(
            STORE,
            &format!("{STREAMED}\nmax_request_body = \"3KiB\"\ncut_upload = \"{cut}\""),
        )
        .await;
        let request = large(b'x');
        let mut client = world.connect().await;
        client.send(&request.chunked_head()).await;
        let piece = format!("7d0\r\n{}\r\n", "x".repeat(2000));
        client.send(piece.as_bytes()).await;
        world.upstream.asked_for(1).await;
        client.send(piece.as_bytes()).await;
        client
            .answer()
            .await
            .is_problem(413, "body-too-large")
            .in_state(then);
        let retry = world.post("k", "a").await;
        if then == "unknown" {
            retry.is_problem(409, "outcome-unknown");
            assert_eq!(world.upstream.executions(), 0);
        } else {
            retry.is_first(201, true, "completed");
            assert_eq!(world.upstream.executions(), 1);
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_gets_it() {
    let world = World::policy(STORE, STREAMED).await;
    for length in [100, 5000] {
        let request = post("/orders", &length.to_string(), vec![b'x'; length])
            .field("Expect", "100-continue");
        let mut client = world.connect().await;
        client.send(&request.head(length)).await;
        client.peek_until(b"100 Continue\r\n\r\n").await;
        client.send(&request.body).await;
        let first = client.answer().await;
        first.is_first(201, true, "completed");
        world.send(&request).await.replays(&first);
    }
}

#[tokio::test]
async fn a_key_among_the_trailers_is_no_key() {
    let world = World::policy(STORE, "").await;
    let request = post("/orders", "", "");
    for _ in 0..2 {
        let mut client = world.connect().await;
        client.send(&request.chunked_head()).await;
        client
            .send(b"1\r\na\r\n0\r\nIdempotency-Key: k\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.field("x-idempotency-id"), None);
    }
    assert_eq!(world.upstream.asked(), 2);
}
