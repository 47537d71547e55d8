//! No traces: what nothing can make needs nothing done.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::Asked;
use crate::idempotency::RecordId;
use crate::telemetry::Outcome;

/// Whether requests are traced: they are not.
#[derive(Clone, Debug, Default)]
pub struct Traces;

/// The span of a request; there is none.
#[derive(Clone, Debug)]
pub enum Span {}

/// The span of a question to the upstream; there is none.
#[derive(Debug)]
pub enum Attempt {}

impl Traces {
    /// Begins the span of a request: none.
    pub fn request<'a>(&self, _: impl FnOnce() -> Asked<'a>) -> Option<Span> {
        None
    }
}

impl Span {
    /// Trace id and span id.
    pub fn ids(&self) -> ([u8; 16], [u8; 8]) {
        match *self {}
    }

    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        match *self {}
    }

    /// Has the upstream see it as parent.
    pub fn propagate(&self, _: &mut HeaderMap) {
        match *self {}
    }

    /// Refers to another span.
    pub fn link(&self, _: [u8; 16], _: [u8; 8]) {
        match *self {}
    }

    /// Begins to ask the upstream.
    pub fn attempt(&self, _: &Method, _: &str, _: u32, _: &mut HeaderMap) -> Attempt {
        match *self {}
    }

    /// Ends it.
    pub fn end(&self, _: Outcome, _: Option<RecordId>, _: Option<StatusCode>, _: Duration) {
        match *self {}
    }
}

impl Attempt {
    /// The upstream answered.
    pub fn answered(self, _: StatusCode) {
        match self {}
    }

    /// It did not.
    pub fn failed(self, _: &'static str) {
        match self {}
    }
}
