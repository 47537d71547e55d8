//! Encrypts the answer of a record: AES-256-GCM under a key that is made for one write of one record.
//!
//! The key of a write comes by HKDF-SHA256 (RFC 5869) from the operator's key, a fresh salt, and the record id. So it is used once, and its nonce
//! is nothing. All of the frame that stands before the answer is authenticated with it: an answer read is the one that was written,
//! under this record id, with this head.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::CodecError;
use crate::idempotency::RecordId;
use crate::idempotency::digest::Digest;

/// A key of the operator's.
#[derive(Clone)]
pub struct EncryptionKey {
    id: Digest,
    secret: [u8; 32],
}

/// The keys of the operator's: the first encrypts, all decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    first: EncryptionKey,
    others: Vec<EncryptionKey>,
}

/// What encrypts or decrypts one answer.
pub(super) struct Seal {
    key_id: Digest,
    salt: [u8; 16],
    id: RecordId,
    key: LessSafeKey,
}

impl EncryptionKey {
    /// A key of these bytes, which nobody can guess. Its id is the first half of a SHA-256, in every record that it sealed.
    pub fn new(secret: [u8; 32]) -> Self {
        let mut parts = Context::new(&SHA256);
        for part in [KEY_ID, &secret] {
            parts.update(&(part.len() as u64).to_be_bytes());
            parts.update(part);
        }
        let whole = parts.finish();
        let mut id = Digest::default();
        id.copy_from_slice(&whole.as_ref()[..16]);
        Self { id, secret }
    }
}

impl Keyring {
    /// Of these keys, the first of which encrypts; nothing if there are none.
    pub fn of(keys: Vec<EncryptionKey>) -> Option<Self> {
        let mut keys = keys.into_iter();
        Some(Self {
            first: keys.next()?,
            others: keys.collect(),
        })
    }

    /// How many keys decrypt.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Makes the key for one write.
    pub(super) fn seal(&self, id: RecordId) -> Result<Seal, CodecError> {
        let mut salt = [0; 16];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| CodecError::Unsealed)?;
        Seal::derive(&self.first, salt, id).ok_or(CodecError::Unsealed)
    }

    /// The key of what was written with this header.
    pub(super) fn sealed(&self, id: RecordId, header: &[u8]) -> Result<Seal, CodecError> {
        let parts = header.split_first_chunk();
        let (key_id, rest) = parts.ok_or(CodecError::Damaged)?;
        let salt = *rest.first_chunk().ok_or(CodecError::Damaged)?;
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        let key = keys.find(|key| key.id == *key_id);
        Seal::derive(key.ok_or(CodecError::Key)?, salt, id).ok_or(CodecError::Damaged)
    }
}

impl Seal {
    fn derive(key: &EncryptionKey, salt: [u8; 16], id: RecordId) -> Option<Self> {
        let made = Salt::new(HKDF_SHA256, &salt).extract(&key.secret);
        let info = [PURPOSE, id.as_bytes()];
        Some(Self {
            key_id: key.id,
            salt,
            id,
            key: LessSafeKey::new(made.expand(&info, &AES_256_GCM).ok()?.into()),
        })
    }

    /// What stands before an answer with a body of so many bytes.
    pub(super) fn header(&self, body: usize) -> [u8; SEAL] {
        let mut header = [0; SEAL];
        header[..16].copy_from_slice(&self.key_id);
        header[16..32].copy_from_slice(&self.salt);
        header[32..].copy_from_slice(&(body as u64).to_be_bytes());
        header
    }

    /// Encrypts `answer` in its place. `head` is all that stands before it.
    pub(super) fn close(self, head: &[u8], answer: &mut [u8]) -> Result<Tag, CodecError> {
        let bound = Aad::from(self.bound(head));
        self.key
            .seal_in_place_separate_tag(nonce(), bound, answer)
            .map_err(|_| CodecError::Unsealed)
    }

    /// Decrypts `answer`, with its tag at the end, in its place, and tells its length.
    pub(super) fn open(self, head: &[u8], answer: &mut [u8]) -> Result<usize, CodecError> {
        let bound = Aad::from(self.bound(head));
        let opened = self.key.open_in_place(nonce(), bound, answer);
        opened.map(|it| it.len()).map_err(|_| CodecError::Damaged)
    }

    fn bound(&self, head: &[u8]) -> Vec<u8> {
        [self.id.as_bytes(), head].concat()
    }
}

/// The bytes of the answer's body, as they stand in what stands before it.
pub(super) fn body_bytes(header: &[u8]) -> Option<u64> {
    let (_, bytes) = header.split_last_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

/// A key is its id.
impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for EncryptionKey {}

/// Its id alone.
impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.id))
    }
}

/// The key is used for one message.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Bytes of a seal: the key's id, the salt, and how many bytes the body has.
pub(super) const SEAL: usize = 40;
/// Bytes of the tag after an answer.
pub(super) const TAG: usize = 16;

const PURPOSE: &[u8] = b"idemproxy answer 1";
const KEY_ID: &[u8] = b"encryption key id 1";
