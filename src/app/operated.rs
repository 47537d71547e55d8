//! What operators see and settle.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde_json::json;

use crate::admin::{Handling, Operated};
use crate::config::Settings;
use crate::idempotency::digest::Digest;
use crate::idempotency::{Key, Secret, Terms};
use crate::proxy::Routes;
use crate::store::AnyStore;

/// What operators see and settle.
pub(super) struct Premises {
    /// Nothing until it is open.
    store: OnceLock<Arc<AnyStore>>,
    secret: Secret,
    present: ArcSwap<Present>,
}

/// What a reload may change.
struct Present {
    routes: Routes,
    description: serde_json::Value,
}

impl Premises {
    /// Of a program whose store is not open yet.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            store: OnceLock::new(),
            secret: settings.store.secret.clone(),
            present: ArcSwap::from_pointee(Present::of(settings)),
        }
    }

    /// The program goes by these settings from now on.
    pub(super) fn goes_by(&self, settings: &Settings) {
        self.present.store(Arc::new(Present::of(settings)));
    }

    /// The store is open.
    pub(super) fn opened(&self, store: Arc<AnyStore>) {
        // Opened once, by whoever made this.
        let _ = self.store.set(store);
    }
}

impl Present {
    fn of(settings: &Settings) -> Self {
        Self {
            routes: settings.routes.clone(),
            description: json!({
                "settings": settings.describe().to_string(),
                "warnings": settings.warnings,
            }),
        }
    }
}

impl Operated for Premises {
    fn store(&self) -> Option<Arc<AnyStore>> {
        self.store.get().cloned()
    }

    fn terms(&self, route: &str) -> Terms {
        let present = self.present.load();
        let policies = present.routes.all();
        let named = policies.iter().find(|policy| policy.route == route);
        named.unwrap_or(&policies[0]).terms()
    }

    fn handling(&self, route: &str) -> Option<Handling> {
        let present = self.present.load();
        let policies = present.routes.all();
        let policy = policies.iter().find(|policy| policy.route == route)?;
        Some(Handling {
            mode: policy.mode.name(),
            unknown_outcome: policy.unknown_outcome.name(),
        })
    }

    fn digest(&self, key: &Key) -> Digest {
        self.secret.key(key)
    }

    fn max_response(&self) -> u64 {
        let present = self.present.load();
        let policies = present.routes.all().iter();
        let sizes = policies.map(|policy| policy.max_stored_response);
        sizes.max().unwrap_or_default()
    }

    fn settings(&self) -> serde_json::Value {
        self.present.load().description.clone()
    }
}
