//! Traces, as the client, the upstream and a collector see them.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::World;
use crate::collector::{Arrived, Collector, hex};
use crate::support::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const ORDERS: &str = "[[route]]\nname = \"orders\"\npath = \"/orders/{id}\"\n";

fn traced(request: Request, flags: &str) -> Request {
    request.field("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))
}

fn kind(span: &Arrived) -> SpanKind {
    span.span.kind()
}

#[tokio::test]
async fn the_proxys_spans_stand_between_the_clients_and_the_upstreams() {
    let collector = Collector::start().await;
    let world = World::start(ORDERS, &collector.variables(&[])).await;
    let request = traced(post("/orders/7", "key-1", "a"), "01").field("tracestate", "vendor=1");
    let answer = world.proxy.send(&request).await;
    assert_eq!(answer.status, 201);
    let spans = collector.has(2).await;
    let (server, client) = match kind(&spans[0]) {
        SpanKind::Server => (&spans[0], &spans[1]),
        _ => (&spans[1], &spans[0]),
    };
    assert_eq!(kind(server), SpanKind::Server);
    assert_eq!(kind(client), SpanKind::Client);
    assert_eq!(
        (server.trace_id(), client.trace_id()),
        (TRACE.to_owned(), TRACE.to_owned())
    );
    assert_eq!(server.parent(), PARENT);
    assert_eq!(client.parent(), server.span_id());
    let upstream = world.upstream.last();
    assert_eq!(
        upstream.all("traceparent"),
        [format!("00-{TRACE}-{}-01", client.span_id())]
    );
    assert_eq!(upstream.all("tracestate"), ["vendor=1"]);
    assert_eq!(server.span.trace_state, "vendor=1");

    assert_eq!(server.span.name, "POST orders");
    let id = answer.field("x-idempotency-id").unwrap();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("http.route", "/orders/{id}"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
        ("idemproxy.route", "orders"),
        ("idemproxy.outcome", "executed"),
        ("idemproxy.id", &id),
    ] {
        assert_eq!(server.attribute(name), Some(value), "{name}");
    }
    // The client may write into it what it likes.
    assert_eq!(server.attribute("server.address"), None);
    assert_eq!(client.span.name, "POST");
    let port = world.upstream.address().port().to_string();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ] {
        assert_eq!(client.attribute(name), Some(value), "{name}");
    }
    assert_eq!(client.attribute("http.request.resend_count"), None);
    assert!(server.span.end_time_unix_nano >= client.span.end_time_unix_nano);
    let event = world.event("executed").await;
    assert_eq!(event["trace_id"], TRACE);
}

#[tokio::test]
async fn a_replay_is_linked_to_the_trace_of_the_first_request() {
    let collector = Collector::start().await;
    let world = World::start("", &collector.variables(&[])).await;
    let first = traced(post("/orders", "key-1", "a"), "01");
    world.proxy.send(&first).await;
    let again = post("/orders", "key-1", "a");
    assert_eq!(world.proxy.send(&again).await.status, 201);
    let reused = post("/orders", "key-1", "b");
    assert_eq!(world.proxy.send(&reused).await.status, 422);
    let spans = collector.has(4).await;
    let executed = Arrived::find(&spans, "idemproxy.outcome", "executed");
    assert!(executed.span.links.is_empty());
    for outcome in ["replayed", "key_reused"] {
        let later = Arrived::find(&spans, "idemproxy.outcome", outcome);
        assert_ne!(later.trace_id(), TRACE);
        assert_eq!(later.parent(), "");
        let [link] = &*later.span.links else {
            panic!("{later:#?}")
        };
        assert_eq!(hex(&link.trace_id), TRACE);
        assert_eq!(hex(&link.span_id), executed.span_id());
    }
}

