//! What a proxy finds of one that was killed: only on a store of one process, which alone knows at once.

use super::STORE;
use crate::support::*;
use crate::world::*;

#[tokio::test]
async fn what_a_killed_proxy_left_is_counted_once_and_says_why() {
    let unknown = "idemproxy_records_unknown_total";
    let mut world = ProcessWorld::config(STORE, "").await;
    world.proxy.send(&post("/orders", "done", "a")).await;
    let mut clients = Vec::new();
    for key in ["k", "l"] {
        world.upstream.next(Act::new([Step::Never]));
        let mut client = world.proxy.connect().await;
        client.send(&post("/orders", key, "a").bytes()).await;
        clients.push(client);
    }
    world.upstream.executed(3).await;
    assert_eq!(world.proxy.metric(unknown).await, 0.0);
    world.crash().await;
    assert_eq!(world.proxy.metric(unknown).await, 2.0);
    let listed = world.proxy.page("/v1/keys?state=unknown").await.document();
    let listed = listed["keys"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 2);
    for record in &listed {
        assert_eq!(
            record["error"],
            "the proxy stopped while the request was running"
        );
        assert!(record["settled"].is_string(), "{record}");
    }

    // It was said once; what is told of each stays.
    world.crash().await;
    assert_eq!(world.proxy.metric(unknown).await, 0.0);
    let again = world.proxy.page("/v1/keys?state=unknown").await.document();
    assert_eq!(again["keys"].as_array(), Some(&listed));
}
