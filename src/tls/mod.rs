//! TLS by rustls with ring: from the operator's files to what connections are made with.
//!
//! [`ServerTls`] is what clients are shown and asked for; it can be exchanged while connections come in. [`ClientFiles`] are for
//! the connections that this proxy makes, to an API and to a store. Either is read as a whole or refused as a whole, and what is refused names its setting
//! and its file ([`BadTls`]).
//!
//! TLS 1.2 and 1.3. Early data is off on both sides: it can be replayed by anybody on the way.

mod client;
mod error;
mod files;
mod server;
#[cfg(test)]
mod tests;
mod validity;

pub use client::{ClientFiles, ClientTls};
pub use error::BadTls;
pub use server::{ServerFiles, ServerTls};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
