//! The requests of one route, counted.

use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Outcome;
use super::labels::RequestLabels;

/// What became of the requests of one route: a counter for each outcome, looked up when it first occurs. Until then it is not on the
/// page, as if each request looked its counter up.
#[derive(Debug)]
pub struct RouteCounts {
    route: String,
    requests: Family<RequestLabels, Counter>,
    counters: [OnceLock<Counter>; Outcome::ALL.len()],
}

impl RouteCounts {
    pub(super) fn new(route: &str, requests: &Family<RequestLabels, Counter>) -> Self {
        Self {
            route: route.to_owned(),
            requests: requests.clone(),
            counters: [const { OnceLock::new() }; Outcome::ALL.len()],
        }
    }

    /// The route's name.
    pub fn name(&self) -> &str {
        &self.route
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let counter = self.counters[outcome as usize].get_or_init(|| {
            let route = self.route.clone();
            let labels = RequestLabels { route, outcome };
            self.requests.get_or_create_owned(&labels)
        });
        counter.inc();
    }
}
