use futures_util::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::advance;

use super::super::limits::Limits;
use super::*;
use crate::idempotency::sample;
use crate::lanes::{now, turn};
use crate::store::Memory;

#[tokio::test(start_paused = true)]
async fn in_memory_a_lease_begins_when_its_holder_counts_from_however_long_the_turn_took() {
    let (id, step) = (RecordId::from_bytes([1; 16]), Duration::from_secs(1));
    let (store, metrics) = (Arc::new(Memory::default()), Arc::new(Metrics::new()));
    let limits = Limits::new(1, 0, Gauge::default());
    let waiters = Arc::new(Waiters::new(0, limits.clone(), metrics.clone()));
    let records = Records::new(store.clone(), metrics, Tasks::default(), waiters, limits);
    let quiet = || {
        store
            .look(id)
            .now_or_never()
            .unwrap()
            .unwrap()
            .unwrap()
            .quiet
    };
    turn(|| {
        now();
        // Time goes on with the first poll, which is all that there is.
        assert!(advance(step).now_or_never().is_none());
        let (first, since) = (sample::in_flight(1), Instant::now());
        let inserted = records.insert(id, &first, since, None).now_or_never();
        assert_eq!(inserted, Some(Ok(Inserted::Created)));
        assert_eq!(quiet(), Some(Duration::ZERO));
        assert!(advance(step).now_or_never().is_none());
        let (next, since) = (sample::in_flight(2), Instant::now());
        let expect = Expect::Held(first.token);
        let replaced = records.replace(id, expect, &next, since, None);
        assert_eq!(replaced.now_or_never(), Some(Ok(Replaced::Applied)));
        assert_eq!(quiet(), Some(Duration::ZERO));
    });
}

#[tokio::test(start_paused = true)]
async fn the_store_may_be_away_for_any_number_of_tries() {
    let lease = Duration::from_secs(3);
    let mut wait = Backoff::new(lease);
    // More than there are doublings in a duration.
    for _ in 0..200 {
        let before = tokio::time::Instant::now();
        wait.pause().await;
        assert!(before.elapsed() <= lease / 3 + Duration::from_millis(1));
    }
}
