//! The store on a Redis Cluster.

use std::time::Duration;

use idemproxy::store::{Location, Redis, StoreSettings, Sync};

use crate::contract::contract;
use crate::support::RedisCluster;

contract!(super::fresh);

async fn fresh() -> (Redis, ()) {
    let url = tokio::task::spawn_blocking(|| RedisCluster::shared().url())
        .await
        .unwrap();
    let settings = StoreSettings {
        location: Location::Redis(url.clone()),
        prefix: "contract".to_owned(),
        // Longer than a busy machine makes anyone wait: the rules are not about time.
        timeout: Duration::from_secs(10),
        sync: Sync::Always,
        max_bytes: u64::MAX,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    };
    (Redis::connect(&url, &settings).await.unwrap(), ())
}
