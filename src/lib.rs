//! A reverse proxy that makes any HTTP API idempotent.

pub mod app;
pub mod config;
pub mod downstream;
pub mod proxy;
pub mod store;
pub mod upstream;
