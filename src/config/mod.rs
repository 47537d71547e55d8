//! What the operator writes, checked.
mod settings;
pub use settings::{AdminSettings, Settings};
