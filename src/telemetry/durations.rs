//! A histogram of durations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A histogram of durations. A copy is the same one.
///
/// That of `prometheus_client` takes a lock for each observation, for which requests on several threads would wait.
#[derive(Clone, Debug)]
pub(super) struct Durations {
    /// The upper bound of each bucket, which belongs to it, in nanoseconds. Apart from what is counted: who looks for a bucket does not
    /// wait for who counts in one.
    bounds: Arc<[u64]>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// How many are in each bucket, and in none before; the last are longer than any bound.
    buckets: Box<[AtomicU64]>,
    /// Of all durations together, in nanoseconds. Past 584 years it begins anew, which is taken for a restart.
    sum: AtomicU64,
}

impl Durations {
    /// Without any yet, with these upper bounds, seconds, in order.
    pub(super) fn new(bounds: &[f64]) -> Self {
        let nanos = |bound: &f64| nanos(Duration::from_secs_f64(*bound));
        let counts = Counts {
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        };
        Self {
            bounds: bounds.iter().map(nanos).collect(),
            counts: Arc::new(counts),
        }
    }

    /// Adds one.
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = nanos(duration);
        let bucket = self.bounds.partition_point(|bound| *bound < nanos);
        self.counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.counts.sum.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
        let Counts { buckets, sum } = &*self.counts;
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let counts = buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        // By what is shown, so that the page agrees with itself while more are added.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(sum.load(Ordering::Relaxed));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::{Metric, Registry};
    use proptest::prelude::*;

    use super::*;

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
