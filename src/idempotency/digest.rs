//! Hashes of several parts that cannot be mistaken for one another.

/// The first half of a BLAKE3: 128 bits, so that a collision is not to be met by chance.
///
/// BLAKE3 is a fourth of the work of SHA-256 where the processor has no instructions for that one, and no more where it has.
pub type Digest = [u8; 16];

/// Hashes parts with their lengths, so that `["ab", "c"]` and `["a", "bc"]` differ.
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hash for one purpose; hashes of two purposes never meet.
    pub fn new(purpose: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.part(purpose.as_bytes());
        hasher
    }

    /// Adds one whole part.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a piece of a part that comes in pieces. It has to be the last part: its length is not known before.
    pub fn piece(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of what was added.
    pub fn finish(self) -> Digest {
        let whole = self.0.finalize();
        let mut half = Digest::default();
        half.copy_from_slice(&whole.as_bytes()[..16]);
        half
    }
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn two_purposes_never_meet() {
        assert_ne!(Hasher::new("a").finish(), Hasher::new("b").finish());
    }

    #[test]
    fn a_part_in_pieces_hashes_the_same_however_it_was_cut() {
        let whole = {
            let mut h = Hasher::new("t");
            h.piece(b"abc");
            h.finish()
        };
        let cut = {
            let mut h = Hasher::new("t");
            h.piece(b"a").piece(b"").piece(b"bc");
            h.finish()
        };
        assert_eq!(whole, cut);
    }
}
