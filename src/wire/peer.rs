//! What the connection tells of a request.

use std::net::SocketAddr;

/// What the connection tells of a request; an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Who is at the other end of the connection.
    pub addr: SocketAddr,
    /// What the client spoke: `http` or `https`.
    pub scheme: &'static str,
}
