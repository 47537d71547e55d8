//! What the annotated configuration says of each key.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::DeTable;

/// The annotated configuration.
const TEXT: &str = include_str!("../../../config/idemproxy.toml");

/// What the annotated configuration says of each key.
#[derive(Debug, Default)]
pub(super) struct Reference {
    sections: BTreeMap<String, String>,
    entries: BTreeMap<(String, String), Entry>,
}

/// What is said of one key.
#[derive(Debug)]
pub(super) struct Entry {
    /// The comment behind it, or else above it. Keys below one comment share it.
    pub(super) description: String,
    /// What it is set to.
    pub(super) value: Value,
    /// Whether it is set, to its default; or else commented out, with an example.
    pub(super) is_set: bool,
}

impl Reference {
    /// Reads it line by line: a section, a key, a comment, or an empty line that ends a comment. What is commented out is read as well.
    pub(super) fn read() -> Self {
        let mut reference = Self::default();
        let mut section = String::new();
        let (mut comment, mut above) = (Vec::new(), String::new());
        let mut last = None;
        for line in TEXT.lines() {
            let text = line
                .strip_prefix('#')
                .map_or(line, |rest| rest.strip_prefix(' ').unwrap_or(rest));
            let is_set = text == line;
            if let Some(name) = heading(text) {
                section = name.to_owned();
                above = std::mem::take(&mut comment).join("\n");
                reference.sections.insert(section.clone(), above.clone());
            } else if let Some((key, value, behind)) = setting(text) {
                if !comment.is_empty() {
                    above = std::mem::take(&mut comment).join("\n");
                }
                let description = if behind.is_empty() { &above } else { behind };
                let place = (section.clone(), key.to_owned());
                let entry = Entry {
                    description: description.to_owned(),
                    value,
                    is_set,
                };
                last = Some(place.clone());
                reference.entries.insert(place, entry);
            } else if let (Some(more), Some(place)) = (text.trim_start().strip_prefix('#'), &last)
                && let Some(entry) = reference.entries.get_mut(place)
            {
                entry.description += more;
            } else if line.is_empty() {
                comment.clear();
            } else if !is_set && !text.is_empty() {
                comment.push(text);
            }
        }
        reference
    }

    /// What is said of a section.
    pub(super) fn section(&self, name: &str) -> Option<&str> {
        self.sections.get(name).map(String::as_str)
    }

    /// What is said of a key.
    pub(super) fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries.get(&(section.to_owned(), key.to_owned()))
    }
}

/// The name in `[name]` or `[[name]]`.
fn heading(text: &str) -> Option<&str> {
    let name = text.strip_prefix('[')?.strip_suffix(']')?;
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    let plain = |c: char| c.is_ascii_lowercase() || "._".contains(c);
    name.chars().all(plain).then_some(name)
}

/// A key, its value, and the comment behind it.
fn setting(text: &str) -> Option<(&str, Value, &str)> {
    let (key, _) = text.split_once(" = ")?;
    let table: toml::Table = toml::from_str(text).ok()?;
    let value = serde_json::to_value(table.get(key)?).ok()?;
    let document = DeTable::parse(text).ok()?;
    let span = document.get_ref().get(key)?.span();
    let behind = text.get(span.end..)?.trim().trim_start_matches('#').trim();
    Some((key, value, behind))
}
