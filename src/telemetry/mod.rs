//! What idemproxy tells about itself: logs, metrics and traces. The names of metrics are in [`Metrics`], those of a request's log event in
//! [`RequestEvent`], those of spans and their attributes in [`trace`], and nowhere else.

mod activity;
mod durations;
mod event;
mod labels;
mod logs;
mod metrics;
mod plain;
mod route_counts;
pub mod trace;

pub use activity::{Activity, Minute};
use durations::Durations;
pub use event::RequestEvent;
pub use labels::{AdminOrder, AdminOutcome, AdminRefusal, Limit, Operation, Outcome, ReloadResult};
pub use logs::{LogError, LogFormat, init};
pub use metrics::Metrics;
pub use plain::plain;
pub use route_counts::RouteCounts;
pub use trace::{Span, Traces};
