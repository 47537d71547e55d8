//! The name of one record in the store.

use std::fmt;

use super::digest::{Digest, Hasher};
use super::key::Key;

/// Hash of scope and key; shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Digest);

/// Builds a record id from the parts of a scope, in a fixed order.
pub struct Scope(Hasher);

impl Scope {
    /// The scope of one service.
    pub fn new(service: &str) -> Self {
        let mut hasher = Hasher::new("record id 1");
        hasher.part(service.as_bytes());
        Self(hasher)
    }

    /// Narrows the scope by a named part.
    pub fn with(&mut self, name: &str, value: &[u8]) {
        self.0.part(name.as_bytes()).part(value);
    }

    /// Narrows the scope by a named part that may be absent, which no value is the same as. A name is always given in one of the two
    /// ways.
    pub fn with_optional(&mut self, name: &str, value: Option<&[u8]>) {
        self.0.part(name.as_bytes());
        match value {
            Some(value) => self.0.part(b"is").part(value),
            None => self.0.part(b"absent"),
        };
    }

    /// The record of `key` in this scope.
    pub fn record_id(mut self, key: &Key) -> RecordId {
        self.0.part(b"key").part(key.as_str().as_bytes());
        RecordId(self.0.finish())
    }
}

impl RecordId {
    /// A record id of these bytes.
    pub const fn from_bytes(bytes: Digest) -> Self {
        Self(bytes)
    }

    /// The record of the same scope and key where they are only observed: a hash of this id under a purpose of its own, so that
    /// none of enforcement has it.
    #[must_use]
    pub fn observed(&self) -> Self {
        let mut hasher = Hasher::new("observed record id 1");
        hasher.part(&self.0);
        Self(hasher.finish())
    }

    /// The bytes, as stored.
    pub const fn as_bytes(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(service: &str, parts: &[(&str, &str)], key: &str) -> RecordId {
        let mut scope = Scope::new(service);
        for (name, value) in parts {
            scope.with(name, value.as_bytes());
        }
        scope.record_id(&Key::bare(key.as_bytes(), 255).unwrap())
    }

    #[test]
    fn every_part_of_the_scope_separates_keys() {
        let base = id("s", &[("method", "POST"), ("path", "/a")], "k");
        assert_eq!(base, id("s", &[("method", "POST"), ("path", "/a")], "k"));
        assert_ne!(base, id("t", &[("method", "POST"), ("path", "/a")], "k"));
        assert_ne!(base, id("s", &[("method", "PUT"), ("path", "/a")], "k"));
        assert_ne!(base, id("s", &[("method", "POST"), ("path", "/b")], "k"));
        assert_ne!(base, id("s", &[("method", "POST"), ("path", "/a")], "l"));
        assert_ne!(base, id("s", &[("path", "POST"), ("method", "/a")], "k"));
    }

    #[test]
    fn an_absent_part_equals_no_value() {
        let of = |value: Option<&str>| {
            let mut scope = Scope::new("s");
            scope.with_optional("header:a", value.map(str::as_bytes));
            scope.record_id(&Key::bare(b"k", 255).unwrap())
        };
        assert_eq!(of(None), of(None));
        for value in ["", "absent", "is"] {
            assert_eq!(of(Some(value)), of(Some(value)));
            assert_ne!(of(None), of(Some(value)), "{value}");
        }
    }

    #[test]
    fn an_id_is_the_same_in_every_release() {
        assert_eq!(
            id("s", &[("path", "/a")], "k").to_string(),
            "dd1893d309a6dc0b492ef282e26b333f"
        );
    }

    #[test]
    fn what_is_observed_has_an_id_of_its_own_for_each_record() {
        let (one, other) = (id("s", &[], "k"), id("s", &[], "l"));
        assert_ne!(one.observed(), one);
        assert_ne!(one.observed(), other.observed());
        assert_eq!(one.observed(), id("s", &[], "k").observed());
    }
}
