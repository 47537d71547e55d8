//! What makes hashes in the store useless to those who have only the store.

use std::fmt;
use std::sync::Arc;

use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac::{self, HMAC_SHA256};

use super::digest::{Digest, Hasher};
use super::fingerprint::{Fingerprint, Part};
use super::id::RecordId;
use super::key::Key;

/// The operator's secret, or none. With one, every hash that is stored, a BLAKE3 otherwise (`digest`), is the HMAC-SHA256 (RFC 2104) of that under it, with a key of its own
/// for each purpose, made by HKDF-SHA256 (RFC 5869): who has a dump of the store and not the secret can try no guess at a key, a
/// caller, credentials or a request.
///
/// Under another secret, or none, everything has another record id: what is stored is not met, and so never compared.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<Keys>>);

struct Keys {
    record_ids: hmac::Key,
    keys: hmac::Key,
    credentials: hmac::Key,
    fingerprints: hmac::Key,
    /// By which two secrets are compared.
    own: Digest,
}

impl Secret {
    /// Hashes are what they are.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The secret of these bytes, which nobody can guess.
    pub fn new(content: &[u8]) -> Self {
        let made = Salt::new(HKDF_SHA256, PURPOSE).extract(content);
        Self(Some(Arc::new(Keys {
            record_ids: derived(&made, b"record ids"),
            keys: derived(&made, b"keys"),
            credentials: derived(&made, b"credentials"),
            fingerprints: derived(&made, b"fingerprints"),
            own: tag(&derived(&made, b"itself"), &[]),
        })))
    }

    /// Whether there is one.
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The name in the store of what `plain` names.
    #[must_use]
    pub fn record_id(&self, plain: RecordId) -> RecordId {
        RecordId::from_bytes(self.under(|keys| &keys.record_ids, *plain.as_bytes()))
    }

    /// The digest of a key alone, by which an operator who knows the key finds its records.
    pub fn key(&self, key: &Key) -> Digest {
        let mut digest = Hasher::new("key");
        digest.part(key.as_str().as_bytes());
        self.under(|keys| &keys.keys, digest.finish())
    }

    /// What is stored of credentials with this digest.
    pub fn credentials(&self, plain: Digest) -> Digest {
        self.under(|keys| &keys.credentials, plain)
    }

    /// What is stored of a part of a fingerprint with this digest.
    pub fn part(&self, plain: Digest) -> Digest {
        self.under(|keys| &keys.fingerprints, plain)
    }

    /// What is stored of a fingerprint.
    #[must_use]
    pub fn fingerprint(&self, fingerprint: Fingerprint) -> Fingerprint {
        if !self.is_set() {
            return fingerprint;
        }
        let parts = fingerprint.parts().map(|Part { name, digest }| Part {
            name,
            digest: self.part(digest),
        });
        parts.collect()
    }

    fn under(&self, key: impl Fn(&Keys) -> &hmac::Key, plain: Digest) -> Digest {
        self.0.as_ref().map_or(plain, |keys| tag(key(keys), &plain))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let own = |secret: &Self| secret.0.as_ref().map(|keys| keys.own);
        own(self) == own(other)
    }
}

impl Eq for Secret {}

/// Whether there is one, and no more.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Secret(…)" } else { "none" })
    }
}

fn derived(made: &Prk, purpose: &[u8]) -> hmac::Key {
    made.expand(&[purpose], HMAC_SHA256)
        .expect("HKDF gives up to 255 hashes, and this is one")
        .into()
}

fn tag(key: &hmac::Key, bytes: &[u8]) -> Digest {
    let tag = hmac::sign(key, bytes);
    let mut half = Digest::default();
    half.copy_from_slice(&tag.as_ref()[..16]);
    half
}

const PURPOSE: &[u8] = b"idemproxy secret 1";

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::bare(b"k", 255).unwrap()
    }

    /// What the secret makes of one digest, whatever it is of.
    fn made(secret: &Secret) -> [Digest; 4] {
        let plain = Secret::none().key(&key());
        [
            *secret.record_id(RecordId::from_bytes(plain)).as_bytes(),
            secret.key(&key()),
            secret.credentials(plain),
            secret.part(plain),
        ]
    }

    #[test]
    fn two_secrets_and_two_purposes_never_meet() {
        let mut seen = std::collections::HashSet::new();
        for secret in [Secret::new(&[1; 32]), Secret::new(&[2; 32])] {
            assert_eq!(made(&secret), made(&secret));
            assert!(made(&secret).into_iter().all(|digest| seen.insert(digest)));
        }
        assert!(!seen.contains(&made(&Secret::none())[0]));
    }

    #[test]
    fn without_a_secret_hashes_are_what_they_are() {
        let plain = Secret::none().key(&key());
        assert_eq!(made(&Secret::none()), [plain; 4]);
    }

    #[test]
    fn what_differed_differs_and_what_was_alike_is_alike() {
        let of = |body: &[u8]| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.add("method", b"POST");
            fingerprint.add("body", body);
            Secret::new(&[1; 32]).fingerprint(fingerprint)
        };
        assert_eq!(of(b"a"), of(b"a"));
        assert_eq!(of(b"a").differences(&of(b"b")), ["body"]);
    }

    #[test]
    fn hashes_under_a_secret_are_the_same_in_every_release() {
        let hex = |digest: Digest| format!("{:032x}", u128::from_be_bytes(digest));
        assert_eq!(made(&Secret::new(&[1; 32])).map(hex), EXAMPLE);
    }

    #[test]
    fn a_secret_is_itself_alone_and_does_not_show_itself() {
        let secret = Secret::new(b"an operator's secret of 32 bytes");
        assert_eq!(secret, Secret::new(b"an operator's secret of 32 bytes"));
        assert_ne!(secret, Secret::new(b"An operator's secret of 32 bytes"));
        assert_ne!(secret, Secret::none());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    /// Made by another program, after the description above.
    const EXAMPLE: [&str; 4] = [
        "ac3f2f31ed694c7ff3da6f62b401318b",
        "7af53a046c959bc54030754af91cfeaa",
        "c6158f6b81b7d72c5667b2df38559958",
        "d9bea612fd10a999addf6488b50a9ca2",
    ];
}
