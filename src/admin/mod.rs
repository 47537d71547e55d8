//! The operator's side: a small listener for probes and metrics, apart from the clients'.
//!
//! [`serve_admin`] takes connections, `guard` keeps web pages out (a browser on the operator's machine can be made to call
//! it, by rebinding a name or across origins), and `pages` answers. What is to be told comes from a [`Report`] that the
//! program gives, so this module knows neither store nor upstream.

mod guard;
mod pages;
mod reload;
mod serve;

use std::sync::{Arc, OnceLock};

use crate::telemetry::Metrics;

pub use reload::{Refusal, Reload, Reloaded};
pub use serve::serve_admin;

/// What the listener tells, and to whom.
#[derive(Clone)]
pub struct Admin {
    /// For `/readyz`.
    pub report: Arc<dyn Report>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/v1/reload`; nothing until the program has started.
    pub reload: Arc<OnceLock<Arc<dyn Reload>>>,
    /// Names it may be called by, beside IP addresses and `localhost`.
    pub hosts: Arc<[String]>,
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
