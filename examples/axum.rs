//! An axum service whose orders are created once for each idempotency key.
//!
//! ```text
//! cargo run --example axum
//! curl -i -X POST http://127.0.0.1:3000/orders -H 'Idempotency-Key: k-1' -H 'content-type: application/json' -d '{"item": "tea"}'
//! ```
//!
//! The second such call gets the first one's answer, also after a restart. Ctrl-C waits for what runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use idemproxy::{AnyStore, BoxError, IdempotencyLayer, LayerSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The language is that of the proxy's configuration file.
const SETTINGS: &str = r#"
service = "orders"

[store]
url = "embedded:idemproxy-data"

[policy]
key_required = true
in_flight    = "wait"

# This service says 409 for something that is out of stock: that is final.
[[policy.response]]
status  = "409"
outcome = "store"
"#;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().init();
    let settings = LayerSettings::from_toml("orders.toml", SETTINGS)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let store = Arc::new(AnyStore::open(settings.store()).await?);
    let layer = IdempotencyLayer::builder(store, settings).build()?;

    let app = Router::new()
        .route("/orders", post(create))
        .with_state(Arc::default())
        .layer(layer.clone());
    let address = SocketAddr::from(([127, 0, 0, 1], 3000));
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "listening");
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Where no signal can be waited for, it runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    layer.drain().await;
    Ok(())
}

/// Does what must not be done twice.
async fn create(
    State(orders): State<Arc<AtomicU64>>,
    Json(order): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let id = orders.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::info!(id, "an order is created");
    (
        StatusCode::CREATED,
        Json(json!({ "id": id, "order": order })),
    )
}
