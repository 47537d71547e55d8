//! A reverse proxy that makes any HTTP API idempotent, and the tower layer that it is made of.
//!
//! A request names its operation with an idempotency key. The proxy claims the key in a store, forwards the request, keeps the
//! answer, and replays it to duplicates. Where nobody can tell whether the operation was carried out, it says so.
//!
//! In a program of your own, [`IdempotencyLayer`] gives the same to an axum router, or to any tower service. What this page shows is
//! for that; all else is public only for the program `idemproxy` and its tests, and changes as they need it.
//!
//! # The path of a request
//!
//! 1. [`downstream`] takes the connection, refuses what can be misread, and hands the request on.
//! 2. [`proxy`] finds the policy, names the key, reads the body and claims the key. Its steps are a file each.
//! 3. [`idempotency`] decides what a claim, an answer or a failure means for the record, and [`store`] keeps it: a
//!    compare-and-swap cell for each key.
//! 4. [`upstream`] sends the request, and says of each failure whether it was provably not sent.
//! 5. [`proxy`] settles the claim, whether the client is still there or not, and answers.
//!
//! In somebody else's program the service that does the work stands in the place of the upstream, and [`proxy::Within`] hands it its requests.
//!
//! # The floors
//!
//! A module uses only floors below its own; those of one floor are strangers to each other. A test holds them to it.
//!
//! ```text
//! the program: main, cli, client, explain, healthcheck, keys, man
//! app            wires everything, runs it, drains it
//! layer          the path as a tower layer, for programs of others and for app
//! config         what the operator writes, checked
//! downstream     proxy     admin
//! upstream       store
//! telemetry      wire      tls
//! idempotency    the core: pure, time is an argument
//! fault          deaths and faults on purpose, in builds for tests
//! lanes          threads that serve side by side
//! ```
//!
//! # Where to start reading
//!
//! [`proxy`] for the path, [`idempotency::transition`] for the decisions, [`store::Store`] for what a store must keep.

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod downstream;
mod fault;
#[doc(hidden)]
pub mod idempotency;
#[doc(hidden)]
pub mod lanes;
mod layer;
#[doc(hidden)]
pub mod proxy;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod telemetry;
#[doc(hidden)]
pub mod tls;
#[doc(hidden)]
pub mod upstream;
#[doc(hidden)]
pub mod wire;

pub use config::{Faults, LayerSettings};
pub use layer::{BuildError, Builder, IdempotencyLayer};
pub use proxy::{Idempotency, Within};
pub use store::{AnyStore, Memory, SetupError, Store};
pub use wire::{Body, BoxError};
