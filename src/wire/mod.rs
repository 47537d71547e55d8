//! HTTP vocabulary that the client's side, the path and the operator's side share.
//!
//! [`Problem`] is the one shape of every answer that idemproxy makes itself; the status codes of refusals are here and
//! nowhere else.

mod problem;

pub use problem::{Code, Problem};

/// An error of a body or a service that nobody looks into.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
