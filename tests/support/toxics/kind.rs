//! The types of toxics, with their attributes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a toxic does. Times are in milliseconds, unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "attributes", rename_all = "snake_case")]
pub(super) enum Kind {
    Latency {
        #[serde(default)]
        latency: u64,
        #[serde(default)]
        jitter: u64,
    },
    Bandwidth {
        /// Thousands of bytes a second.
        #[serde(default)]
        rate: u64,
    },
    SlowClose {
        #[serde(default)]
        delay: u64,
    },
    Timeout {
        #[serde(default)]
        timeout: u64,
    },
    Slicer {
        #[serde(default)]
        average_size: u64,
        #[serde(default)]
        size_variation: u64,
        /// In microseconds.
        #[serde(default)]
        delay: u64,
    },
    LimitData {
        #[serde(default)]
        bytes: u64,
    },
    ResetPeer {
        #[serde(default)]
        timeout: u64,
    },
    Silence {},
    Cut {
        #[serde(default)]
        bytes: u64,
        #[serde(default)]
        reset: bool,
    },
    Swallow {
        /// Connections that are hit, until all pass.
        #[serde(default = "one")]
        replies: u64,
        /// How much still passes on each.
        #[serde(default)]
        bytes: u64,
        /// Whether the connection is closed then.
        #[serde(default)]
        close: bool,
    },
}

/// Why there is no such toxic.
#[derive(Debug)]
pub(super) enum NoKind {
    Unknown,
    Attributes(String),
}

impl Kind {
    /// The kind of this name, with these attributes; those that are absent have their default.
    pub(super) fn parse(name: &str, attributes: Map<String, Value>) -> Result<Self, NoKind> {
        if !NAMES.contains(&name) {
            return Err(NoKind::Unknown);
        }
        serde_json::from_value(json!({"type": name, "attributes": attributes}))
            .map_err(|error| NoKind::Attributes(error.to_string()))
    }

    /// The same kind, with some attributes changed.
    pub(super) fn with(&self, changes: Map<String, Value>) -> Result<Self, NoKind> {
        let mut attributes = self.attributes();
        attributes.extend(changes);
        Self::parse(self.name(), attributes)
    }

    /// Its name in the API.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::SlowClose { .. } => "slow_close",
            Self::Timeout { .. } => "timeout",
            Self::Slicer { .. } => "slicer",
            Self::LimitData { .. } => "limit_data",
            Self::ResetPeer { .. } => "reset_peer",
            Self::Silence {} => "silence",
            Self::Cut { .. } => "cut",
            Self::Swallow { .. } => "swallow",
        }
    }

    /// As the API shows them.
    pub(super) fn attributes(&self) -> Map<String, Value> {
        let document = serde_json::to_value(self).unwrap();
        document["attributes"].as_object().unwrap().clone()
    }
}

fn one() -> u64 {
    1
}

const NAMES: [&str; 10] = [
    "latency",
    "bandwidth",
    "slow_close",
    "timeout",
    "slicer",
    "limit_data",
    "reset_peer",
    "silence",
    "cut",
    "swallow",
];
