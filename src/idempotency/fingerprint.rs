//! What must not change between duplicates.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::digest::{Digest, Hasher, Pieces};
use super::json_body::shown;
use crate::fault::{Seeded, seeded};

/// Hashes of the parts of a request that must not change between duplicates, each under the name of how it was made.
///
/// Two fingerprints are compared by the parts that both have: what was made another way is believed, so a
/// change of policy or an upgrade never turns an honest retry into a refusal. A part that is made
/// differently in a later release gets another name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<Part>);

/// One part of a request, hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How it was made: `method`, `path`, `query`, `body`, `json-body`, `header:NAME`.
    pub name: Cow<'static, str>,
    /// The hash.
    pub digest: Digest,
}

impl Fingerprint {
    /// Adds a part of which all bytes are at hand.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, value: &[u8]) {
        self.add_digest(name, Self::digest(value));
    }

    /// Adds a part that is a list: where one value ends and the next begins matters.
    pub fn add_list<'a>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        values: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut hasher = Hasher::new("fingerprint list");
        for value in values {
            hasher.part(value);
        }
        self.add_digest(name, hasher.finish());
    }

    /// The hash of a part of which all bytes are at hand. What most requests have in common is hashed once for all of them.
    pub fn digest(value: &[u8]) -> Digest {
        static COMMON: LazyLock<[(&[u8], Digest); 5]> = LazyLock::new(|| {
            let values: [&[u8]; 5] = [b"", b"POST", b"PUT", b"PATCH", b"DELETE"];
            values.map(|value| (value, Pieces::whole(PART, value)))
        });
        let known = COMMON.iter().find(|(common, _)| *common == value);
        known.map_or_else(|| Pieces::whole(PART, value), |(_, digest)| *digest)
    }

    /// Adds a part that was hashed on its way.
    pub fn add_digest(&mut self, name: impl Into<Cow<'static, str>>, digest: Digest) {
        let name = name.into();
        self.0.push(Part { name, digest });
    }

    /// The parts, in the order of the policy.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The parts, to be hashed under a secret.
    pub(super) fn parts_mut(&mut self) -> &mut [Part] {
        &mut self.0
    }

    /// Names of the parts that both have and that differ, as clients know them.
    pub fn differences<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        let differs = |mine: &&Part| {
            other
                .0
                .iter()
                .any(|part| part.name == mine.name && part.digest != mine.digest)
                && !seeded(Seeded::FingerprintOff)
        };
        let mut names: Vec<&str> = self
            .0
            .iter()
            .filter(differs)
            .map(|part| shown(&part.name))
            .collect();
        names.dedup();
        names
    }
}

impl FromIterator<Part> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

/// Hashes a part that comes in pieces. It is put aside, as it is two kilobytes large.
pub struct PartHasher(Box<Pieces>);

impl PartHasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self(Box::new(Pieces::new(PART)))
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.add(piece);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Default for PartHasher {
    fn default() -> Self {
        Self::new()
    }
}

const PART: &str = "fingerprint part";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(&'static str, &str)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (name, value) in parts {
            fingerprint.add(*name, value.as_bytes());
        }
        fingerprint
    }

    #[test]
    fn the_parts_that_differ_are_named() {
        let first = of(&[("method", "POST"), ("query", "a=1"), ("body", "x")]);
        assert!(first.differences(&first.clone()).is_empty());
        assert_eq!(
            first.differences(&of(&[("method", "POST"), ("query", "a=2"), ("body", "y")])),
            ["query", "body"]
        );
    }

    #[test]
    fn what_is_known_beforehand_hashes_as_all_else() {
        for value in ["", "POST", "PUT", "PATCH", "DELETE", "POS"] {
            assert_eq!(
                Fingerprint::digest(value.as_bytes()),
                Pieces::whole(PART, value.as_bytes()),
                "{value}"
            );
        }
    }

    #[test]
    fn what_only_one_of_them_has_is_believed() {
        let old = of(&[("method", "POST"), ("body", "x")]);
        assert!(
            old.differences(&of(&[("method", "POST"), ("json-body", "x")]))
                .is_empty()
        );
        assert!(old.differences(&Fingerprint::default()).is_empty());
    }
}
