//! What idemproxy tells about itself: logs and metrics. The names of metrics are in [`Metrics`] and nowhere else.

mod logs;
mod metrics;

pub use logs::{LogError, LogFormat, init};
pub use metrics::{Limit, Metrics, Operation, Outcome, ReloadResult};
