//! The metrics page: every name on it, in one place.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::labels::{
    AdminChangeLabels, AdminOrder, AdminOutcome, AdminRefusal, AdminRefusedLabels, ConfigLabels,
    Limit, LimitLabels, Operation, Outcome, ReloadLabels, ReloadResult, RequestLabels, StoreLabels,
};
use super::{Activity, Durations, RouteCounts};

/// Everything that is counted. Cheap to update from any thread; the plain counters and gauges are public.
#[derive(Debug)]
pub struct Metrics {
    /// Exchanges running, with or without their client.
    pub in_flight: Gauge,
    /// Duplicates that wait for the first answer.
    pub waiters: Gauge,
    /// Client connections open.
    pub connections: Gauge,
    /// Client connections that were to be TLS, and did not come to it.
    pub tls_handshakes_failed: Counter,
    /// Whether the store answered last time.
    pub store_up: Gauge,
    /// Keys that the server of the store dropped for want of memory since it started.
    pub store_evicted_keys: Gauge,
    /// Records that ended with an unknown outcome.
    pub records_unknown: Counter,
    /// Claims that were lost to another attempt before they were settled.
    pub claims_lost: Counter,
    /// Claims that an operator settled while their holder was at work.
    pub claims_overruled: Counter,
    /// Records that the store had lost and a settlement put back.
    pub records_restored: Counter,
    /// Times that the store came back as another one (a restart or a failover).
    pub store_epoch_changes: Counter,
    /// Keyed requests with cookies, and no caller in their scope.
    pub cookies_without_caller: Counter,
    /// Spans that could not be exported.
    pub spans_dropped: Counter,
    /// The last hour, for the operators' page; not among the metrics.
    pub activity: Activity,
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    limit_reached: Family<LimitLabels, Counter>,
    config: Family<ConfigLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
    admin_changes: Family<AdminChangeLabels, Counter>,
    admin_refused: Family<AdminRefusedLabels, Counter>,
    last_reload_successful: Gauge,
    last_reload_success: Gauge,
    request_duration: Durations,
    upstream_duration: Durations,
    store_duration: Family<StoreLabels, Durations, fn() -> Durations>,
    /// Those of the family, each from when it is first needed.
    store_operations: [OnceLock<Durations>; Operation::ALL.len()],
}

