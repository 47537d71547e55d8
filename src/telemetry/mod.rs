//! What idemproxy tells about itself: logs, metrics and traces. The names of metrics are in [`Metrics`], those of a request's log event in
//! [`RequestEvent`], those of spans and their attributes in [`trace`], and nowhere else.

mod activity;
mod event;
mod logs;
mod metrics;
mod plain;
pub mod trace;

pub use activity::{Activity, Minute};
pub use event::RequestEvent;
pub use logs::{LogError, LogFormat, init};
pub use metrics::{
    AdminOrder, AdminOutcome, AdminRefusal, Limit, Metrics, Operation, Outcome, ReloadResult,
};
pub use plain::plain;
pub use trace::{Span, Traces};
