//! Faults in an order that chance alone finds too rarely. Each has a key of its own, which is checked as every other.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::sleep;

use super::faults::On;
use super::history::{CellId, Class, Route, now};
use super::ledger::Act;
use super::toxics::Toxic;
use super::workload::{Manner, ask};
use super::world::{PROXIES, World};

/// A claim is applied, and its reply is lost; others ask for the key at once.
pub async fn lost_claim(world: &World, proxy: usize) {
    let (cell, _) = own_key(world, Route::Once, Act::Slow(100, 0));
    let fault = world
        .faults
        .begin(On::StoreLink(proxy), "a claim's reply swallowed");
    world.store[proxy]
        .add(Toxic::timeout(Duration::ZERO).down())
        .await;
    let duplicates = async {
        sleep(Duration::from_millis(50)).await;
        insist(world, cell, &others(proxy), Duration::from_millis(800)).await;
    };
    join(ask(world, cell, proxy, Manner::PATIENT), duplicates).await;
    world.store[proxy].clear().await;
    world.faults.end(fault);
    insist(world, cell, &all(), world.times.lease * 2).await;
}

/// A proxy's orders to the store are carried out, and it hears of none: it takes its claim back, again and again, while
/// another one executes.
pub async fn deaf_proxy(world: &World, proxy: usize) {
    let (cell, _) = own_key(world, Route::Once, Act::Slow(600, 0));
    let fault = world
        .faults
        .begin(On::StoreLink(proxy), "a proxy deaf to its store");
    world.store[proxy]
        .add(Toxic::timeout(Duration::ZERO).down())
        .await;
    let deaf = async {
        ask(world, cell, proxy, Manner::PATIENT).await;
        sleep(Duration::from_millis(600)).await;
        world.store[proxy].clear().await;
    };
    let duplicates = async {
        sleep(Duration::from_millis(50)).await;
        let lasts = world.times.lease + Duration::from_millis(800);
        join(
            insist(world, cell, &[(proxy + 1) % PROXIES], lasts),
            insist(world, cell, &[(proxy + 2) % PROXIES], lasts),
        )
        .await;
    };
    join(deaf, duplicates).await;
    world.faults.end(fault);
    insist(world, cell, &all(), world.times.lease).await;
}

/// The store's link is lost before the answer is written; the client has its answer, and the proxy is killed.
pub async fn unsettled_holder(world: &World, proxy: usize) {
    let (cell, key) = own_key(world, Route::Once, Act::Slow(300, 0));
    let answered = async {
        ask(world, cell, proxy, Manner::PATIENT).await;
        world.crash(proxy, Duration::ZERO).await;
        world.store[proxy].clear().await;
    };
    let lost = async {
        if !received(world, &key, 1).await {
            return None;
        }
        let kind = "a settlement's way blocked";
        let fault = world.faults.begin(On::StoreLink(proxy), kind);
        world.store[proxy]
            .add(Toxic::timeout(Duration::ZERO).up())
            .await;
        Some(fault)
    };
    if let ((), Some(fault)) = join(answered, lost).await {
        world.faults.end(fault);
    }
    insist(world, cell, &all(), world.times.lease * 2).await;
}

/// A holder sleeps longer than its lease, and the store is away meanwhile; both come back, and others ask.
pub async fn sleeping_holder(world: &World, proxy: usize) {
    holder(world, proxy, Route::Once, true).await;
}

/// The same where another proxy takes over, with the store there all the time or not.
pub async fn overtaken_holder(world: &World, proxy: usize) {
    holder(world, proxy, Route::Again, false).await;
    holder(world, proxy, Route::Again, true).await;
}

async fn holder(world: &World, proxy: usize, route: Route, redis_stops: bool) {
    let lease = world.times.lease;
    let (cell, key) = own_key(world, route, Act::Slow(400, 0));
    let first = ask(world, cell, proxy, Manner::PATIENT);
    let rest = async {
        if !received(world, &key, 1).await {
            return;
        }
        let meanwhile = async {
            if redis_stops {
                world.crash_redis(lease + Duration::from_millis(100)).await;
            }
            insist(
                world,
                cell,
                &others(proxy),
                lease * 2 + Duration::from_millis(500),
            )
            .await;
        };
        world.frozen(proxy, meanwhile).await;
    };
    join(first, rest).await;
    sleep(Duration::from_millis(100)).await;
    for proxy in all() {
        ask(world, cell, proxy, Manner::PATIENT).await;
    }
}

fn own_key(world: &World, route: Route, act: Act) -> (CellId, String) {
    let key = uuid::Uuid::now_v7().to_string();
    world.upstream.tell(&key, act);
    (world.cell_of(&key, 1, route, 0), key)
}

/// Asks these proxies in turn, until an answer is stored or the time is over.
async fn insist(world: &World, cell: CellId, proxies: &[usize], lasts: Duration) {
    let give_up = now() + lasts;
    for proxy in proxies.iter().cycle() {
        let class = ask(world, cell, *proxy, Manner::PATIENT).await.class();
        if matches!(class, Class::Stored(_) | Class::Replay(_)) || now() > give_up {
            return;
        }
        sleep(Duration::from_millis(60)).await;
    }
}

/// Whether the upstream has this key within a second or two.
async fn received(world: &World, key: &str, times: u64) -> bool {
    let give_up = now() + Duration::from_secs(2);
    while now() < give_up {
        if world.upstream.ledger().received(key) >= times {
            return true;
        }
        sleep(Duration::from_millis(2)).await;
    }
    false
}

fn others(proxy: usize) -> Vec<usize> {
    (0..PROXIES).filter(|other| *other != proxy).collect()
}

fn all() -> Vec<usize> {
    (0..PROXIES).collect()
}
