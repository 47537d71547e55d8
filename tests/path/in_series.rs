//! A proxy before another one.

use crate::support::*;
use crate::world::*;

/// A proxy whose upstream is the proxy of the other world.
async fn before(behind: &World) -> Proxy {
    let url = format!("http://{}", behind.proxy.address());
    Proxy::start(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{url}\"\nservice = \"tests\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"memory:\"\n"
    ))
    .await
}

#[tokio::test]
async fn two_in_series_execute_once_and_either_replays() {
    let behind = World::policy(Backing::Memory, "").await;
    let before = before(&behind).await;
    let request = post("/orders", "k", "a");
    let first = before.send(&request).await;
    first.is_first(201, true, "completed");
    before.send(&request).await.replays(&first);
    let behind_it = behind.send(&request).await;
    assert_eq!(behind_it.body, first.body);
    assert_eq!(
        behind_it.field("x-idempotency-replay").as_deref(),
        Some("true")
    );
    assert_eq!(behind.upstream.executions(), 1);
}

#[tokio::test]
async fn what_the_one_behind_has_in_doubt_is_not_called_released() {
    let behind = World::policy(Backing::Memory, "").await;
    let before = before(&behind).await;
    let request = post("/orders", "k", "a");
    behind
        .upstream
        .next(Reply::new(201).body("done").cut_after(2).then(Step::Fin));
    behind
        .send(&request)
        .await
        .is_problem(502, "upstream-failed");
    before.send(&request).await.is_first(409, false, "unknown");
    let again = before.send(&request).await;
    again.is_problem(409, "outcome-unknown");
    assert_eq!(behind.upstream.executions(), 1);
}
