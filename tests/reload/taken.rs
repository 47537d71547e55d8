//! What is taken, by whom and when.

use crate::support::*;
use crate::world::*;

const SHORT_KEYS: &str = "[policy]\nkey_max_length = 5\n";

#[tokio::test]
async fn the_next_request_goes_by_the_new_configuration_on_an_old_connection_too() {
    let world = World::of("").await;
    let mut client = world.begin(&post("/orders", "0123456789", "a")).await;
    assert_eq!(client.answer().await.status, 201);
    world
        .reload("[policy]\nkey_max_length = 5\n[errors.detail]\nkey-invalid = \"Zu lang.\"\n[server]\ntrust_forwarded = []")
        .await;
    let request = post("/orders", "abcdefghij", "a");
    client.send(&request.bytes()).await;
    let refused = client.answer().await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.document()["detail"], "Zu lang.");
    // Whom to trust is asked for each request.
    let forwarded = post("/orders", "k", "a").field("X-Forwarded-For", "192.0.2.1");
    client.send(&forwarded.bytes()).await;
    assert_eq!(client.answer().await.status, 201);
    let seen = world.upstream.last();
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(world.proxy.metric(APPLIED), 1.0);
}

#[tokio::test]
async fn what_is_stored_is_replayed_under_the_next_configuration() {
    let world = World::of("").await;
    let first = world.post("k", "a").await;
    world
        .reload("[policy]\nretention = \"1h\"\n[[route]]\npath = \"/orders\"\nname = \"orders\"")
        .await;
    let again = world.post("k", "a").await;
    assert_eq!(again.field("x-idempotency-replay").as_deref(), Some("true"));
    assert_eq!(
        again.field("x-idempotency-id"),
        first.field("x-idempotency-id")
    );
    assert_eq!(world.upstream.executions(), 1);
    let line = r#"idemproxy_requests_total{route="orders",outcome="replayed"}"#;
    assert_eq!(world.proxy.metric(line), 1.0);
}

#[tokio::test]
async fn an_upstream_that_stays_keeps_its_connections() {
    let idle = "[upstream_connections]\nidle_timeout = \"30s\"\n";
    let world = World::of(idle).await;
    world.proxy.send(&get("/")).await;
    world.reload(&format!("{idle}{SHORT_KEYS}")).await;
    world.proxy.send(&get("/")).await;
    assert_eq!(world.upstream.connections(), 1);
    world
        .reload("[upstream_connections]\nidle_timeout = \"31s\"\n")
        .await;
    world.proxy.send(&get("/")).await;
    assert_eq!(world.upstream.connections(), 2);
}

#[tokio::test]
async fn new_requests_go_to_the_new_upstream_while_the_old_one_finishes_what_it_has() {
    let world = World::of("").await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(201).body("old").after(&gate));
    let mut first = world.begin(&post("/orders", "k", "a")).await;
    world.upstream.asked_for(1).await;
    let other = Upstream::start().await;
    other.next(Reply::new(201).body("new"));
    world.reload_text(&configuration(&other, "")).await;
    assert_eq!(world.post("l", "a").await.text(), "new");
    let verbose = world.proxy.page("/readyz?verbose").await.text();
    assert!(verbose.contains(&other.address().to_string()), "{verbose}");
    gate.cancel();
    assert_eq!(first.answer().await.text(), "old");
    assert_eq!(world.post("k", "a").await.text(), "old");
    assert_eq!((world.upstream.executions(), other.executions()), (1, 1));
}

#[tokio::test]
async fn limits_move_and_what_runs_still_counts() {
    let world = World::of("[server]\nmax_in_flight = 2\n").await;
    let gate = Gate::new();
    world
        .upstream
        .next(Reply::new(201).after(&gate))
        .next(Reply::new(201).after(&gate));
    let mut clients = [
        world.begin(&post("/orders", "a", "a")).await,
        world.begin(&post("/orders", "b", "a")).await,
    ];
    world.upstream.asked_for(2).await;
    world.reload("[server]\nmax_in_flight = 1\n").await;
    assert_eq!(world.post("c", "a").await.status, 503);
    world.reload("[server]\nmax_in_flight = 3\n").await;
    assert_eq!(world.post("c", "a").await.status, 201);
    gate.cancel();
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 201);
    }
    world.proxy.reaches("idemproxy_in_flight", 0.0).await;
    world.reload("[server]\nmax_connections = 1\n").await;
    assert_eq!(world.proxy.connect().await.answer().await.status, 503);
}

