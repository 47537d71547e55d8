//! What the configuration will have and this version has not: known, and refused by name.
//!
//! A setting that becomes available is read where its section is read, and its line here goes.

use Unavailable::{Always, ExceptDefault, Values};

/// What of a key is not available.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unavailable {
    /// The key, whatever its value.
    Always,
    /// The key, unless it is given with exactly its default, which is how this version behaves.
    ExceptDefault(&'static str),
    /// These values; one that ends in `:` or `/` stands for all that begin with it.
    Values(&'static [&'static str]),
}

impl Unavailable {
    /// Whether the key may stand there, with the value that is written.
    pub(super) fn accepts(self, written: &str) -> bool {
        match self {
            Always => false,
            ExceptDefault(default) => written.replace('\'', "\"") == default,
            Values(_) => true,
        }
    }
}

/// What is unavailable of a key that no section asked for; nothing where the key is unknown.
pub(super) fn key(section: &str, key: &str) -> Option<Unavailable> {
    rows(section)
        .find(|(_, name, what)| *name == key && !matches!(what, Values(_)))
        .map(|(_, _, what)| *what)
}

/// The keys of a section that are not available.
pub(super) fn keys(section: &str) -> impl Iterator<Item = &'static str> + use<> {
    rows(section)
        .filter(|(_, _, what)| !matches!(what, Values(_)))
        .map(|(_, name, _)| *name)
}

/// The value, or kind of value, that `text` is and that is not available.
pub(super) fn value(section: &str, key: &str, text: &str) -> Option<&'static str> {
    let values = rows(section).find_map(|(_, name, what)| match what {
        Values(values) if *name == key => Some(*values),
        _ => None,
    })?;
    values
        .iter()
        .copied()
        .find(|value| *value == text || (value.ends_with([':', '/']) && text.starts_with(value)))
}

/// A route takes what `[policy]` takes.
fn rows(section: &str) -> impl Iterator<Item = &'static Row> + use<> {
    let section = match section {
        "route" => "policy".to_owned(),
        other => other.to_owned(),
    };
    TABLE.iter().filter(move |(name, _, _)| *name == section)
}

/// Section, key, what of it.
type Row = (&'static str, &'static str, Unavailable);

const TABLE: &[Row] = &[
    ("store", "url", Values(&["rediss://"])),
    ("store", "ca_file", Always),
    ("store", "cert_file", Always),
    ("store", "key_file", Always),
    ("server", "tls_cert", Always),
    ("server", "tls_key", Always),
    ("server", "tls_client_ca", Always),
    ("log", "keys", ExceptDefault("false")),
];
