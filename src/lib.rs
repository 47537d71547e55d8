//! A reverse proxy that makes any HTTP API idempotent.
//!
//! A request names its operation with an idempotency key. The proxy claims the key in a store, forwards the request, keeps the
//! answer, and replays it to duplicates. Where nobody can tell whether the operation was carried out, it says so.
//!
//! # The path of a request
//!
//! 1. [`downstream`] takes the connection, refuses what can be misread, and hands the request on.
//! 2. [`proxy`] finds the policy, names the key, reads the body and claims the key. Its steps are a file each.
//! 3. [`idempotency`] decides what a claim, an answer or a failure means for the record, and [`store`] keeps it: a
//!    compare-and-swap cell for each key.
//! 4. [`upstream`] sends the request, and says of each failure whether it was provably not sent.
//! 5. [`proxy`] settles the claim, on a task that outlives the client, and answers.
//!
//! # The floors
//!
//! A module uses only floors below its own; those of one floor are strangers to each other. A test holds them to it.
//!
//! ```text
//! the program: main, cli, client, explain, healthcheck, keys, man
//! app            wires everything, runs it, drains it
//! config         what the operator writes, checked
//! downstream     proxy     admin
//! upstream       store
//! telemetry      wire      tls
//! idempotency    the core: pure, time is an argument
//! fault          deaths and faults on purpose, in builds for tests
//! ```
//!
//! # Where to start reading
//!
//! [`proxy`] for the path, [`idempotency::transition`] for the decisions, [`store::Store`] for what a store must keep.

pub mod admin;
pub mod app;
pub mod config;
pub mod downstream;
mod fault;
pub mod idempotency;
pub mod proxy;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wire;
