//! A fault, as a client of the API asks for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A fault on a link: downstream, and on every connection, unless it says otherwise.
#[derive(Clone, Debug)]
pub struct Toxic {
    pub kind: &'static str,
    pub stream: Stream,
    /// The part of the connections that it hits, from 0.0 to 1.0.
    pub toxicity: f64,
    pub attributes: Value,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the client to the upstream.
    Upstream,
    /// From the upstream to the client.
    Downstream,
}

impl Toxic {
    /// Bytes arrive later, by `latency` and up to `jitter` more or less.
    pub fn latency(latency: Duration, jitter: Duration) -> Self {
        let attributes = json!({"latency": milliseconds(latency), "jitter": milliseconds(jitter)});
        Self::new("latency", attributes)
    }

    /// So many thousands of bytes a second; with none, nothing passes.
    pub fn bandwidth(kilobytes: u64) -> Self {
        Self::new("bandwidth", json!({"rate": kilobytes}))
    }

    /// The end of the connection arrives later.
    pub fn slow_close(delay: Duration) -> Self {
        Self::new("slow_close", json!({"delay": milliseconds(delay)}))
    }

    /// Bytes vanish, and the connection is closed after `timeout` without any; with zero, when the toxic is removed.
    pub fn timeout(timeout: Duration) -> Self {
        Self::new("timeout", json!({"timeout": milliseconds(timeout)}))
    }

    /// Bytes arrive in pieces of about `size`, give or take `variation`, each `delay` after the one before it.
    pub fn slicer(size: usize, variation: usize, delay: Duration) -> Self {
        let delay = u64::try_from(delay.as_micros()).unwrap();
        let attributes = json!({"average_size": size, "size_variation": variation, "delay": delay});
        Self::new("slicer", attributes)
    }

    /// The connection is closed after so many bytes.
    pub fn limit_data(bytes: u64) -> Self {
        Self::new("limit_data", json!({"bytes": bytes}))
    }

    /// The connection is reset, `timeout` after the first bytes, which are lost.
    pub fn reset_peer(timeout: Duration) -> Self {
        Self::new("reset_peer", json!({"timeout": milliseconds(timeout)}))
    }

    /// Connections there are now are dead for ever, both ways and without a word. New ones pass. Ours only.
    ///
    /// A connection is there when it was accepted: let a byte pass before.
    pub fn silence() -> Self {
        Self::new("silence", json!({}))
    }

    /// The connection is closed after exactly so many bytes, all of which arrive. Ours only.
    ///
    /// On a connection that is open, they are counted from when the toxic is added.
    pub fn cut(bytes: u64) -> Self {
        Self::new("cut", json!({"bytes": bytes, "reset": false}))
    }

    /// As [`Toxic::cut`], with a reset.
    pub fn cut_by_reset(bytes: u64) -> Self {
        Self::new("cut", json!({"bytes": bytes, "reset": true}))
    }

    /// The next `replies` connections on which bytes come lose them and all later ones; they stay open. Then all passes. Ours only.
    pub fn swallow(replies: u64) -> Self {
        Self::new(
            "swallow",
            json!({"replies": replies, "bytes": 0, "close": false}),
        )
    }

    /// As [`Toxic::swallow`], and the connection is closed.
    pub fn swallow_and_close(replies: u64) -> Self {
        Self::new(
            "swallow",
            json!({"replies": replies, "bytes": 0, "close": true}),
        )
    }

    /// On what the client sends.
    #[must_use]
    pub fn up(mut self) -> Self {
        self.stream = Stream::Upstream;
        self
    }

    /// On what the upstream sends.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.stream = Stream::Downstream;
        self
    }

    /// On this part of the connections.
    #[must_use]
    pub fn toxicity(mut self, toxicity: f64) -> Self {
        self.toxicity = toxicity;
        self
    }

    /// With one attribute set, by its name in the API: `("bytes", 20)`.
    #[must_use]
    pub fn with(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.attributes[attribute] = value.into();
        self
    }

    /// As the API takes it; the server names it by its type and stream where `name` is none.
    pub fn document(&self, name: Option<&str>) -> Value {
        let mut document = json!({
            "type": self.kind,
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": self.attributes,
        });
        if let Some(name) = name {
            document["name"] = name.into();
        }
        document
    }

    fn new(kind: &'static str, attributes: Value) -> Self {
        Self {
            kind,
            stream: Stream::Downstream,
            toxicity: 1.0,
            attributes,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
