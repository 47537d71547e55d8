//! The client's side, over real sockets and byte by byte.
//!
//! The suite is compiled twice: what holds in the clear holds over TLS.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a test fails by an unwrap, and the suite runs in the clear and over TLS"
)]

#[path = "../support/authority.rs"]
mod authority;
mod handshakes;

/// The suite, over one of them.
macro_rules! suite {
    ($name:ident, $tls:literal) => {
        #[path = "."]
        mod $name {
            const TLS: bool = $tls;

            mod drain;
            mod exchanges;
            mod limits;
            mod smuggling;
            pub(crate) mod support;
            mod uploads;
        }
    };
}

suite!(plain, false);
suite!(tls, true);
