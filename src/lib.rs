//! A reverse proxy that makes any HTTP API idempotent.

pub mod admin;
pub mod app;
pub mod config;
pub mod downstream;
pub mod idempotency;
pub mod proxy;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod wire;
