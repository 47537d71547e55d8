//! What this process did in the last hour.

use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use serde::Serialize;

use super::Admin;
use super::answer::{Answer, json};
use crate::telemetry::Minute;

/// `GET /v1/activity`.
pub(super) fn answer(admin: &Admin) -> Answer {
    #[derive(Serialize)]
    struct Document {
        /// Exchanges running at this moment.
        in_flight: i64,
        minutes: Vec<Shown>,
    }
    admin.report.observe();
    admin.metrics.activity.sample(SystemTime::now());
    let minutes = admin.metrics.activity.minutes();
    let document = Document {
        in_flight: admin.metrics.in_flight.get(),
        minutes: minutes.into_iter().map(Shown::from).collect(),
    };
    json(&document, None)
}

/// A minute, as it is told.
#[derive(Serialize)]
struct Shown {
    start: String,
    executed: u64,
    replayed: u64,
    refused: u64,
    released: u64,
    unknown: u64,
    without_guarantee: u64,
}

impl From<Minute> for Shown {
    fn from(minute: Minute) -> Self {
        Self {
            start: format_rfc3339_seconds(minute.start).to_string(),
            executed: minute.executed,
            replayed: minute.replayed,
            refused: minute.refused,
            released: minute.released,
            unknown: minute.unknown,
            without_guarantee: minute.without_guarantee,
        }
    }
}
