//! Where records are kept.
mod settings;
pub use settings::{BadLocation, Location, StoreSettings, Sync};
