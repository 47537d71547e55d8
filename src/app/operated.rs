//! What operators see and settle.

use std::sync::{Arc, OnceLock};

use serde_json::json;

use crate::admin::Operated;
use crate::config::Settings;
use crate::idempotency::digest::Digest;
use crate::idempotency::{Key, Secret, Terms};
use crate::proxy::Routes;
use crate::store::AnyStore;

/// What operators see and settle.
pub(super) struct Premises {
    /// Nothing until it is open.
    store: OnceLock<Arc<AnyStore>>,
    routes: Routes,
    secret: Secret,
    description: serde_json::Value,
}

impl Premises {
    /// Of a program whose store is not open yet.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            store: OnceLock::new(),
            routes: settings.routes.clone(),
            secret: settings.store.secret.clone(),
            description: json!({
                "settings": settings.describe().to_string(),
                "warnings": settings.warnings,
            }),
        }
    }

    /// The store is open.
    pub(super) fn opened(&self, store: Arc<AnyStore>) {
        // Opened once, by whoever made this.
        let _ = self.store.set(store);
    }
}

impl Operated for Premises {
    fn store(&self) -> Option<Arc<AnyStore>> {
        self.store.get().cloned()
    }

    fn terms(&self, route: &str) -> Terms {
        let policies = self.routes.all();
        let named = policies.iter().find(|policy| policy.route == route);
        named.unwrap_or(&policies[0]).terms()
    }

    fn digest(&self, key: &Key) -> Digest {
        self.secret.key(key)
    }

    fn max_response(&self) -> u64 {
        let policies = self.routes.all().iter();
        let sizes = policies.map(|policy| policy.max_stored_response);
        sizes.max().unwrap_or_default()
    }

    fn settings(&self) -> serde_json::Value {
        self.description.clone()
    }
}
