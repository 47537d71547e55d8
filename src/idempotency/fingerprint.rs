//! What must not change between duplicates.

use std::cell::RefCell;
use std::fmt;
use std::sync::LazyLock;

use super::digest::{Digest, Hasher, Pieces};
use super::json_body::shown;
use crate::fault::{Seeded, seeded};

/// Hashes of the parts of a request that must not change between duplicates, each under the name of how it was made. They are one piece of
/// memory, laid out as in a stored record (`store::codec`).
///
/// Two fingerprints are compared by the parts that both have: what was made another way is believed, so a
/// change of policy or an upgrade never turns an honest retry into a refusal. A part that is made
/// differently in a later release gets another name, or all record ids change.
///
/// There are no more than 255 parts, and a name has 255 bytes at most: what is beyond that is left out. No configuration asks for so much.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

/// One part of a request, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'n> {
    /// How it was made: `method`, `path`, `query`, `body`, `json-body`, `header:NAME`.
    pub name: &'n str,
    /// The hash.
    pub digest: Digest,
}

impl Fingerprint {
    /// Adds a part of which all bytes are at hand.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.add_digest(name, Self::digest(value));
    }

    /// Adds a part that is a list: where one value ends and the next begins matters.
    pub fn add_list<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        let mut hasher = Hasher::new("fingerprint list");
        for value in values {
            hasher.part(value);
        }
        self.add_digest(name, hasher.finish());
    }

    /// Adds a part that is seldom new, such as a path: it is not hashed each time.
    pub fn add_recurring(&mut self, name: &str, value: &[u8]) {
        self.add_digest(name, recurring(value));
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
    pub fn add_digest(&mut self, name: &str, digest: Digest) {
        let Ok(length) = u8::try_from(name.len()) else {
            return;
        };
        if self.0.is_empty() {
            self.0.reserve(USUAL_BYTES);
            self.0.push(0);
        }
        let Some(count) = self.0[0].checked_add(1) else {
            return;
        };
        self.0[0] = count;
        self.0.push(length);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(&digest);
    }

    /// The parts, in the order of the policy.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut rest = self.0.get(1..).unwrap_or_default();
        let parts = std::iter::from_fn(move || next(&mut rest));
        parts.map(|(name, digest)| Part {
            name: str::from_utf8(name).expect("only texts are taken for names"),
            digest: *digest,
        })
    }

    /// As they are laid out: u8 count, then each as u8 length, name, digest.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { &[0] } else { &self.0 }
    }

    /// Takes one that is laid out so from the beginning of `bytes`; nothing if it is too short for it, or a name is no text.
    pub(crate) fn split_from(bytes: &mut &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first()?;
        for _ in 0..*count {
            let (name, _) = next(&mut rest)?;
            // Nearly every name is in ASCII, and that takes less to find out.
            if !name.is_ascii() {
                str::from_utf8(name).ok()?;
            }
        }
        let own = bytes.split_off(..bytes.len() - rest.len())?;
        Some(if *count == 0 {
            Self::default()
        } else {
            Self(own.to_vec())
        })
    }

    /// Names of the parts that both have and that differ, as clients know them.
    pub fn differences<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        if self == other || seeded(Seeded::FingerprintOff) {
            return Vec::new();
        }
        let differs = |mine: &Part<'_>| {
            let mut theirs = other.parts();
            theirs.any(|theirs| theirs.name == mine.name && theirs.digest != mine.digest)
        };
        let parts = self.parts().filter(differs);
        let mut names: Vec<&str> = parts.map(|part| shown(part.name)).collect();
        names.dedup();
        names
    }
}

impl<'n> FromIterator<Part<'n>> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = Part<'n>>>(parts: I) -> Self {
        let mut fingerprint = Self::default();
        for Part { name, digest } in parts {
            fingerprint.add_digest(name, digest);
        }
        fingerprint
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts()).finish()
    }
}

/// The next part's name and digest.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a Digest)> {
    let length = *rest.split_off_first()?;
    let name = rest.split_off(..length.into())?;
    let (digest, after) = rest.split_first_chunk()?;
    *rest = after;
    Some((name, digest))
}

/// The hash of a value that may have been hashed on this thread not long ago.
fn recurring(value: &[u8]) -> Digest {
    thread_local! {
        /// Values with their hashes, each in the place that is found by its length and its last byte.
        static HASHED: RefCell<[(Vec<u8>, Digest); PLACES]> = RefCell::new(std::array::from_fn(|_| (vec![], Fingerprint::digest(b""))));
    }
    if value.len() > LONGEST {
        return Fingerprint::digest(value);
    }
    HASHED.with_borrow_mut(|hashed| {
        let last = value.last().copied().unwrap_or_default();
        let (before, digest) = &mut hashed[(value.len() + usize::from(last)) % PLACES];
        if before != value {
            *digest = Fingerprint::digest(value);
            before.clear();
            before.extend_from_slice(value);
        }
        *digest
    })
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

const PART: &str = "part";
/// How many values are kept on each thread, and of how many bytes at most.
const PLACES: usize = 32;
const LONGEST: usize = 64;
/// Bytes that most fingerprints have.
const USUAL_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out_again(
            given in prop::collection::vec((".{0,8}", any::<Digest>()), 0..5),
            after in any::<Vec<u8>>(),
        ) {
            let given: Vec<_> = given.iter().map(|(name, digest)| Part { name, digest: *digest }).collect();
            let made: Fingerprint = given.iter().copied().collect();
            prop_assert_eq!(made.parts().collect::<Vec<_>>(), given);
            let bytes = [made.as_bytes(), &after].concat();
            let mut rest = &*bytes;
            prop_assert_eq!(Fingerprint::split_from(&mut rest), Some(made.clone()));
            prop_assert_eq!(rest, &*after);
            for end in 0..made.as_bytes().len() {
                prop_assert_eq!(Fingerprint::split_from(&mut &bytes[..end]), None);
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_is_left_out() {
        let names = ["a".repeat(255), "b".repeat(256)];
        let long = names.iter().map(|name| Part {
            name,
            digest: [1; 16],
        });
        let long: Fingerprint = long.collect();
        assert_eq!(
            long.parts().map(|part| part.name.len()).collect::<Vec<_>>(),
            [255]
        );
        let many: Fingerprint = (0..300)
            .map(|_| Part {
                name: "a",
                digest: [1; 16],
            })
            .collect();
        assert_eq!(many.parts().count(), 255);
        assert_eq!(
            Fingerprint::split_from(&mut many.as_bytes()),
            Some(many.clone())
        );
    }

    #[test]
    fn a_name_that_is_no_text_is_not_taken() {
        let mut bytes = of(&[("a", "1"), ("b", "2")]).as_bytes().to_vec();
        assert!(Fingerprint::split_from(&mut &*bytes).is_some());
        bytes[2] = 0xff;
        assert_eq!(Fingerprint::split_from(&mut &*bytes), None);
    }

    fn of(parts: &[(&'static str, &str)]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (name, value) in parts {
            fingerprint.add(name, value.as_bytes());
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
    fn what_was_hashed_before_hashes_as_all_else() {
        let long = "/".repeat(LONGEST + 1);
        // The two of the same length and last byte take each other's place.
        let paths = ["", "/a/a", "/b/a", "/a/a", "/a/a", "", &long, &long[1..]];
        for value in ["POST", "PUT", "PATCH", "DELETE", "POS"]
            .iter()
            .chain(&paths)
        {
            let value = value.as_bytes();
            let hashed = Pieces::whole(PART, value);
            assert_eq!([Fingerprint::digest(value), recurring(value)], [hashed; 2]);
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
