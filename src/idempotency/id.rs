//! The name of one record in the store.

use std::fmt;

use super::digest::{Digest, Hasher};
use super::key::Key;

/// Hash of scope and key; shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Digest);

/// Builds a record id from the parts of a scope, in a fixed order.
pub struct Scope<'t> {
    hasher: Hasher,
    /// Who is told of the parts.
    told: Option<&'t mut ScopeParts>,
}

/// The named parts of a scope, in their order, and their values, of which some may be absent.
pub type ScopeParts = Vec<(String, Option<Vec<u8>>)>;

impl<'t> Scope<'t> {
    /// The scope of one service.
    pub fn new(service: &str) -> Self {
        let mut hasher = Hasher::new("record id 3");
        hasher.part(service.as_bytes());
        Self { hasher, told: None }
    }

    /// As [`new`](Self::new), and tells `told`, if anybody, what it is narrowed by.
    pub fn telling(service: &str, told: Option<&'t mut ScopeParts>) -> Self {
        Self {
            told,
            ..Self::new(service)
        }
    }

    /// Narrows the scope by a named part.
    pub fn with(&mut self, name: &str, value: &[u8]) {
        self.hasher.part(name.as_bytes()).part(value);
        self.tell(name, Some(value));
    }

    /// Narrows the scope by a named part that may be absent, which no value is the same as. A name is always given in one of the two
    /// ways.
    pub fn with_optional(&mut self, name: &str, value: Option<&[u8]>) {
        self.hasher.part(name.as_bytes());
        match value {
            Some(value) => self.hasher.part(b"is").part(value),
            None => self.hasher.part(b"absent"),
        };
        self.tell(name, value);
    }

    /// The record of `key` in this scope.
    pub fn record_id(mut self, key: &Key) -> RecordId {
        self.hasher.part(b"key").part(key.as_str().as_bytes());
        RecordId(self.hasher.finish())
    }

    fn tell(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(told) = &mut self.told {
            told.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        }
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

    /// As it is shown, in ASCII.
    pub fn hex(&self) -> [u8; 32] {
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&PAIRS[usize::from(byte)]);
        }
        hex
    }

    /// The bytes, as stored.
    pub const fn as_bytes(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.hex()).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two digits of each byte.
static PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

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
    fn who_is_told_of_the_parts_changes_nothing() {
        let mut parts = ScopeParts::new();
        let mut scope = Scope::telling("s", Some(&mut parts));
        scope.with("path", b"/a");
        let told = scope.record_id(&Key::bare(b"k", 255).unwrap());
        assert_eq!(told, id("s", &[("path", "/a")], "k"));
        assert_eq!(parts, [("path".to_owned(), Some(b"/a".to_vec()))]);
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
            "223fc5dd2bbd0e87beb73e37c1581c8e"
        );
    }
}
