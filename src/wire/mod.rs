//! HTTP vocabulary that the client's side, the path and the operator's side share.
//!
//! [`Problem`] is the one shape of every answer that idemproxy makes itself; the status codes of refusals are here and
//! nowhere else.

mod body;
mod peer;
mod problem;

pub use body::{Body, BoxError, after, empty, full, holding, with_trailers};
pub use peer::Peer;
pub use problem::{Code, Problem};
