//! A table of the file, read setting by setting; what does not fit is collected, not returned.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Faults, Place, shown};
use super::kind::{Read, Value};
use super::nearest::nearest;
use super::overrides::Given;

/// A configuration's text, and the faults found in it so far.
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    faults: RefCell<Vec<Fault>>,
    /// Section, where it begins, key.
    faulty: RefCell<Vec<(String, usize, &'static str)>>,
    /// Section and key of all that was asked for.
    #[cfg(test)]
    pub(super) asked: RefCell<Vec<(String, &'static str)>>,
}

impl<'a> Source<'a> {
    /// `name` is empty where there is no file.
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            text,
            faults: RefCell::default(),
            faulty: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// Parses the text and reads it; nothing where it is not TOML. What stands there twice keeps nothing else from being read.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> T) -> Option<T> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in errors.iter().take(NOT_TOML_MAX) {
            let span = error.span().unwrap_or(0..0);
            let mut spot = self.in_file(span.clone());
            // A slip may cut an address in pieces, of which none tells that it is part of a password.
            if line_at(self.text, span.start).contains(['@', '?']) {
                spot.text = None;
            }
            let message = error.message().replace('\n', ", ");
            self.fault(spot, format!("not TOML: {message}"));
        }
        errors
            .iter()
            .all(|error| error.message() == "duplicate key")
            .then(|| Reader::of_table(self, "", Some(document.get_ref()), 0..0, read))
    }

    /// What was read, or else the faults.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Faults> {
        match (Faults::of(self.faults.into_inner()), read) {
            (None, Some(read)) => Ok(read),
            (Some(faults), _) => Err(faults),
            (None, None) => Err(Faults::of_file(self.name, "not TOML".to_owned())),
        }
    }

    fn in_file(&self, span: Range<usize>) -> Spot {
        Spot {
            place: Place::in_file(self.name, self.text, span.start),
            text: shown(self.text, span),
        }
    }

    fn fault(&self, spot: Spot, expected: String) {
        self.faults.borrow_mut().push(Fault {
            place: spot.place,
            text: spot.text,
            expected,
        });
    }
}

/// A place and what is written there.
pub(super) struct Spot {
    place: Place,
    text: Option<String>,
}

