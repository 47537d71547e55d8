//! What is said at start.

use std::net::SocketAddr;

use crate::config::Settings;
use crate::fault;
use crate::store::{AnyStore, Store};

/// Who is listened for: clients, and operators if any.
pub(super) fn listening(
    settings: &Settings,
    clients: Option<SocketAddr>,
    operators: Option<SocketAddr>,
) {
    if fault::BUILT_IN {
        tracing::warn!(
            "THIS BUILD CAN DIE AND GO WRONG ON PURPOSE: it has the feature `faults`, and is for tests only"
        );
    }
    if let Some(address) = clients {
        let tls = settings.server.tls.is_some();
        tracing::info!(%address, tls, upstream = %settings.upstreams[0].origin, "listening");
    }
    if let Some(address) = operators {
        tracing::info!(%address, "listening for operators");
    }
    tracing::info!(
        routes = settings.routes.all().len(),
        "routes, the default one included"
    );
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

/// The store, once it was looked for.
pub(super) fn store(store: &AnyStore) {
    for note in store.health().notes {
        tracing::info!("store: {note}");
    }
    if matches!(store, AnyStore::Embedded(_)) {
        tracing::info!("store: embedded, so other replicas do not see these keys");
    }
}
