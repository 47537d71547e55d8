//! The store on a Redis server.

use std::time::Duration;

use idemproxy::store::{Location, Redis, StoreSettings, Sync};

use crate::contract::contract;
use crate::support::RedisServer;

contract!(super::fresh);

async fn fresh() -> (Redis, RedisServer) {
    let server = RedisServer::start();
    let settings = settings(&server);
    let store = Redis::connect(&server.url(), &settings).await.unwrap();
    (store, server)
}

pub(crate) fn settings(server: &RedisServer) -> StoreSettings {
    StoreSettings {
        location: Location::Redis(server.url()),
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
    }
}
