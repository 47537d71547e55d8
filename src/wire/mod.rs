//! HTTP vocabulary that the client's side, the path and the operator's side share.
//!
//! [`Problem`] is every answer that idemproxy makes itself, [`Voice`] the words and headers that it is told in; the status codes of
//! refusals are in [`Code`] and nowhere else. A [`Handler`] is what the client's side knows of the path. And what both listeners do about
//! sockets: `paced` gives a write up, `unaccepted` rests, and a `bell` wakes who moves a connection on.

mod bell;
mod body;
mod code;
mod cors;
mod deadline;
mod error_body;
mod handler;
mod http_date;
mod in_time;
pub mod names;
mod paced;
mod peer;
mod problem;
mod unaccepted;
mod voice;

pub use body::{Body, BoxError, after, empty, full, holding, whole_holding, with_trailers};
pub use code::Code;
pub use cors::{Origins, Page};
pub use error_body::{ErrorBody, PLACEHOLDERS, Template, UnknownPlaceholder};
pub use handler::Handler;
pub use names::HeaderNames;
pub use peer::Peer;
pub use problem::Problem;
pub use voice::Voice;

pub(crate) use bell::Bell;
pub(crate) use deadline::Deadline;
pub(crate) use http_date::http_date;
pub(crate) use in_time::in_time;
pub(crate) use paced::Paced;
pub(crate) use unaccepted::Unaccepted;
