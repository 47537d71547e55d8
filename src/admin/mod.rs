//! The operator's side: a small listener for probes and metrics, apart from the clients'.
//!
//! [`serve_admin`] takes connections, `guard` keeps web pages out (a browser on the operator's machine can be made to call
//! it, by rebinding a name or across origins), and `pages` answers. Probes and metrics are for everybody who reaches it; the rest,
//! under `/v1`, is for who has the [`OperatorToken`], where there is one. `page` is for a person with a browser: it holds no data itself,
//! asks `/v1` for them, and so is given to everybody too.
//!
//! `keys` lists, shows and settles records. What a change comes to is decided by [`crate::idempotency::operator`], and written by
//! compare-and-set. What is to be told otherwise comes from a [`Report`], and what is operated on from [`Operated`]; the program gives
//! both, so this module knows neither the path of a request nor the upstream.

mod activity;
mod answer;
mod body;
mod flag;
mod guard;
mod keys;
mod page;
mod pages;
mod reload;
mod serve;
mod token;

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::idempotency::digest::Digest;
use crate::idempotency::{Key, Terms};
use crate::store::AnyStore;
use crate::telemetry::Metrics;

pub use reload::{Refusal, Reload, Reloaded};
pub use serve::serve_admin;
pub use token::OperatorToken;

/// What the listener tells, and to whom.
#[derive(Clone)]
pub struct Admin {
    /// For `/readyz`.
    pub report: Arc<dyn Report>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/v1/reload`; nothing until the program has started.
    pub reload: Arc<OnceLock<Arc<dyn Reload>>>,
    /// For `/v1`.
    pub operated: Arc<dyn Operated>,
    /// Names it may be called by, beside IP addresses and `localhost`.
    pub hosts: Arc<[String]>,
    /// What operators have to bring, if anything, for all but probes and metrics.
    pub token: Option<OperatorToken>,
}

/// What operators see and settle. Asked anew for each request, since a reload may have changed it.
pub trait Operated: Send + Sync {
    /// The records; nothing before the store is open.
    fn store(&self) -> Option<Arc<AnyStore>>;

    /// How long the records of the route of this name are kept; of the default one, if it is gone.
    fn terms(&self, route: &str) -> Terms;

    /// What duplicates meet on the route of this name; nothing where there is none.
    fn handling(&self, route: &str) -> Option<Handling>;

    /// What a record holds of a key.
    fn digest(&self, key: &Key) -> Digest;

    /// The largest answer that any route keeps, bytes. No larger one is taken from operators.
    fn max_response(&self) -> u64;

    /// The effective settings, for `/v1/config`; no secret.
    fn settings(&self) -> serde_json::Value;
}

/// What duplicates meet on a route, in the words of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Handling {
    /// Of the route's settings, `mode`: on one that only observes, every request passes, whatever its record says.
    pub mode: &'static str,
    /// Of the route's settings, `unknown_outcome`.
    pub unknown_outcome: &'static str,
}

/// How the program is. Called for each probe, so it must not wait.
pub trait Report: Send + Sync {
    /// Whether clients should be sent here.
    ///
    /// # Errors
    ///
    /// Why not, in a few words: not started, or draining. A store that is down is no reason.
    fn ready(&self) -> Result<(), &'static str>;

    /// Store, upstream and what else there is, a line each, for `/readyz?verbose`.
    fn details(&self) -> Vec<String>;

    /// Brings the metrics up to date, before they are shown.
    fn observe(&self) {}
}
