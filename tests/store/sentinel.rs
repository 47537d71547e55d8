//! The store on a Redis server that sentinels name.

use std::time::Duration;

use idemproxy::store::{Location, Redis, StoreSettings, Sync};

use crate::contract::contract;
use crate::support::{RedisServer, Sentinels};

contract!(super::fresh);

/// With a replica that must have every write.
async fn fresh() -> (Redis, (Sentinels, RedisServer, RedisServer)) {
    let primary = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let sentinels = Sentinels::watch(primary.port(), 1);
    primary.command(&["SET", "first", "1"]);
    crate::support::eventually("the replica follows", || async {
        replica.get("first").is_some()
    })
    .await;
    let settings = StoreSettings {
        location: Location::Redis(sentinels.url()),
        prefix: "contract".to_owned(),
        // Longer than a busy machine makes anyone wait: the rules are not about time.
        timeout: Duration::from_secs(10),
        sync: Sync::Always,
        max_bytes: u64::MAX,
        wait_replicas: 1,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    };
    let store = Redis::connect(&sentinels.url(), &settings).await.unwrap();
    (store, (sentinels, primary, replica))
}
