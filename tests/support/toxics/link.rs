//! A link between clients and an upstream, as a client of the API sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Toxic, call};

/// A proxy of a Toxiproxy. All calls go over the HTTP API, and panic where it refuses.
#[derive(Clone, Debug)]
pub struct ToxicLink {
    url: Arc<str>,
    name: Arc<str>,
    address: SocketAddr,
    ours: bool,
    toxics: Arc<AtomicU64>,
}

impl ToxicLink {
    pub(super) fn new(url: &str, name: String, address: SocketAddr, ours: bool) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            address,
            ours,
            toxics: Arc::default(),
        }
    }

    /// Where clients connect; the same as long as it lives.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name in the API.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a toxic, also to connections that are open. Returns its name.
    pub async fn add(&self, toxic: Toxic) -> String {
        let number = self.toxics.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", toxic.kind);
        let asked = toxic.document(Some(&name));
        let (status, answer) = self.call("POST", "/toxics", Some(&asked)).await;
        assert_eq!(status, 200, "{answer}");
        name
    }

    /// Removes a toxic; one that is gone already is fine.
    pub async fn remove(&self, name: &str) {
        let (status, answer) = self.call("DELETE", &format!("/toxics/{name}"), None).await;
        assert!(matches!(status, 204 | 404), "{status} {answer}");
    }

    /// Removes all its toxics.
    pub async fn clear(&self) {
        let (status, toxics) = self.call("GET", "/toxics", None).await;
        assert_eq!(status, 200, "{toxics}");
        for toxic in toxics.as_array().unwrap() {
            self.remove(toxic["name"].as_str().unwrap()).await;
        }
    }

    /// Disabled, it refuses connections, and closes those it has. Enabled, it listens again at the same address.
    pub async fn enable(&self, enabled: bool) {
        self.update(&json!({"enabled": enabled})).await;
    }

    /// Leads to another upstream. As with the real one, connections to the former upstream are closed.
    pub async fn lead_to(&self, upstream: SocketAddr) {
        self.update(&json!({"upstream": upstream.to_string()}))
            .await;
    }

    /// How often faults of each type really acted; empty with a real Toxiproxy. Outlives the toxics and a reset.
    ///
    /// `latency`, `bandwidth` and `slicer` count each read of bytes that they held back, `disabled` each connection that
    /// was closed by disabling, the others each connection that they hit.
    pub async fn fired(&self) -> BTreeMap<String, u64> {
        if !self.ours {
            return BTreeMap::new();
        }
        let (status, fired) = self.call("GET", "/fired", None).await;
        assert_eq!(status, 200, "{fired}");
        serde_json::from_value(fired).unwrap()
    }

    /// A call of the API below this proxy: `("GET", "/toxics", None)`. Returns status and document.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let path = format!("/proxies/{}{path}", self.name);
        call(&self.url, method, &path, body).await
    }

    async fn update(&self, change: &Value) {
        let (status, answer) = self.call("POST", "", Some(change)).await;
        assert_eq!(status, 200, "{answer}");
    }
}
