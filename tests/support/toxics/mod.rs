//! Faults between two programs: a proxy for TCP that does to connections what it is told, over the HTTP API of Toxiproxy.
//!
//! [`Toxics`] is one of our own, within the test's process; or the real one, when `TOXIPROXY_URL` says where its API is.
//! A [`ToxicLink`] leads clients to an upstream, and a [`Toxic`] on it is a fault. Each call goes over the API, so a test
//! does not know which of the two it talks to. Ours has more than the real one: `silence`, `cut`, `swallow`, and a count
//! of how often each fault fired; [`Toxics::ours`] says whether they are there.
//!
//! A fault takes effect before the call that adds it returns, on connections that are open too. Which connections a
//! toxicity hits is drawn from a seed that is printed, and can be set by `TOXICS_SEED`.
//!
//! Within: the [`Api`](api::Api) keeps [`Proxy`](proxy::Proxy)s. Each connection of a proxy has two
//! [`Direction`](direction::Direction)s, each with the bytes on their way. The bytes at the front are made into
//! [`Step`](steps::Step)s by the toxics there are; when the toxics change, the steps are made anew.
//!
//! A test binary takes it in by `#[path = "../support/toxics/mod.rs"] mod toxics;`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a test fails by an unwrap"
)]

mod api;
mod call;
mod connection;
mod dice;
mod direction;
mod fired;
mod kind;
mod link;
mod plan;
mod proxy;
mod server;
mod steps;
mod toxic;
mod unsent;

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use call::{call, call_text};
pub use link::ToxicLink;
pub use toxic::{Stream, Toxic};

/// A Toxiproxy. When it is dropped, everything of it ends.
pub struct Toxics {
    url: String,
    /// Ends ours; the real one goes on.
    stop: Option<CancellationToken>,
    links: Mutex<Vec<String>>,
}

impl Toxics {
    /// Ours, on a port of its own; or the real one at `TOXIPROXY_URL`.
    pub async fn start() -> Self {
        let (url, stop) = match env::var("TOXIPROXY_URL") {
            Ok(url) if !url.is_empty() => (url.trim_end_matches('/').to_owned(), None),
            _ => {
                let stop = CancellationToken::new();
                let address = server::serve(stop.clone()).await;
                (format!("http://{address}"), Some(stop))
            }
        };
        Self {
            url,
            stop,
            links: Mutex::default(),
        }
    }

    /// Whether `silence`, `cut`, `swallow` and the counts are there.
    pub fn ours(&self) -> bool {
        self.stop.is_some()
    }

    /// Where its HTTP API is: `http://127.0.0.1:8474`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A new link to `upstream`, through which all passes. Its name is made unique.
    pub async fn link(&self, name: &str, upstream: SocketAddr) -> ToxicLink {
        static LINKS: AtomicU64 = AtomicU64::new(0);
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let asked = json!({
            "name": name,
            "listen": "127.0.0.1:0",
            "upstream": upstream.to_string(),
            "enabled": true,
        });
        let (status, made) = call(&self.url, "POST", "/proxies", Some(&asked)).await;
        assert_eq!(status, 201, "{made}");
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.clone());
        let address = made["listen"].as_str().unwrap().parse().unwrap();
        ToxicLink::new(&self.url, name, address, self.ours())
    }

    /// Enables every link, and removes all toxics; at the real one also those of others.
    pub async fn reset(&self) {
        let (status, answer) = call(&self.url, "POST", "/reset", None).await;
        assert_eq!(status, 204, "{answer}");
    }
}

impl Drop for Toxics {
    fn drop(&mut self) {
        match &self.stop {
            Some(stop) => stop.cancel(),
            None => {
                for name in self.links.get_mut().unwrap_or_else(PoisonError::into_inner) {
                    call::delete_now(&self.url, &format!("/proxies/{name}"));
                }
            }
        }
    }
}
