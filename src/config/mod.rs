//! What the operator writes (a TOML file, flags, environment variables), turned into checked [`Settings`].
//!
//! A file is parsed into a table whose keys and values know where they stand (`reader`); each setting is then asked for
//! once, by name, with what it may be (`kind`, `words`) and its default (`defaults`). What does not fit is
//! collected with its place, so that all faults are reported at once ([`Faults`]); keys that nobody asked for are faults too.
//! Flags and variables ([`Overrides`]) are read as the file's values are, and come before them.
//!
//! A running program can read its configuration again ([`Origin`]), and ask what of it cannot take the old one's place ([`Changes`]).
//!
//! Two shapes only: as written (the table) and as used ([`Settings`]). A route is read over the `[policy]`, and `[policy]`
//! over the defaults, so a policy is whole at every step.

mod changes;
mod defaults;
mod describe;
mod fault;
mod file;
mod jwt;
mod kind;
mod layer;
mod nearest;
mod origin;
mod overrides;
mod policy;
mod reader;
mod routes;
mod rules;
mod schema;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod voice;
mod warnings;
mod words;
mod written;

use std::path::Path;

pub use changes::Changes;
pub use fault::{Fault, Faults};
pub use layer::LayerSettings;
pub use origin::{Configuration, Origin};
pub use overrides::{Given, Overrides};
pub use schema::schema;
pub use settings::{AdminSettings, LogSettings, ReloadSettings, Settings};

use reader::Source;

/// Reads the file, if there is one, with `overrides` before it.
///
/// Paths of files in a configuration are relative to the working directory, not to the configuration.
///
/// # Errors
///
/// Every fault of the file and the overrides; or that the file cannot be read.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Settings, Faults> {
    Origin::new(path, overrides)
        .load()
        .map(|configuration| configuration.settings)
}

/// The text of a configuration's file.
fn file_text(path: &Path) -> Result<String, Faults> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Faults::of_file(&name, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let fits = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..fits]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let place = format!("{name}:{line}:{column}");
        Faults::of_file(&place, "not UTF-8, which TOML is".to_owned())
    })
}

/// As [`load`], from text; `name` stands for the file in faults, and is empty where there is none.
///
/// # Errors
///
/// Every fault of the text and the overrides.
pub fn from_toml(name: &str, text: &str, overrides: &Overrides) -> Result<Settings, Faults> {
    let source = Source::new(name, text);
    let settings = source.read(|root| file::read(root, overrides));
    source.finish(settings)
}
