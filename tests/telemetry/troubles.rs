//! Collectors that are away, stuck, or say no.

use crate::World;
use crate::collector::Collector;
use crate::support::*;

#[tokio::test]
async fn an_absent_collector_holds_nobody_up_and_is_said_once() {
    let collector = Collector::at(Upstream::absent());
    let world = World::start("", &collector.variables(&[])).await;
    for key in 0..20 {
        let answer = world.proxy.send(&post("/", &key.to_string(), "a")).await;
        assert_eq!(answer.status, 201);
    }
    patiently(async { while world.metric("idemproxy_spans_dropped_total").await < 40.0 {} }).await;
    assert_eq!(world.metric("idemproxy_spans_dropped_total").await, 40.0);
    let log = world.says("spans could not be exported").await;
    assert_eq!(
        log.matches("spans could not be exported").count(),
        1,
        "{log}"
    );
}

#[tokio::test]
async fn a_stuck_collector_holds_nobody_up_and_what_finds_no_room_is_dropped() {
    let collector = Collector::start().await;
    for _ in 0..1000 {
        collector.server.next(Act::new([Step::Never]));
    }
    let variables = collector.variables(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
    ]);
    let mut world = World::start("", &variables).await;
    for key in 0..20 {
        let answer = world.proxy.send(&post("/", &key.to_string(), "a")).await;
        assert_eq!(answer.status, 201);
    }
    // One batch is with the collector for ever, or until it is given up; four spans wait.
    assert!(world.metric("idemproxy_spans_dropped_total").await >= 34.0);
    collector.server.asked_for(1).await;
    // Nor does it hold up the end.
    world.proxy.terminate().await;
    assert_eq!(world.proxy.ended().await, Some(0));
    assert!(
        world
            .proxy
            .whole_log()
            .await
            .contains("the last spans could not be exported")
    );
}

#[tokio::test]
async fn what_a_collector_refuses_is_dropped_and_counted() {
    let collector = Collector::start().await;
    collector
        .server
        .next(Reply::new(400).body("no such tenant: secret"));
    let world = World::start("", &collector.variables(&[])).await;
    world.proxy.send(&get("/")).await;
    patiently(async { while world.metric("idemproxy_spans_dropped_total").await == 0.0 {} }).await;
    let log = world.says("status code: 400").await;
    assert!(!log.contains("secret"), "{log}");
    world.proxy.send(&get("/")).await;
    eventually(|| collector.server.executions() >= 2).await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let collector = Collector::start().await;
    let variables = collector.variables(&[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    let mut world = World::start("", &variables).await;
    world.proxy.send(&post("/", "a", "a")).await;
    assert_eq!(collector.server.asked(), 0);
    world.proxy.terminate().await;
    assert_eq!(world.proxy.ended().await, Some(0));
    collector.has(2).await;
}

#[tokio::test]
async fn what_the_environment_says_wrong_is_said_and_keeps_nobody_from_starting() {
    for (variables, said) in [
        (
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ][..],
            "http/protobuf",
        ),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1")], "is no URL"),
        (
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
            ],
            "no traces are exported",
        ),
    ] {
        let world = World::start("", variables).await;
        let log = world.proxy.log();
        assert!(
            log.contains("no traces are exported") && log.contains(said),
            "{log}"
        );
        assert_eq!(world.proxy.send(&post("/", "a", "a")).await.status, 201);
    }
}