/// Reads one table. A key that was never asked for is a fault once the table is done.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    /// Its dotted name, as in `policy.retry`; empty at the top.
    section: String,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    fn of_table<T>(
        source: &'a Source<'a>,
        section: impl Into<String>,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        read: impl FnOnce(&Reader<'a>) -> T,
    ) -> T {
        let reader = Reader {
            source,
            section: section.into(),
            table,
            span,
            asked: RefCell::default(),
        };
        let settings = read(&reader);
        reader.refuse_the_rest();
        settings
    }

    /// The setting `key`, or nothing where it is absent or at fault.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        kind: impl Fn(&Value<'_>) -> Read<T>,
    ) -> Option<T> {
        self.asked.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        self.checked(key, value, &kind, |span| self.source.in_file(span))
    }

    /// The setting `key`, or `default` where it is absent or at fault.
    pub(super) fn get_or<T>(
        &self,
        key: &'static str,
        kind: impl Fn(&Value<'_>) -> Read<T>,
        default: T,
    ) -> T {
        self.get(key, kind).unwrap_or(default)
    }

    /// As [`get`](Self::get), and what a flag or variable says comes first.
    pub(super) fn get_over<T>(
        &self,
        key: &'static str,
        given: Option<&Given>,
        kind: impl Fn(&Value<'_>) -> Read<T>,
    ) -> Option<T> {
        let written = self.get(key, &kind);
        self.given(key, given, &kind).or(written)
    }

    /// What a flag or variable says of a setting that no file has.
    pub(super) fn given<T>(
        &self,
        key: &'static str,
        given: Option<&Given>,
        kind: impl Fn(&Value<'_>) -> Read<T>,
    ) -> Option<T> {
        let given = given?;
        let value = Spanned::new(0..0, DeValue::String(Cow::Borrowed(&given.value)));
        self.checked(key, &value, &kind, |_| given.spot())
    }

    /// The table `key`, read as if empty where it is absent.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Reader<'a>) -> T) -> T {
        self.asked.borrow_mut().push(key);
        let value = self.table.and_then(|table| table.get(key));
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let spot = self.source.in_file(value.span());
            self.source
                .fault(spot, format!("expected a table, [{}]", self.path(key)));
        }
        let span = value.map_or(0..0, Spanned::span);
        Self::of_table(self.source, self.path(key), table, span, read)
    }

    /// Each table of the array of tables `key`.
    pub(super) fn sections(&self, key: &'static str, mut read: impl FnMut(&Reader<'a>)) {
        self.asked.borrow_mut().push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else {
            return;
        };
        let expected = || format!("expected tables, [[{}]]", self.path(key));
        let Some(tables) = value.get_ref().as_array() else {
            return self
                .source
                .fault(self.source.in_file(value.span()), expected());
        };
        for value in tables {
            match value.get_ref().as_table() {
                Some(table) => Self::of_table(
                    self.source,
                    self.path(key),
                    Some(table),
                    value.span(),
                    &mut read,
                ),
                None => self
                    .source
                    .fault(self.source.in_file(value.span()), expected()),
            }
        }
    }

    /// Refuses keys that only a proxy has.
    pub(super) fn refuse(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
        self.refuse_written(|key| keys.contains(&key));
    }

    /// Refuses what was asked for so far, but for `keys`: only a proxy has it.
    pub(super) fn refuse_but(&self, keys: &[&'static str]) {
        self.refuse_written(|key| self.asked.borrow().contains(&key) && !keys.contains(&key));
    }

    fn refuse_written(&self, refused: impl Fn(&str) -> bool) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if refused(name) {
                self.source.fault(
                    self.source.in_file(key.span()),
                    format!("`{}` is of a proxy, and a layer has none", self.path(name)),
                );
            }
        }
    }

    /// Whether this table is written at all.
    pub(super) fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// Where the first of `keys` that is written here is written.
    pub(super) fn spot_of(&self, keys: &[&str]) -> Option<Spot> {
        let table = self.table?;
        let value = keys.iter().find_map(|key| table.get(*key))?;
        Some(self.source.in_file(value.span()))
    }

    /// Where `key` is set: by a flag or variable, or here.
    pub(super) fn spot_over(&self, key: &str, given: Option<&Given>) -> Option<Spot> {
        given.map(Given::spot).or_else(|| self.spot_of(&[key]))
    }

    /// Where `key` is missing from: the file, or the flag of that name where there is no file.
    pub(super) fn spot_missing(&self, key: &str) -> Spot {
        match self.source.name {
            "" => Spot {
                place: Place::Input(format!("--{key}")),
                text: None,
            },
            _ => Spot {
                text: Some(key.to_owned()),
                ..self.source.in_file(0..0)
            },
        }
    }

    /// Whether none of `keys` was found at fault, here or (for a route) in the policy it builds on: there is no use in
    /// comparing them otherwise.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let below = self.section.replacen("route", "policy", 1);
        let here = |section: &str, start| section == self.section && start == self.span.start;
        let faulty = self.source.faulty.borrow();
        !faulty.iter().any(|(section, start, key)| {
            keys.contains(key)
                && (here(section, *start) || (below != self.section && *section == below))
        })
    }

    /// Records a fault that lies between settings, at `spot` or at the table as a whole.
    pub(super) fn fault(&self, spot: Option<Spot>, expected: impl Into<String>) {
        let spot = spot.unwrap_or_else(|| self.source.in_file(self.span.clone()));
        self.source.fault(spot, expected.into());
    }

    fn checked<T>(
        &self,
        key: &'static str,
        value: &Value<'_>,
        kind: &impl Fn(&Value<'_>) -> Read<T>,
        spot: impl Fn(Range<usize>) -> Spot,
    ) -> Option<T> {
        let wrongs = match kind(value) {
            Ok(read) => return Some(read),
            Err(wrongs) => wrongs,
        };
        let place = (self.section.clone(), self.span.start, key);
        self.source.faulty.borrow_mut().push(place);
        for wrong in wrongs {
            self.source.fault(spot(wrong.span), wrong.expected);
        }
        None
    }

    fn refuse_the_rest(&self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        self.source
            .asked
            .borrow_mut()
            .extend(asked.iter().map(|key| (self.section.clone(), *key)));
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let expected = match nearest(name, asked.iter().copied()) {
                Some(nearest) => format!("unknown key, did you mean `{nearest}`?"),
                None => format!("unknown key, expected one of: {}", asked.join(", ")),
            };
            self.source.fault(self.source.in_file(key.span()), expected);
        }
    }

    fn path(&self, key: &str) -> String {
        match self.section.as_str() {
            "" => key.to_owned(),
            section => format!("{section}.{key}"),
        }
    }
}

impl Given {
    /// The place and text of what was given.
    fn spot(&self) -> Spot {
        let quoted = format!("\"{}\"", self.value);
        Spot {
            place: Place::Input(self.by.clone()),
            text: shown(&quoted, 0..quoted.len()),
        }
    }
}

/// The whole line of byte `offset`.
fn line_at(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = after
        .find('\n')
        .map_or(text.len(), |newline| offset + newline);
    &text[start..end]
}

/// Faults told of a text that is not TOML: one slip can make thousands of them.
const NOT_TOML_MAX: usize = 100;
