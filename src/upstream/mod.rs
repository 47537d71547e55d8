//! The API's side: one request over one connection, and an honest word about what became of it.
//!
//! [`Upstream::send`] takes a connection from the pool or opens one, and sends; [`Upstream::send_through`] asks a [`Gate`] before. What
//! fails says what is known: [`SendError::NotSent`] gives the request back, because no byte of it left;
//! [`SendError::Unanswered`] means that nobody here knows. hyper's pooled client cannot tell the two apart, so the
//! pool is our own, over hyper's single connections.
//!
//! An upstream may close an idle connection in the very moment it is used again, and that leaves a request in doubt
//! that was never read. Three things keep this rare: the system is asked of the socket before reuse (for a request without
//! a key over a young connection what the runtime was last told will do), requests with a key take only connections that
//! are young by what was seen of this upstream (`patience`), and a request that cannot do harm is sent again.
//!
//! - `client`: the way of a request; `connector` and `verdict` open a `connection`; `socket`, `pool` and `patience` keep it, and it is a `loan`
//!   while it serves an exchange
//! - `exchange`: one request over one connection, once its `gate` is open; `body`: both bodies; `error`: what can be said of a failure
//! - [`headers`]: what a proxy takes off and puts on

mod body;
mod client;
mod connection;
mod connector;
mod error;
mod exchange;
mod gate;
pub mod headers;
mod loan;
mod patience;
mod pool;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod verdict;

pub use body::ResponseBody;
pub use client::{Contact, Reuse, Upstream};
pub use error::{NotSentReason, SendError, UnansweredReason, UpstreamSetupError};
pub use gate::Gate;
pub use settings::UpstreamSettings;
