//! A Redis Cluster: slots that move, nodes that go, and what is said of it.
//!
//! All but one test share a cluster, one after another, so that each can count what it caused. A prefix with a hash tag puts all
//! records of a test into one slot.

mod asked;
mod killed;
mod listed;
mod moved;
mod nodes;
mod races;

use idemproxy::store::{Redis, StoreSettings};
use tokio::sync::{Mutex, MutexGuard};

use crate::records::*;
use crate::support::{RedisCluster, eventually};

/// The cluster that the tests share, for one at a time.
async fn shared() -> (&'static RedisCluster, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared);
    (cluster.await.unwrap(), turn)
}

/// Settings with a timeout that is longer than a busy machine makes anyone wait: these tests are not about time.
fn patient() -> StoreSettings {
    StoreSettings {
        timeout: TIMEOUT * 10,
        ..settings()
    }
}

/// The same with a hash tag in the prefix, and the slot of that.
fn tagged(cluster: &RedisCluster, tag: &str) -> (StoreSettings, u16) {
    let prefix = format!("{{{tag}}}");
    let slot = cluster.slot(&prefix);
    let settings = StoreSettings {
        prefix,
        ..patient()
    };
    (settings, slot)
}

/// A store that reached every node.
async fn reach(cluster: &RedisCluster, settings: &StoreSettings) -> Redis {
    use idemproxy::store::Store;
    let store = Redis::connect(&cluster.url(), settings).await.unwrap();
    eventually("every node is reached", || async { store.health().up }).await;
    store
}

/// Another primary than this one.
fn other_than(node: usize) -> usize {
    (node + 1) % 3
}
