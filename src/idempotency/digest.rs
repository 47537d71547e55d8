//! Hashes of several parts that cannot be mistaken for one another.

use super::scratch::Scratch;

/// The first half of a BLAKE3: 128 bits, so that a collision is not to be met by chance.
///
/// For what is hashed of a request BLAKE3 takes a fourth of the instructions of SHA-256, where the processor has none for that one.
pub type Digest = [u8; 16];

/// Hashes parts with their lengths, so that `["ab", "c"]` and `["a", "bc"]` differ.
///
/// They are gathered first: to hash some hundred bytes at once takes less than to feed a hasher with each of them.
pub struct Hasher(Scratch);

/// Hashes one value that comes in pieces, a body for one.
pub struct Pieces(blake3::Hasher);

impl Hasher {
    /// A hash for one purpose; hashes of two purposes never meet.
    pub fn new(purpose: &str) -> Self {
        let mut hasher = Self(Scratch::take(GATHERED));
        hasher.part(purpose.as_bytes());
        hasher
    }

    /// Adds one whole part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        put_length(&mut self.0, bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The hash of what was added.
    pub fn finish(self) -> Digest {
        half(blake3::hash(&self.0))
    }
}

impl Pieces {
    /// The hash of a value of which all is at hand. A small one is gathered, as in [`Hasher`].
    pub fn whole(purpose: &str, value: &[u8]) -> Digest {
        if value.len() > SMALL {
            let mut pieces = Self::new(purpose);
            pieces.add(value);
            return pieces.finish();
        }
        let mut gathered = Scratch::take(LONG + purpose.len() + value.len());
        put_length(&mut gathered, purpose.len());
        gathered.extend_from_slice(purpose.as_bytes());
        gathered.extend_from_slice(value);
        half(blake3::hash(&gathered))
    }

    /// A hash for one purpose; hashes of two purposes never meet.
    pub fn new(purpose: &str) -> Self {
        let mut start = Vec::with_capacity(LONG + purpose.len());
        put_length(&mut start, purpose.len());
        start.extend_from_slice(purpose.as_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&start);
        Self(hasher)
    }

    /// Adds the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of what was added.
    pub fn finish(&self) -> Digest {
        half(self.0.finalize())
    }
}

/// In one byte where that is enough: what is hashed in blocks of 64 takes less time the shorter it is.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(length) if length != u8::MAX => bytes.push(length),
        _ => {
            bytes.push(u8::MAX);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

fn half(whole: blake3::Hash) -> Digest {
    let mut half = Digest::default();
    half.copy_from_slice(&whole.as_bytes()[..16]);
    half
}

/// Bytes that most hashes take.
const GATHERED: usize = 256;
/// Bytes of a length at most.
const LONG: usize = 9;
/// What is copied for less than a hasher takes: a chunk of BLAKE3.
const SMALL: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn of(parts: &[&str]) -> Digest {
        let mut hasher = Hasher::new("test");
        for part in parts {
            hasher.part(part.as_bytes());
        }
        hasher.finish()
    }

    #[test]
    fn where_one_part_ends_and_the_next_begins_matters() {
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        // At the edge where a length takes more than one byte.
        let whole = "\0".repeat(600);
        let cut = |at: usize| of(&[&whole[..at], &whole[at..]]);
        let cuts: HashSet<_> = (0..=600).map(cut).collect();
        assert_eq!(cuts.len(), 601);
    }

    #[test]
    fn two_purposes_never_meet() {
        assert_ne!(Hasher::new("a").finish(), Hasher::new("b").finish());
        assert_ne!(Pieces::new("a").finish(), Pieces::new("b").finish());
    }

    #[test]
    fn a_value_in_pieces_hashes_the_same_however_it_was_cut() {
        let of = |pieces: &[&[u8]]| {
            let mut hasher = Pieces::new("t");
            for piece in pieces {
                hasher.add(piece);
            }
            hasher.finish()
        };
        assert_eq!(of(&[b"abc"]), of(&[b"a", b"", b"bc"]));
        assert_ne!(of(&[b"abc"]), of(&[b"ab"]));
        for length in [0, 1, SMALL - 1, SMALL, SMALL + 1, 5 * SMALL] {
            let value = vec![b'x'; length];
            assert_eq!(Pieces::whole("t", &value), of(&[&value]), "{length}");
        }
    }
}