#[tokio::test]
async fn the_metrics_name_what_it_goes_by_and_when_it_was_taken() {
    let world = World::of("").await;
    let hashes = || async {
        let page = world.proxy.page("/metrics").await.text();
        let lines = page
            .lines()
            .filter_map(|line| line.strip_prefix("idemproxy_config_info{hash=\""));
        let hashes: Vec<String> = lines
            .filter_map(|rest| Some(rest.strip_suffix("\"} 1")?.to_owned()))
            .collect();
        assert_eq!(hashes.len(), 1, "{page}");
        hashes[0].clone()
    };
    let first = hashes().await;
    let began = world
        .proxy
        .metric("idemproxy_config_last_reload_success_timestamp_seconds");
    assert!(began > 1.6e9);
    assert_eq!(
        world
            .proxy
            .metric("idemproxy_config_last_reload_successful"),
        1.0
    );
    world.reload(SHORT_KEYS).await;
    let second = hashes().await;
    assert_ne!(first, second);
    world.reload("").await;
    assert_eq!(hashes().await, first, "the same text has the same hash");
    world.refuses("[policy]\nx = 1", 422, &["9:1: x: unknown key, expected one of: mode, methods, key, key_required, key_max_length, key_format, uuid7_max_future, uuid7_max_age, scope, fingerprint, fingerprint_ignore, retention, failed_retention, unknown_retention, lease, in_flight, wait_timeout, unknown_outcome, cut_upload, store_error, client_timeout, upstream_timeout, max_buffered_request, max_stored_response, max_request_body, preserve_host, store_set_cookie, retry, probe, replay_check, response"]).await;
    assert_eq!(hashes().await, first);
    assert_eq!(
        world
            .proxy
            .metric("idemproxy_config_last_reload_successful"),
        0.0
    );
    assert_eq!(
        (world.proxy.metric(APPLIED), world.proxy.metric(REFUSED)),
        (2.0, 1.0)
    );
    world.reload(SHORT_KEYS).await;
    assert_eq!(
        world
            .proxy
            .metric("idemproxy_config_last_reload_successful"),
        1.0
    );
}

#[tokio::test]
async fn routes_that_come_and_go_do_not_add_up_in_the_metrics() {
    let world = World::of("").await;
    for round in 0..20 {
        world
            .reload(&format!(
                "[[route]]\nname = \"round-{round}\"\npath = \"/orders\""
            ))
            .await;
        assert_eq!(world.post(&format!("k{round}"), "a").await.status, 201);
    }
    let page = world.proxy.page("/metrics").await.text();
    let series: Vec<&str> = page
        .lines()
        .filter(|line| line.contains("round-") && line.contains("\"executed\""))
        .collect();
    // Those of the one before may still count.
    assert_eq!(series.len(), 2, "{series:?}");
    let others = page.lines().filter(|line| line.contains("round-"));
    assert!(
        others
            .clone()
            .all(|line| line.contains("round-18") || line.contains("round-19"))
    );
    // What alerts ask of a route is there from the reload on that brought it.
    let alerted = "route=\"round-19\",outcome=\"forwarded_without_guarantee\"} 0";
    assert!(
        others.into_iter().any(|line| line.ends_with(alerted)),
        "{page}"
    );
}

#[tokio::test]
async fn reloads_at_once_are_one_after_another_and_all_see_the_file() {
    let world = World::of("").await;
    world
        .file
        .write(&configuration(&world.upstream, SHORT_KEYS));
    let answers = futures_util::future::join_all((0..8).map(|_| reload(&world.proxy, ""))).await;
    let hashes: Vec<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.document()["hash"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert_eq!(world.proxy.metric(APPLIED), 8.0);
    assert_eq!(world.post("0123456789", "a").await.status, 400);
}
