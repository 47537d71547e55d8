//! The client's side.
mod settings;
pub use settings::ServerSettings;
