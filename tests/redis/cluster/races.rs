//! Claims while slots go back and forth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use idemproxy::idempotency::{Expect, RecordId};
use idemproxy::store::{Inserted, Redis, Replaced, Store, StoreError};

use super::*;

/// `CLUSTER_RACE_SECONDS` makes it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_id_is_claimed_once_while_its_slot_goes_back_and_forth() {
    let (cluster, _turn) = shared().await;
    let seconds = std::env::var("CLUSTER_RACE_SECONDS");
    let seconds = seconds.map_or(4, |seconds| seconds.parse().unwrap());
    let (settings, slot) = tagged(cluster, "races");
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(reach(cluster, &settings).await));
    }
    let (moved, asked) = (cluster.refusals("MOVED"), cluster.refusals("ASK"));
    let over = Arc::new(AtomicBool::new(false));
    let moves = Arc::new(AtomicU32::new(0));
    let (stop, count) = (Arc::clone(&over), Arc::clone(&moves));
    let moving = tokio::task::spawn_blocking(move || {
        while !stop.load(Ordering::Relaxed) {
            let to = other_than(cluster.holder(slot));
            cluster.begin_to_move(slot, to);
            while !cluster.move_keys(slot, to, 20) {}
            cluster.end_move(slot, to);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut ids, mut refusals) = (0_u32, 0);
    let give_up = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < give_up || moves.load(Ordering::Relaxed) < 4 {
        let mut bytes = [0x55; 16];
        bytes[..4].copy_from_slice(&ids.to_be_bytes());
        let place = RecordId::from_bytes(bytes);
        ids += 1;
        let tries: Vec<_> = stores
            .iter()
            .map(|store| tokio::spawn(claim_until_told(Arc::clone(store), place)))
            .collect();
        let mut winners = 0;
        for one in tries {
            let (won, again) = one.await.unwrap();
            winners += u32::from(won);
            refusals += again;
        }
        assert_eq!(winners, 1, "id {ids}");
    }
    over.store(true, Ordering::Relaxed);
    moving.await.unwrap();
    let moves = moves.load(Ordering::Relaxed);
    let moved = cluster.refusals("MOVED") - moved;
    let asked = cluster.refusals("ASK") - asked;
    println!(
        "{ids} ids, each claimed once by one of 3 stores; {moves} moves, {moved} MOVED, {asked} ASK, {refusals} tries again"
    );
    assert!(ids > 20 && moved > 5 && asked > 0);
}

/// Whether it won the id, and settled it; and how often it had to ask again.
async fn claim_until_told(store: Arc<Redis>, place: RecordId) -> (bool, u32) {
    let (own, mut again) = (claim(), 0);
    let won = loop {
        match store.insert(place, &own).await {
            Ok(Inserted::Created) => break true,
            // An earlier try, of which nothing was known.
            Ok(Inserted::Occupied(seen)) => break seen.record.token == own.token,
            Err(StoreError::Unreadable(why)) => panic!("{why}"),
            Err(_) => again += 1,
        }
    };
    if !won {
        return (false, again);
    }
    let done = completed(&own, 10);
    loop {
        match store.replace(place, Expect::Held(own.token), &done).await {
            Ok(came_of_it) => {
                assert_eq!(came_of_it, Replaced::Applied);
                return (true, again);
            }
            Err(_) => again += 1,
        }
    }
}