impl Metrics {
    /// Media type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All at zero.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let mut metrics = Self {
            in_flight: Gauge::default(),
            waiters: Gauge::default(),
            connections: Gauge::default(),
            tls_handshakes_failed: Counter::default(),
            store_up: Gauge::default(),
            store_evicted_keys: Gauge::default(),
            records_unknown: Counter::default(),
            claims_lost: Counter::default(),
            claims_overruled: Counter::default(),
            records_restored: Counter::default(),
            store_epoch_changes: Counter::default(),
            cookies_without_caller: Counter::default(),
            spans_dropped: Counter::default(),
            activity: Activity::default(),
            registry: Registry::with_prefix("idemproxy"),
            requests: Family::default(),
            limit_reached: Family::default(),
            config: Family::default(),
            reloads: Family::default(),
            admin_changes: Family::default(),
            admin_refused: Family::default(),
            last_reload_successful: Gauge::default(),
            last_reload_success: Gauge::default(),
            request_duration: Durations::new(&EXCHANGE_SECONDS),
            upstream_duration: Durations::new(&EXCHANGE_SECONDS),
            store_duration: Family::new_with_constructor(|| Durations::new(&STORE_SECONDS)),
            store_operations: Default::default(),
        };
        metrics.register();
        // A counter that begins when it is first needed shows no increase then.
        for result in ReloadResult::ALL.iter().copied() {
            drop(metrics.reloads.get_or_create(&ReloadLabels { result }));
        }
        for order in AdminOrder::ALL.iter().copied() {
            for outcome in AdminOutcome::ALL.iter().copied() {
                let labels = AdminChangeLabels { order, outcome };
                drop(metrics.admin_changes.get_or_create(&labels));
            }
        }
        for reason in AdminRefusal::ALL.iter().copied() {
            let labels = AdminRefusedLabels { reason };
            drop(metrics.admin_refused.get_or_create(&labels));
        }
        for limit in Limit::ALL.iter().copied() {
            drop(metrics.limit_reached.get_or_create(&LimitLabels { limit }));
        }
        metrics
    }

    /// The counters of a route, for [`request_of`](Self::request_of).
    pub fn route(&self, route: &str) -> RouteCounts {
        RouteCounts::new(route, &self.requests)
    }

    /// Counts a request that is answered, under a route that is looked up for it.
    pub fn request(&self, route: &str, outcome: Outcome) {
        self.request_of(&self.route(route), outcome);
    }

    /// Counts a request that is answered.
    pub fn request_of(&self, route: &RouteCounts, outcome: Outcome) {
        self.activity.count(outcome);
        route.count(outcome);
    }

    /// Counts a duplicate that is refused since what became of the first is unknown.
    pub fn duplicate_of_unknown(&self, route: &RouteCounts) {
        self.activity.count_refused();
        route.count(Outcome::OutcomeUnknown);
    }

    /// Counts a refusal by a limit.
    pub fn limit_reached(&self, limit: Limit) {
        self.limit_reached
            .get_or_create(&LimitLabels { limit })
            .inc();
    }

    /// Shows what alerts ask of this route, before there is any of it: a counter that begins when it is first needed shows no increase
    /// then.
    pub fn expect_route(&self, route: &str) {
        for outcome in ALERTED {
            drop(self.requests.get_or_create(&RequestLabels {
                route: route.to_owned(),
                outcome,
            }));
        }
    }

    /// Counts no more under a route that is gone, so that the names of routes that come and go do not add up.
    pub fn forget_route(&self, route: &str) {
        for outcome in Outcome::ALL {
            self.requests.remove(&RequestLabels {
                route: route.to_owned(),
                outcome: *outcome,
            });
        }
    }

    /// From now on the program goes by the configuration of this name.
    pub fn configured(&self, hash: &str) {
        let labels = ConfigLabels {
            hash: hash.to_owned(),
        };
        self.config.clear();
        self.config.get_or_create(&labels).set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs();
        self.last_reload_success
            .set(seconds.try_into().unwrap_or(i64::MAX));
        self.last_reload_successful.set(1);
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, result: ReloadResult) {
        let applied = result == ReloadResult::Applied;
        self.last_reload_successful.set(applied.into());
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// Counts an order of an operator.
    pub fn admin_changed(&self, order: AdminOrder, outcome: AdminOutcome) {
        let labels = AdminChangeLabels { order, outcome };
        self.admin_changes.get_or_create(&labels).inc();
    }

    /// Counts a request that the operators' listener did not let in.
    pub fn admin_refused(&self, reason: AdminRefusal) {
        let labels = AdminRefusedLabels { reason };
        self.admin_refused.get_or_create(&labels).inc();
    }

    /// From the head of a request to the head of its answer.
    pub fn request_took(&self, duration: Duration) {
        self.request_duration.observe(duration);
    }

    /// From the connect to the head of the upstream's answer.
    pub fn upstream_took(&self, duration: Duration) {
        self.upstream_duration.observe(duration);
    }

    /// One operation on the store.
    pub fn store_took(&self, op: Operation, duration: Duration) {
        self.store_operations[op as usize]
            .get_or_init(|| self.store_duration.get_or_create_owned(&StoreLabels { op }))
            .observe(duration);
    }

    /// The page, as [`Metrics::CONTENT_TYPE`] says.
    ///
    /// # Errors
    ///
    /// If a value has no representation, which none of these has.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }

    // The registry prefixes `idemproxy_`; the encoding appends `_total` to counters and `_info` to infos.
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "requests",
            "Requests by what became of them",
            self.requests.clone(),
        );
        r.register(
            "request_duration_seconds",
            "Request head to answer head",
            self.request_duration.clone(),
        );
        r.register(
            "upstream_duration_seconds",
            "Asking the upstream, retries included, to its answer head",
            self.upstream_duration.clone(),
        );
        r.register(
            "store_duration_seconds",
            "Operations on the store",
            self.store_duration.clone(),
        );
        r.register("in_flight", "Exchanges running", self.in_flight.clone());
        r.register(
            "waiters",
            "Duplicates that wait for the first answer",
            self.waiters.clone(),
        );
        r.register(
            "connections",
            "Client connections open",
            self.connections.clone(),
        );
        r.register(
            "tls_handshakes_failed",
            "Client connections that did not come to TLS",
            self.tls_handshakes_failed.clone(),
        );
        r.register(
            "limit_reached",
            "Refusals by a limit",
            self.limit_reached.clone(),
        );
        r.register(
            "config_info",
            "The configuration that the program goes by",
            self.config.clone(),
        );
        r.register(
            "config_reloads",
            "Reloads of the configuration",
            self.reloads.clone(),
        );
        r.register(
            "admin_changes",
            "Orders of operators about records",
            self.admin_changes.clone(),
        );
        r.register(
            "admin_refused",
            "Requests that the admin listener did not let in",
            self.admin_refused.clone(),
        );
        r.register(
            "config_last_reload_successful",
            "Whether the last reload was taken",
            self.last_reload_successful.clone(),
        );
        r.register(
            "config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken",
            self.last_reload_success.clone(),
        );
        r.register(
            "records_unknown",
            "Records that ended with an unknown outcome",
            self.records_unknown.clone(),
        );
        r.register(
            "claims_lost",
            "Claims lost before they were settled",
            self.claims_lost.clone(),
        );
        r.register(
            "claims_overruled",
            "Claims that an operator settled over their holder",
            self.claims_overruled.clone(),
        );
        r.register(
            "records_restored",
            "Records lost by the store and put back",
            self.records_restored.clone(),
        );
        r.register(
            "store_epoch_changes",
            "Restarts and failovers of the store",
            self.store_epoch_changes.clone(),
        );
        r.register(
            "store_up",
            "Whether the store answered last time",
            self.store_up.clone(),
        );
        r.register(
            "store_evicted_keys",
            "Keys that the store's server dropped for want of memory since it started",
            self.store_evicted_keys.clone(),
        );
        r.register(
            "cookies_without_caller",
            "Keyed requests with cookies and no caller",
            self.cookies_without_caller.clone(),
        );
        r.register(
            "spans_dropped",
            "Spans of traces that could not be exported",
            self.spans_dropped.clone(),
        );
        r.register(
            "build",
            "This program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
    }
}

