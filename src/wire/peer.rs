//! What the connection tells of a request.

use std::net::SocketAddr;

use http::HeaderValue;

/// What the connection tells of a request.
#[derive(Debug)]
pub struct Peer {
    addr: SocketAddr,
    scheme: &'static str,
    text: HeaderValue,
}

impl Peer {
    /// Who is there, and what is spoken.
    pub fn new(addr: SocketAddr, scheme: &'static str) -> Self {
        let text = addr.ip().to_canonical().to_string();
        Self {
            addr,
            scheme,
            text: HeaderValue::try_from(text).expect("an address is in plain ASCII"),
        }
    }

    /// Who is at the other end of the connection.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the client spoke: `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Its address, as proxies tell it to the next one: made once, for all requests of a connection.
    pub fn text(&self) -> &HeaderValue {
        &self.text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_is_written_as_ipv4() {
        let peer = Peer::new("[::ffff:192.0.2.9]:1".parse().unwrap(), "http");
        assert_eq!(peer.text(), "192.0.2.9");
    }
}
