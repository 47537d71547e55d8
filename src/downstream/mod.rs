//! The client's side: everything between the listening socket and the handler that answers.
//!
//! [`serve`](fn@serve) accepts connections within `max_connections` and gives each a task. With certificates it begins with a `handshake` of TLS, in which
//! ALPN offers `h2` and `http/1.1`. A connection speaks HTTP/1.1 or HTTP/2 (`preface` tells by the first bytes, hyper speaks) over a `io::ClientIo` that bounds every wait: for a head,
//! for the next request, for a client that does not read (`streams` does so for those of HTTP/2). Each request passes `sanity` before the [`Handler`](crate::wire::Handler) sees it,
//! so what that gets has one framing, one `Host` and a target in origin form, and with it goes its [`Peer`](crate::wire::Peer).
//! Bad input gets one problem document: from `exchange` where hyper could parse it, from `connection` where it could
//! not. A connection over HTTP/1.1 that rests between two requests is held without hyper, whose buffers are most of what it costs. [`Shutdown`] moves all of them from running to draining to closed.

mod body;
mod connection;
mod exchange;
mod farewell;
mod handshake;
mod head;
mod io;
mod link;
mod preface;
mod protocols;
mod sanity;
mod serve;
mod settings;
mod shutdown;
mod socket;
mod streams;

pub use sanity::{BadRequest, check, normalise};
pub use serve::serve;
pub use settings::{ServerSettings, SharedSettings};
pub use shutdown::{Reached, Shutdown};
