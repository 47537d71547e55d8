//! Keys in the body and from the content: the body is read before anything is known, and passes unharmed where it has none.

use crate::support::*;
use crate::world::*;

async fn world(policy: &str) -> World {
    World::policy(Backing::Memory, policy).await
}

fn json(body: &str) -> Request {
    post("/sync", "", body).field("Content-Type", "application/json")
}

#[track_caller]
fn passed(answer: &Answer) {
    assert_eq!(answer.status, 201, "{answer:?}");
    for name in [
        "x-idempotency-id",
        "x-idempotency-stored",
        "x-idempotency-state",
    ] {
        assert_eq!(answer.field(name), None, "{answer:?}");
    }
}

#[tokio::test]
async fn a_key_in_a_json_body_names_the_operation() {
    let world = world("key = [\"json:/op/client_id\"]").await;
    let body = r#"{"op": {"client_id": "9f7c", "n": 1}}"#;
    let first = world.send(&json(body)).await;
    first.is_first(201, true, "completed");
    assert_eq!(world.upstream.last().body, body.as_bytes());
    world.send(&json(body)).await.replays(&first);
    let other = r#"{"op": {"client_id": "9f7c", "n": 2}}"#;
    let answer = world.send(&json(other)).await;
    answer.is_problem(422, "key-reused");
    assert!(answer.text().contains("body"), "{answer:?}");
    assert_eq!(world.upstream.asked(), 1);
}

#[tokio::test]
async fn a_body_counts_as_json_by_its_type_or_else_by_its_first_character() {
    let world = world("key = [\"json:/id\"]").await;
    let body = r#" {"id": "k"}"#;
    let with = |kind: &str| post("/sync", "", body).field("Content-Type", kind);
    let first = world.send(&post("/sync", "", body)).await;
    first.is_first(201, true, "completed");
    for kind in [
        "application/json; charset=utf-8",
        "application/vnd.api+json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/json, application/json",
    ] {
        world.send(&with(kind)).await.replays(&first);
    }
    passed(&world.send(&with("application/pdf")).await);
    assert_eq!(world.upstream.asked(), 2);
}

