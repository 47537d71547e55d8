//! Where records are kept.
mod settings;
pub use settings::{Location, StoreSettings, Sync};
