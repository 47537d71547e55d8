//! The layer in somebody's program: round axum routers, and round other tower services.
#![allow(clippy::unwrap_used)]

mod asked;
mod ended;
mod served;
mod unchanged;
mod under_way;
mod world;
