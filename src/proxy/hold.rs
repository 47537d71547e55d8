//! How much of a body is held in memory before anything else is done.

use super::media::Kind;
use super::policy::{FingerprintPart, Policy};
use crate::idempotency::json::MARK;

/// How much of a body is held in memory before anything else is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing more than was read: there is nothing to find in it.
    Nothing,
    /// All of it up to `max_buffered_request`; a larger one is streamed.
    Small,
    /// All of it; a larger one is refused.
    All,
}

/// How much of a body is held, by what it turns out to be as it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    json: Hold,
    other: Hold,
    hold: Option<Hold>,
    /// Bytes that may be of a byte order mark.
    marked: usize,
}

impl Holding {
    /// Of a body of this kind: so much if it is JSON, and so much if not.
    pub(super) fn new(kind: Kind, json: Hold, other: Hold) -> Self {
        let hold = match kind {
            _ if json == other => Some(json),
            Kind::Json => Some(json),
            Kind::Other => Some(other),
            Kind::Unsaid | Kind::Perhaps => None,
        };
        Self {
            json,
            other,
            hold,
            marked: 0,
        }
    }

    /// Of a request whose key is known.
    pub(super) fn keyed(policy: &Policy) -> Self {
        let hold = if policy.fingerprint.contains(&FingerprintPart::JsonBody) {
            Hold::All
        } else {
            Hold::Small
        };
        Self::new(Kind::Perhaps, hold, hold)
    }

    /// As far as it can be told.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Looks into the next piece, no further than it takes to tell.
    pub(super) fn look(&mut self, piece: &[u8]) {
        for byte in piece {
            if self.hold.is_some() {
                return;
            }
            self.hold = match (self.marked, byte) {
                (at, byte) if MARK.get(at) == Some(byte) => {
                    self.marked += 1;
                    None
                }
                (1 | 2, _) => Some(self.other),
                (_, byte) if byte.is_ascii_whitespace() => {
                    self.marked = MARK.len();
                    None
                }
                (_, b'{' | b'[') => Some(self.json),
                _ => Some(self.other),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_type_says_nothing_the_first_character_does() {
        let of = |kind, pieces: &[&[u8]]| {
            let mut holding = Holding::new(kind, Hold::All, Hold::Nothing);
            for piece in pieces {
                holding.look(piece);
            }
            holding.hold()
        };
        let json = Some(Hold::All);
        let other = Some(Hold::Nothing);
        for kind in [Kind::Unsaid, Kind::Perhaps] {
            for (pieces, expected) in [
                (&[&b""[..]][..], None),
                (&[b" \r\n", b"\t"], None),
                (&[b" {"], json),
                (&[b" ", b"", b"\n", b"[", b"a"], json),
                (&[b"a={}"], other),
                (&[b" ", b"a", b"{"], other),
                (&[b"\xef\xbb\xbf"], None),
                (&[b"\xef\xbb\xbf {"], json),
                (&[b"\xef", b"\xbb", b"\xbf", b"{"], json),
                (&[b"\xef", b"{"], other),
                (&[b"\xef\xbb{"], other),
                (&[b"\xef\xbb\xbf\xef\xbb\xbf{"], other),
                (&[b" \xef\xbb\xbf{"], other),
            ] {
                assert_eq!(of(kind, pieces), expected, "{pieces:?}");
            }
        }
        assert_eq!(of(Kind::Json, &[b"a"]), json);
        assert_eq!(of(Kind::Other, &[b"{"]), other);
        let keyed = Holding::keyed(&Policy::default());
        assert_eq!(keyed.hold(), Some(Hold::Small));
    }
}
