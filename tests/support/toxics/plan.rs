//! The toxics of a proxy at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::dice::Dice;
use super::kind::Kind;
use super::toxic::Stream;

/// The toxics of a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// In the order they were added.
    pub(super) toxics: Vec<Arc<Installed>>,
    /// Each that ever was; what it silenced stays so when it is gone.
    pub(super) silences: Vec<Silence>,
}

/// A toxic of a proxy.
#[derive(Debug)]
pub(super) struct Installed {
    /// Stays when its attributes are changed.
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) stream: Stream,
    pub(super) toxicity: f64,
    /// Replies that are still to be swallowed.
    left: AtomicU64,
}

/// Connections with a smaller number than `before` are dead.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    pub(super) before: u64,
    pub(super) id: u64,
    pub(super) toxicity: f64,
}

impl Plan {
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Installed>> {
        self.toxics.iter().find(|toxic| toxic.name == name)
    }

    /// As the API lists them: upstream first.
    pub(super) fn document(&self) -> Value {
        let of = |stream| {
            self.toxics
                .iter()
                .filter(move |toxic| toxic.stream == stream)
        };
        of(Stream::Upstream)
            .chain(of(Stream::Downstream))
            .map(|toxic| toxic.document())
            .collect()
    }
}

impl Installed {
    pub(super) fn new(
        id: u64,
        name: String,
        kind: Kind,
        stream: Stream,
        toxicity: f64,
    ) -> Arc<Self> {
        let left = match kind {
            Kind::Swallow { replies, .. } => replies,
            _ => 0,
        };
        Arc::new(Self {
            id,
            name,
            kind,
            stream,
            toxicity,
            left: AtomicU64::new(left),
        })
    }

    /// Whether one more reply is to be swallowed; counts it.
    pub(super) fn take(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }

    /// As the API shows it.
    pub(super) fn document(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind.name(),
            "stream": self.stream,
            "toxicity": self.toxicity,
            "attributes": self.kind.attributes(),
        })
    }
}

/// Whether a toxic hits a connection: always the same for the two.
pub(super) fn hits(seed: u64, toxic: u64, toxicity: f64, connection: u64) -> bool {
    Dice::of(seed, toxic, connection).part() < toxicity
}
