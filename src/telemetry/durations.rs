//! A histogram of durations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::lanes::PerLane;

/// A histogram of durations. A copy is the same one.
///
/// That of `prometheus_client` takes a lock for each observation, for which requests on several threads would wait. Here each lane counts
/// for itself.
#[derive(Clone, Debug)]
pub(super) struct Durations {
    /// The upper bound of each bucket, which belongs to it, in nanoseconds.
    bounds: Arc<[u64]>,
    counts: PerLane<Counts>,
}

/// All durations together, in nanoseconds, and then how many are in each bucket and in none before; the last bucket is of those that are
/// longer than any bound. Past 584 years the sum begins anew, which is taken for a restart.
///
/// In lines of memory of its own, of which processors fetch two at a time; so each lane takes 256 bytes of every histogram.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts([AtomicU64; 1 + MOST_BUCKETS]);

impl Durations {
    /// Without any yet, with these upper bounds, seconds, in order; one less than [`MOST_BUCKETS`] at most.
    pub(super) fn new(bounds: &[f64]) -> Self {
        assert!(bounds.len() < MOST_BUCKETS, "the bounds are constants");
        let nanos = |bound: &f64| nanos(Duration::from_secs_f64(*bound));
        Self {
            bounds: bounds.iter().map(nanos).collect(),
            counts: PerLane::of_some(|_| Counts::default()),
        }
    }

    /// Adds one.
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = nanos(duration);
        // One after the other: what is fast, as most is, comes early, and a search cannot be foreseen by the processor.
        let shorter = self.bounds.iter().take_while(|bound| **bound < nanos);
        let bucket = shorter.count();
        let Counts(counts) = self.counts.mine();
        counts[0].fetch_add(nanos, Ordering::Relaxed);
        counts[1 + bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// What all lanes have together of one number.
    fn total(&self, number: usize) -> u64 {
        let each = self.counts.iter().map(|Counts(counts)| &counts[number]);
        each.map(|count| count.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let counted = (0..=self.bounds.len()).map(|bucket| self.total(1 + bucket));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counted).collect();
        // By what is shown, so that the page agrees with itself while more are added.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.total(0));
        let exemplars = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
        encoder.encode_histogram(sum, count, &buckets, exemplars)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// As many as find room, with the sum, in four lines of memory.
const MOST_BUCKETS: usize = 31;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Metric, Registry};
    use proptest::prelude::*;

    use super::*;
    use crate::lanes::{SOME, Threads};

    const BOUNDS: [f64; 3] = [0.00025, 0.1, 1.0];

    fn page(metric: impl Metric) -> String {
        let mut registry = Registry::default();
        registry.register("took", "It took", metric);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    }

    proptest! {
        /// But for the last digits of the sum.
        #[test]
        fn the_page_is_that_of_the_library(took in prop::collection::vec(0_u64..3000, 0..20)) {
            let (ours, theirs) = (Durations::new(&BOUNDS), Histogram::new(BOUNDS));
            for millis in took {
                let duration = Duration::from_millis(millis);
                ours.observe(duration);
                theirs.observe(duration.as_secs_f64());
            }
            let sums = |page: String| -> (Vec<String>, f64) {
                let is_sum = |line: &&str| line.starts_with("took_sum");
                let sum = page.lines().find(is_sum).unwrap();
                let sum = sum.rsplit(' ').next().unwrap().parse().unwrap();
                let rest = page.lines().filter(|line| !is_sum(line));
                (rest.map(str::to_owned).collect(), sum)
            };
            let ((ours, sum), (theirs, their_sum)) = (sums(page(ours)), sums(page(theirs)));
            prop_assert_eq!(ours, theirs);
            prop_assert!((sum - their_sum).abs() < 1e-6);
        }
    }

    #[tokio::test]
    async fn what_lanes_count_is_shown_together() {
        let threads = Threads::start(SOME + 1, Duration::from_secs(1)).unwrap();
        let (lanes, durations) = (threads.lanes(), Durations::new(&BOUNDS));
        for lane in 0..lanes.count() {
            let durations = durations.clone();
            let observe = async move { durations.observe(Duration::from_secs(1)) };
            lanes.runtime(lane).unwrap().spawn(observe).await.unwrap();
        }
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
        let page = page(durations);
        let count = SOME + 1;
        for line in [
            format!("took_sum {count}.0\n"),
            format!("took_count {count}\n"),
        ] {
            assert!(page.contains(&line), "{page}");
        }
    }

    #[test]
    fn a_bound_belongs_to_what_is_below_it() {
        let durations = Durations::new(&BOUNDS);
        for nanos in [0, 250_000, 250_001, 1_000_000_000, 1_000_000_001, u64::MAX] {
            durations.observe(Duration::from_nanos(nanos));
        }
        let page = page(durations);
        for (bound, count) in [("0.00025", 2), ("0.1", 3), ("1.0", 4), ("+Inf", 6)] {
            let line = format!("took_bucket{{le=\"{bound}\"}} {count}\n");
            assert!(page.contains(&line), "{line} {page}");
        }
    }
}
