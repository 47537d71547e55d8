//! The API's side.
mod settings;
pub use settings::UpstreamSettings;
