//! Traces: a span for each request, and one for each time that the upstream is asked.
//!
//! The OpenTelemetry API is called at the few places where a span begins or ends, instead of a layer under all log events: what is off
//! then costs nothing, since no span is made, and what is exported is what is written here, and not what somebody logs one day.
//!
//! Only what no request can fill with a secret becomes an attribute: neither path, query nor header, `Host` included, since keys and tokens may be in each.
//!
//! Without the Cargo feature `otlp` there is no [`Span`], and the compiler leaves out what would be done with one.

#[cfg(feature = "otlp")]
mod exporting;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod spans;
#[cfg(feature = "otlp")]
mod variables;

use http::{HeaderMap, Method, Version};

#[cfg(feature = "otlp")]
pub use exporting::Exporting;
#[cfg(not(feature = "otlp"))]
pub use off::{Attempt, Span, Traces};
#[cfg(feature = "otlp")]
pub use spans::{Attempt, Span, Traces};
#[cfg(feature = "otlp")]
pub use variables::{Wanted, wanted};

/// A request that came in, as far as its span tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its version of HTTP.
    pub version: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The name of its route.
    pub route: &'a str,
    /// The pattern of its route; empty where it has none.
    pub pattern: &'a str,
    /// Its headers, for the trace that it belongs to.
    pub headers: &'a HeaderMap,
}