#[tokio::test]
async fn one_that_waits_or_is_turned_away_is_linked_to_what_it_waits_for() {
    let collector = Collector::start().await;
    let routes = "[[route]]\nname = \"waits\"\npath = \"/waits\"\nin_flight = \"wait\"\n";
    let world = World::start(routes, &collector.variables(&[])).await;
    for (path, outcome) in [("/waits", "waited"), ("/orders", "in_progress")] {
        let (gate, asked) = (Gate::new(), world.upstream.asked());
        world.upstream.next(Reply::new(201).after(&gate));
        let mut client = world.proxy.connect().await;
        client.send(&post(path, "key-1", "a").bytes()).await;
        world.upstream.asked_for(asked + 1).await;
        let mut second = world.proxy.connect().await;
        second.send(&post(path, "key-1", "a").bytes()).await;
        if outcome == "waited" {
            patiently(async { while world.metric("idemproxy_waiters").await != 1.0 {} }).await;
        } else {
            assert_eq!(second.answer().await.status, 409);
        }
        gate.cancel();
        assert_eq!(client.answer().await.status, 201);
        if outcome == "waited" {
            assert_eq!(second.answer().await.status, 201);
        }
        let spans = collector
            .has(3 * (1 + usize::from(path == "/orders")))
            .await;
        let second = Arrived::find(&spans, "idemproxy.outcome", outcome);
        let server = |span: &&Arrived| hex(&second.span.links[0].span_id) == span.span_id();
        let first = spans.iter().find(server).unwrap();
        assert_eq!(first.attribute("idemproxy.outcome"), Some("executed"));
        assert_eq!(
            first.attribute("idemproxy.id"),
            second.attribute("idemproxy.id")
        );
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_has_a_span_for_each_time() {
    let collector = Collector::start().await;
    let policy = "[policy]\nretry = { attempts = 3, base = \"1ms\", on = [\"503\"] }\n";
    let world = World::start(policy, &collector.variables(&[])).await;
    world.upstream.next(Reply::new(503)).next(Reply::new(503));
    assert_eq!(world.proxy.send(&post("/", "a", "a")).await.status, 201);
    let spans = collector.has(4).await;
    let first = Arrived::find(&spans, "idemproxy.outcome", "executed").span_id();
    let resends: Vec<_> = spans
        .iter()
        .filter(|span| span.parent() == first)
        .map(|span| {
            (
                span.attribute("http.request.resend_count"),
                span.attribute("error.type"),
            )
        })
        .collect();
    assert_eq!(
        resends,
        [
            (None, Some("503")),
            (Some("1"), Some("503")),
            (Some("2"), None)
        ]
    );
    let seen = |entry: &Entry| entry.field("traceparent").unwrap().to_owned();
    let seen: Vec<_> = world.upstream.ledger().iter().map(seen).collect();
    let sent = spans.iter().filter(|span| span.parent() == first);
    for (span, seen) in sent.zip(&seen) {
        assert!(seen.contains(&span.span_id()), "{seen}");
    }
}

#[tokio::test]
async fn a_question_beside_the_request_belongs_to_its_trace() {
    let collector = Collector::start().await;
    let rule = "[[policy.response]]\nstatus = \"409\"\njson = { \"/code\" = \"there\" }\noutcome = \"store\"\nreply_from = \"/found\"\n";
    let world = World::start(rule, &collector.variables(&[])).await;
    let there = Reply::new(409).field("Content-Type", "application/json");
    world.upstream.next(there.body("{\"code\": \"there\"}"));
    world.upstream.next(Reply::new(200).body("it"));
    let request = traced(post("/orders", "key-1", "a"), "01");
    assert_eq!(world.proxy.send(&request).await.text(), "it");
    let spans = collector.has(2).await;
    let server = Arrived::find(&spans, "idemproxy.outcome", "executed");
    let question = world.upstream.last();
    assert_eq!(question.target, "/found");
    let parent = format!("00-{TRACE}-{}-01", server.span_id());
    assert_eq!(question.all("traceparent"), [parent]);
}

#[tokio::test]
async fn what_is_observed_is_traced_as_what_it_would_have_been() {
    let collector = Collector::start().await;
    let observe = "[policy]\nmode = \"observe\"\n";
    let world = World::start(observe, &collector.variables(&[])).await;
    for outcome in ["observed_executed", "observed_replayed"] {
        world.proxy.send(&post("/", "key-1", "a")).await;
        world.event(outcome).await;
    }
    let spans = collector.has(4).await;
    let first = Arrived::find(&spans, "idemproxy.outcome", "observed_executed");
    let second = Arrived::find(&spans, "idemproxy.outcome", "observed_replayed");
    assert_eq!(second.attribute("http.response.status_code"), Some("201"));
    assert_eq!(hex(&second.span.links[0].span_id), first.span_id());
}

#[tokio::test]
async fn a_client_that_does_not_sample_is_not_sampled() {
    let collector = Collector::start().await;
    let world = World::start("", &collector.variables(&[])).await;
    world.proxy.send(&traced(post("/", "a", "a"), "00")).await;
    let seen = world
        .upstream
        .last()
        .field("traceparent")
        .unwrap()
        .to_owned();
    assert!(
        seen.starts_with(&format!("00-{TRACE}-")) && seen.ends_with("-00"),
        "{seen}"
    );
    // One that is, in the same trace: all that arrives is its own, and no link to what nobody has.
    world.proxy.send(&traced(post("/", "a", "a"), "01")).await;
    let spans = collector.has(1).await;
    assert_eq!(spans[0].attribute("idemproxy.outcome"), Some("replayed"));
    assert!(spans[0].span.links.is_empty());
}

#[tokio::test]
async fn the_sampler_the_resource_and_the_headers_are_those_of_the_environment() {
    let collector = Collector::start().await;
    let off = collector.variables(&[("OTEL_TRACES_SAMPLER", "always_off")]);
    let world = World::start("", &off).await;
    world.proxy.send(&traced(post("/", "a", "a"), "01")).await;
    assert!(
        world
            .upstream
            .last()
            .field("traceparent")
            .unwrap()
            .ends_with("-00")
    );
    let variables = collector.variables(&[
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "payments-proxy"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment=test,team=orders",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-tenant=one,authorization=Bearer%20abc",
        ),
    ]);
    let world = World::start("", &variables).await;
    world.proxy.send(&post("/", "a", "a")).await;
    world.proxy.send(&traced(post("/", "b", "b"), "01")).await;
    for span in collector.has(2).await {
        assert_eq!(span.trace_id(), TRACE);
    }
    let resource = collector.resource();
    for (name, value) in [
        ("service.name", "payments-proxy"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment", "test"),
        ("team", "orders"),
    ] {
        assert_eq!(
            resource.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    let export = collector.server.last();
    assert_eq!(export.field("content-encoding"), Some("gzip"));
    assert_eq!(export.field("x-tenant"), Some("one"));
    assert_eq!(export.field("authorization"), Some("Bearer abc"));
    assert!(
        !world.proxy.log().contains("Bearer"),
        "{}",
        world.proxy.log()
    );
}

#[tokio::test]
async fn neither_keys_nor_credentials_nor_paths_are_in_a_span() {
    let collector = Collector::start().await;
    let policy =
        "[policy]\nkey = [\"header:Idempotency-Key\", \"query:key\"]\n[log]\nkeys = true\n";
    let world = World::start(policy, &collector.variables(&[])).await;
    for request in [
        post("/secret-path?x=secret-query", "secret-key", "secret-body"),
        post("/secret-path?key=secret-in-query", "", "secret-body"),
        Request::new("GET", "/secret-path"),
        Request::new("SECRETMETHOD", "/"),
        post("/", "secret key\u{e9}", ""),
    ] {
        let request = request
            .field("Authorization", "Bearer secret-token")
            .field("Cookie", "session=secret-cookie")
            .field("User-Agent", "secret-agent");
        world.proxy.send(&request).await;
    }
    eventually(|| collector.spans().len() >= 9).await;
    for span in collector.spans() {
        let text = format!("{span:?}").to_lowercase();
        assert!(!text.contains("secret"), "{text}");
    }
    let spans = collector.spans();
    let other = Arrived::find(&spans, "idemproxy.outcome", "key_invalid");
    assert_eq!(other.attribute("error.type"), None);
    assert!(spans.iter().any(|span| span.span.name == "HTTP default"));
}

#[tokio::test]
async fn without_a_collector_the_trace_context_passes_unchanged() {
    let world = World::start("", &[]).await;
    let request = traced(post("/", "a", "a"), "01").field("tracestate", "vendor=1");
    world.proxy.send(&request).await;
    let seen = world.upstream.last();
    assert_eq!(seen.all("traceparent"), [format!("00-{TRACE}-{PARENT}-01")]);
    assert_eq!(seen.all("tracestate"), ["vendor=1"]);
    assert_eq!(world.event("executed").await["trace_id"], TRACE);
    world.proxy.send(&post("/", "a", "a")).await;
    assert!(world.event("replayed").await.get("trace_id").is_none());
}
