//! TLS on both sides of the program: from the configuration to what clients and upstreams see.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

#[path = "../support/authority.rs"]
mod authority;
mod clients;
mod files;
mod https;
#[path = "../support/harness.rs"]
mod support;
mod upstreams;

use authority::Authority;
use support::{Proxy, Upstream};

/// An upstream and a proxy before it.
pub struct World {
    pub upstream: Upstream,
    pub proxy: Proxy,
}

impl World {
    /// A proxy with the certificate `server` of this authority, and with further sections, before an upstream in the clear.
    pub async fn https(authority: &Authority, server: &str, sections: &str) -> Self {
        let upstream = Upstream::start().await;
        let config = with_certificate(authority, &upstream.url(), server, sections);
        Self {
            proxy: Proxy::start(&config).await,
            upstream,
        }
    }
}

/// A configuration with the certificate `server` of this authority, and with further lines of [server], and sections.
pub fn with_certificate(
    authority: &Authority,
    upstream: &str,
    server: &str,
    sections: &str,
) -> String {
    authority.issue("server", &["127.0.0.1"]);
    format!(
        "{}[server]\ntls_cert = \"{}\"\ntls_key = \"{}\"\n{server}\n{sections}",
        configuration(upstream, "memory:", ""),
        authority.file("server.pem"),
        authority.file("server.key"),
    )
}

/// A configuration, with further lines of [store].
pub fn configuration(upstream: &str, store: &str, lines: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\nservice = \"tests\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"{store}\"\ntimeout = \"10s\"\n{lines}\n"
    )
}
