//! How a configuration is written: where a key stands, and which files it names.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Place, shown};

/// The text of a configuration.
#[derive(Debug)]
pub(super) struct Written {
    name: String,
    text: String,
}

impl Written {
    /// `name` stands for the file in faults.
    pub(super) fn new(name: String, text: String) -> Self {
        Self { name, text }
    }

    /// A fault at `key` of `section`, or of the `index`th `[[route]]` where that has it; at the section's own place, or the beginning,
    /// where it is not written.
    pub(super) fn fault(
        &self,
        section: &str,
        key: &str,
        index: Option<usize>,
        expected: String,
    ) -> Fault {
        let span = self.with_table(|root| {
            let route = index.and_then(|index| {
                let routes = root.get("route")?.get_ref().as_array()?;
                routes.get(index)
            });
            let of = |table: &Spanned<DeValue<'_>>| {
                let value = table.get_ref().as_table()?.get(key)?;
                Some(value.span())
            };
            let section = match section {
                "" => return root.get(key).map(Spanned::span),
                section => root.get(section),
            };
            route
                .and_then(of)
                .or_else(|| section.and_then(of))
                .or_else(|| route.or(section).map(Spanned::span))
        });
        let span = span.flatten().unwrap_or(0..0);
        Fault {
            place: Place::in_file(&self.name, &self.text, span.start),
            text: shown(&self.text, span),
            expected,
        }
    }

    /// The keys of a section that are not written here as they are in `before`.
    pub(super) fn differing(&self, before: &Self, section: &str) -> Vec<String> {
        let (here, there) = (self.section(section), before.section(section));
        let is_new = |entry: &&(String, String)| !there.contains(entry);
        let is_gone = |(key, _): &&(String, String)| !here.iter().any(|(known, _)| known == key);
        let new = here.iter().filter(is_new);
        let gone = there.iter().filter(is_gone);
        new.chain(gone).map(|(key, _)| key.clone()).collect()
    }

    /// The text, but for the value of one key.
    pub(super) fn without(&self, section: &str, key: &str) -> String {
        let span = self.with_table(|root| {
            let table = root.get(section)?.get_ref().as_table()?;
            Some(table.get(key)?.span())
        });
        let Range { start, end } = span.flatten().unwrap_or(0..0);
        let before = self.text.get(..start).unwrap_or_default();
        let after = self.text.get(end..).unwrap_or_default();
        format!("{before}{after}")
    }

    /// The files that it names.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self.with_table(|root| {
            let named = FILES.iter().filter_map(|(section, key)| {
                let table = root.get(*section)?.get_ref().as_table()?;
                Some(table.get(*key)?.get_ref())
            });
            let paths = named.flat_map(|value| match value {
                DeValue::Array(list) => list
                    .iter()
                    .filter_map(|item| item.get_ref().as_str())
                    .collect(),
                value => Vec::from_iter(value.as_str()),
            });
            paths.map(PathBuf::from).collect()
        });
        files.unwrap_or_default()
    }

    /// Key and value, as they are written.
    fn section(&self, section: &str) -> Vec<(String, String)> {
        let entries = self.with_table(|root| {
            let table = root.get(section)?.get_ref().as_table()?;
            let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                let text = self.text.get(value.span()).unwrap_or_default();
                (key.to_string(), text.to_owned())
            };
            Some(table.iter().map(entry).collect())
        });
        entries.flatten().unwrap_or_default()
    }

    /// Nothing where it is not TOML.
    fn with_table<T>(&self, look: impl FnOnce(&DeTable<'_>) -> T) -> Option<T> {
        let document = DeTable::parse(&self.text).ok()?;
        Some(look(document.get_ref()))
    }
}

/// Section and key of all that names a file.
const FILES: [(&str, &str); 14] = [
    ("admin", "token_file"),
    ("jwt", "keys"),
    ("jwt", "secret_file"),
    ("server", "tls_cert"),
    ("server", "tls_client_ca"),
    ("server", "tls_key"),
    ("store", "ca_file"),
    ("store", "cert_file"),
    ("store", "encryption_keys"),
    ("store", "key_file"),
    ("store", "secret_file"),
    ("upstream_connections", "ca_file"),
    ("upstream_connections", "cert_file"),
    ("upstream_connections", "key_file"),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        Written::new("f.toml".to_owned(), text.to_owned())
    }

    #[test]
    fn a_fault_stands_where_the_key_is_or_else_where_it_should_be() {
        let text = "a = 1\n[policy]\nscope = []\n[[route]]\nname = \"one\"\n[[route]]\nscope = [\"path\"]\n";
        let place = |section, key, index| {
            let fault = written(text).fault(section, key, index, "x".to_owned());
            fault.place.to_string()
        };
        for (section, key, index, expected) in [
            ("", "a", None, "f.toml:1:5"),
            ("", "gone", None, "f.toml:1:1"),
            ("policy", "scope", None, "f.toml:3:9"),
            ("policy", "scope", Some(0), "f.toml:3:9"),
            ("policy", "scope", Some(1), "f.toml:7:9"),
            ("policy", "key", Some(1), "f.toml:6:1"),
            ("policy", "key", None, "f.toml:2:1"),
            ("gone", "key", None, "f.toml:1:1"),
        ] {
            assert_eq!(
                place(section, key, index),
                expected,
                "{section} {key} {index:?}"
            );
        }
    }

    #[test]
    fn keys_differ_that_are_new_gone_or_another() {
        let before = written("[store]\na = 1\nb = 2\nc = 3");
        let now = written("[store]\nc = 3\na = 2\nd = 4");
        assert_eq!(now.differing(&before, "store"), ["a", "d", "b"]);
        assert!(now.differing(&now, "store").is_empty());
    }

    #[test]
    fn every_setting_that_names_a_file_is_known() {
        let schema = crate::config::schema();
        let sections = schema["properties"].as_object().unwrap();
        let mut known = 0;
        for (section, shape) in sections {
            let keys = shape["properties"].as_object();
            for key in keys.into_iter().flat_map(|keys| keys.keys()) {
                let names_file =
                    key.ends_with("_file") || key.starts_with("tls_") || key == "encryption_keys";
                assert!(
                    !names_file || FILES.contains(&(section, key)),
                    "{section}.{key}"
                );
                known += usize::from(names_file);
            }
        }
        assert!(known >= 5, "only {known} were seen");
        let text =
            "[jwt]\nkeys = \"a\"\n[store]\nencryption_keys = [\"b\", \"c\"]\n[log]\nfile = \"d\"";
        assert_eq!(written(text).files(), ["a", "b", "c"].map(PathBuf::from));
    }
}