#[tokio::test]
async fn a_scalar_counts_as_its_text_and_nothing_else_is_a_key() {
    let world = world("key = [\"json:/id\"]").await;
    for scalar in ["12", "12.50", "9007199254740993", "true", "\"a b\""] {
        let request = json(&format!("{{\"id\":{scalar}}}"));
        world.send(&request).await.is_first(201, true, "completed");
        let replay = world.send(&request).await;
        assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{scalar}");
    }
    // A number and its text are one key.
    let text = world.send(&json(r#"{"id":"12"}"#)).await;
    text.is_problem(422, "key-reused");
    for absent in [
        r#"{"id":null}"#,
        r#"{"id":{}}"#,
        r#"{"id":["k"]}"#,
        r#"{"ID":"k"}"#,
        "[]",
        "\"id\"",
        "",
        " ",
    ] {
        passed(&world.send(&json(absent)).await);
        assert_eq!(world.upstream.last().body, absent.as_bytes());
    }
}

#[tokio::test]
async fn a_json_body_that_cannot_be_read_is_refused_with_its_place_and_nothing_of_it() {
    let world = world("key = [\"json:/id\"]").await;
    for (body, word) in [
        (r#"{"id":"sesame""#, "ends early"),
        (r#"{"id":"sesame",}"#, "malformed"),
        (r#"{"id":"sesame","id":"sesame"}"#, "twice"),
        ("id=sesame", "malformed"),
    ] {
        let answer = world.send(&json(body)).await;
        answer.is_problem(400, "key-invalid");
        assert!(answer.text().contains("the key at /id"), "{answer:?}");
        assert!(answer.text().contains(word), "{answer:?}");
        assert!(!answer.text().contains("sesame"), "{answer:?}");
    }
    let untyped = |body: &str| post("/sync", "", body);
    // It is JSON, and two readers could take it in two ways.
    let answer = world.send(&untyped(r#"{"id":1,"id":2}"#)).await;
    answer.is_problem(400, "key-invalid");
    assert_eq!(world.upstream.connections(), 0);
    // It looks like it, and a less strict reader may find a key in it.
    for body in [
        r#"{"id":"k","n":NaN}"#,
        "{\"id\":\"k\",}",
        " [1,]",
        "\u{feff}{,}",
    ] {
        let answer = world.send(&untyped(body)).await;
        answer.is_problem(400, "key-invalid");
    }
    assert_eq!(world.upstream.connections(), 0);
    // These neither say nor look like it.
    passed(&world.send(&untyped("a={}")).await);
    passed(
        &world
            .send(&untyped("{a}=b").field("Content-Type", "text/plain"))
            .await,
    );
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_a_json_body() {
    let world = world("key = [\"json:/id\"]").await;
    let body = "\u{feff} {\"id\":\"k\"}";
    let first = world.send(&post("/sync", "", body)).await;
    first.is_first(201, true, "completed");
    assert_eq!(world.upstream.last().body, body.as_bytes());
    world.send(&json(body)).await.replays(&first);
}

#[tokio::test]
async fn blank_space_is_held_no_further_than_any_body() {
    let world = world("key = [\"json:/id\"]\nmax_buffered_request = \"1KiB\"").await;
    let mut client = world.connect().await;
    client.send(&post("/sync", "", "").chunked_head()).await;
    for _ in 0..5 {
        client.send(b"ff\r\n").await;
        client.send(&[b' '; 255]).await;
        client.send(b"\r\n").await;
    }
    client.answer().await.is_problem(413, "body-too-large");
    assert_eq!(world.upstream.connections(), 0);
    let blank = " ".repeat(1024);
    passed(&world.send(&post("/sync", "", &blank)).await);
    assert_eq!(world.upstream.last().body, blank.as_bytes());
}

#[tokio::test]
async fn a_key_in_the_body_that_cannot_be_one_is_refused() {
    let world = world("key = [\"json:/id\"]\nkey_max_length = 6").await;
    for (body, word) in [
        (r#"{"id":""}"#, "empty"),
        (r#"{"id":"1234567"}"#, "longer than 6"),
        (r#"{"id":"é"}"#, "ASCII"),
        (r#"{"id":"a\nb"}"#, "ASCII"),
    ] {
        let answer = world.send(&json(body)).await;
        answer.is_problem(400, "key-invalid");
        let place = "the key in the body at /id ";
        assert!(answer.text().contains(place), "{answer:?}");
        assert!(answer.text().contains(word), "{answer:?}");
    }
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test]
async fn a_json_body_too_large_to_hold_is_refused_and_any_other_streams() {
    let world = world("key = [\"json:/id\"]\nmax_buffered_request = \"1KiB\"").await;
    let large = format!(r#"{{"pad":"{}","id":"k"}}"#, "x".repeat(2048));
    for request in [json(&large), post("/sync", "", &large)] {
        let answer = world.send(&request).await;
        answer.is_problem(413, "body-too-large");
        assert!(answer.text().contains("max_buffered_request"), "{answer:?}");
        // In chunks too, where no length tells.
        let mut client = world.connect().await;
        client.send(&request.chunked_head()).await;
        client.send(&chunked(&[large.as_bytes()])).await;
        client.answer().await.is_problem(413, "body-too-large");
    }
    let limit = r#"idemproxy_limit_reached_total{limit="max_buffered_request"}"#;
    assert_eq!(world.proxy.metric(limit), 4.0);
    assert_eq!(world.upstream.connections(), 0);
    let form = "a=b&".repeat(1024);
    passed(&world.send(&post("/sync", "", &form)).await);
    assert_eq!(world.upstream.last().body, form.as_bytes());
    let file = post("/sync", "", &large).field("Content-Type", "application/pdf");
    passed(&world.send(&file).await);
    assert_eq!(world.upstream.last().body, large.as_bytes());
}

#[tokio::test]
async fn an_upload_without_a_key_reaches_the_upstream_while_it_is_sent() {
    let world = world("key = [\"json:/id\"]").await;
    for kind in ["text/plain", "application/octet-stream", "application/pdf"] {
        let asked = world.upstream.asked();
        world.upstream.next(
            Act::new([Step::ReadOn, Step::Send(Reply::new(201).bytes())]).reading(Reading::Head(5)),
        );
        let mut client = world.connect().await;
        let request = post("/sync", "", "")
            .field("Content-Type", kind)
            .field("Trailer", "X-Sum");
        client.send(&request.chunked_head()).await;
        client.send(b"5\r\nfirst\r\n").await;
        // The rest is not sent before the upstream has the beginning.
        world.upstream.asked_for(asked + 1).await;
        let upstream = &world.upstream;
        patiently(async {
            while upstream.last().body != b"first" {
                tokio::task::yield_now().await;
            }
        })
        .await;
        client.send(b"4\r\nlast\r\n0\r\nX-Sum: 9\r\n\r\n").await;
        passed(&client.answer().await);
        assert_eq!(world.upstream.last().body, b"firstlast");
        let sum = ("X-Sum".to_lowercase(), "9".to_owned());
        let trailers: Vec<_> = world
            .upstream
            .last()
            .trailers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        assert_eq!(trailers, [sum]);
    }
}

#[tokio::test]
async fn a_json_body_without_a_key_passes_with_its_trailers() {
    let world = world("key = [\"json:/id\"]").await;
    let mut client = world.connect().await;
    let request = json("").field("Trailer", "X-Sum");
    client.send(&request.chunked_head()).await;
    client
        .send(b"4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\nX-Sum: 9\r\n\r\n")
        .await;
    passed(&client.answer().await);
    let last = world.upstream.last();
    assert_eq!(last.body, br#"{"a":1}"#);
    assert_eq!(last.trailers.len(), 1);
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_header_before_or_behind_the_body_has_the_key_where_that_has_none() {
    for order in [
        "\"header:Idempotency-Key\", \"json:/id\"",
        "\"json:/id\", \"header:Idempotency-Key\"",
    ] {
        let world = world(&format!("key = [{order}]\nmax_buffered_request = \"1KiB\"")).await;
        let request = |body: &str| json(body).field("Idempotency-Key", "h");
        let first = world.send(&request(r#"{"id":"b"}"#)).await;
        first.is_first(201, true, "completed");
        // Which of the two was it?
        let by_body = order.starts_with("\"json");
        let other = world.send(&json(r#"{"id":"b"}"#)).await;
        if by_body {
            other.replays(&first);
        } else {
            other.is_first(201, true, "completed");
        }
        // A small body, and one that streams.
        for (key, body) in [("s", "a=1".to_owned()), ("l", "a=1&".repeat(1024))] {
            let request = post("/sync", key, body);
            let first = world.send(&request).await;
            assert_eq!(first.field("x-idempotency-stored").as_deref(), Some("true"));
            let replay = world.send(&request).await;
            assert_eq!(replay.all("x-idempotency-replay"), ["true"], "{order}");
        }
        // JSON that is too large: the source in the body comes first, and cannot be asked.
        let large = request(&format!(r#"{{"pad":"{}"}}"#, "x".repeat(2048)));
        let answer = world.send(&large).await;
        if by_body {
            answer.is_problem(413, "body-too-large");
        } else {
            answer.is_problem(422, "key-reused");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_before_its_key_is_known_reaches_nobody() {
    let world = world("key = [\"json:/id\"]").await;
    let mut client = world.connect().await;
    client.send(&json("").head(100)).await;
    client.send(br#"{"id":"k","#).await;
    client.abort();
    world.proxy.reaches("idemproxy_connections", 0.0).await;
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    assert_eq!(world.upstream.connections(), 0);
    assert_eq!(world.proxy.metric(CLAIMS), 0.0);
}

#[tokio::test]
async fn a_double_click_is_one_request_for_as_long_as_the_retention() {
    let world = world("key = [\"content\"]\nretention = \"200ms\"").await;
    let order = |body: &str| json(body).field("Authorization", "Bearer a");
    let first = world.send(&order(r#"{"item":"pen"}"#)).await;
    first.is_first(201, true, "completed");
    // Another item, another path, another caller: other requests.
    world
        .send(&order(r#"{"item":"ink"}"#))
        .await
        .is_first(201, true, "completed");
    world
        .send(&json(r#"{"item":"pen"}"#))
        .await
        .is_first(201, true, "completed");
    let again = patiently(async {
        loop {
            let again = world.send(&order(r#"{"item":"pen"}"#)).await;
            if again.field("x-idempotency-replay").is_none() {
                return again;
            }
            again.replays(&first);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    again.is_first(201, true, "completed");
    assert_eq!(world.upstream.asked(), 4);
}

#[tokio::test]
async fn a_second_click_while_the_first_is_under_way_is_told_so() {
    let world = world("key = [\"header:Idempotency-Key\", \"content\"]\nretention = \"1m\"\nmax_buffered_request = \"1KiB\"").await;
    let gate = Gate::new();
    world.upstream.next(Reply::new(201).after(&gate));
    let request = post("/sync", "", "a=1");
    let mut client = world.begin(&request).await;
    world.upstream.executed(1).await;
    world.send(&request).await.is_problem(409, "in-progress");
    // Who sends a key means another one.
    let keyed = world.send(&post("/sync", "k", "a=1")).await;
    keyed.is_first(201, true, "completed");
    gate.cancel();
    let first = client.answer().await;
    first.is_first(201, true, "completed");
    world.send(&request).await.replays(&first);
    let large = world.send(&post("/sync", "", "x".repeat(2048))).await;
    large.is_problem(413, "body-too-large");
    // With a key of its own it streams.
    let large = world.send(&post("/sync", "large", "x".repeat(2048))).await;
    assert_eq!(large.field("x-idempotency-stored").as_deref(), Some("true"));
    assert_eq!(world.upstream.asked(), 3);
}

fn chunked(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend_from_slice(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