/// What the shipped alerts ask for by name.
const ALERTED: [Outcome; 7] = [
    Outcome::ForwardedWithoutGuarantee,
    Outcome::OutcomeUnknown,
    Outcome::Overloaded,
    Outcome::StoreError,
    Outcome::UpstreamFailed,
    Outcome::UpstreamTimeout,
    Outcome::UpstreamUnreachable,
];

/// From a replay out of memory to `upstream_timeout`.
const EXCHANGE_SECONDS: [f64; 18] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 300.0,
];
/// From a write to memory to many times `store.timeout`.
const STORE_SECONDS: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_promised_names() {
        let metrics = Metrics::new();
        metrics.request("orders", Outcome::InProgress);
        metrics.limit_reached(Limit::MaxConnections);
        metrics.store_took(Operation::Insert, Duration::from_millis(2));
        metrics.request_took(Duration::from_millis(20));
        metrics.store_up.set(1);
        metrics.configured("0123");
        metrics.configured("4567");
        metrics.reloaded(ReloadResult::Refused);
        metrics.request("gone", Outcome::Executed);
        metrics.forget_route("gone");
        let counts = metrics.route("counted");
        counts.count(Outcome::Replayed);
        counts.count(Outcome::Replayed);
        metrics.request("counted", Outcome::Replayed);
        let page = metrics.encode().unwrap();
        for line in [
            r#"idemproxy_requests_total{route="orders",outcome="in_progress"} 1"#,
            r#"idemproxy_requests_total{route="counted",outcome="replayed"} 3"#,
            r#"idemproxy_limit_reached_total{limit="max_connections"} 1"#,
            r#"idemproxy_store_duration_seconds_count{op="insert"} 1"#,
            r#"idemproxy_config_info{hash="4567"} 1"#,
            r#"idemproxy_config_reloads_total{result="refused"} 1"#,
            r#"idemproxy_admin_changes_total{order="resolve_executed",outcome="made"} 0"#,
            r#"idemproxy_admin_refused_total{reason="token_wrong"} 0"#,
            "idemproxy_config_last_reload_successful 0",
            "idemproxy_request_duration_seconds_count 1",
            "idemproxy_upstream_duration_seconds_count 0",
            "idemproxy_in_flight 0",
            "idemproxy_waiters 0",
            "idemproxy_connections 0",
            "idemproxy_store_up 1",
            "idemproxy_records_unknown_total 0",
            "idemproxy_claims_lost_total 0",
            "idemproxy_claims_overruled_total 0",
            "idemproxy_records_restored_total 0",
            "idemproxy_store_epoch_changes_total 0",
            "idemproxy_cookies_without_caller_total 0",
            concat!(
                "idemproxy_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(
                page.lines().any(|l| l == line),
                "{line} is missing in\n{page}"
            );
        }
        assert!(page.contains("\nidemproxy_config_last_reload_success_timestamp_seconds "));
        // What did not occur is not there.
        assert_eq!(page.matches(r#"route="counted""#).count(), 1, "{page}");
        assert!(!page.contains("gone") && !page.contains("0123"), "{page}");
    }
}
