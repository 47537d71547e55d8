//! The stored record: a frame of our own, readable for ever.
//!
//! ```text
//! offset  size  what
//!      0     3  "IDP"
//!      3     1  version, 1 or 2
//!      4     1  state: 1 in flight, 2 unknown, 3 released, 4 completed
//!      5     1  flags: 1 fingerprint, 2 credentials, 4 response, 8 settled, 16 expires, 32 status, 64 error, 128 in doubt
//!      6     2  status
//!      8    16  token
//!     24     8  ttl, ms
//!     32     8  lease, ms
//!     40     4  attempts
//!     44     8  created, ms since 1970
//!     52     8  settled
//!     60     8  expires
//!     68    16  digest of the key
//!     84    16  digest of the credentials
//!            …  version 2: u8 more flags: 1 trace, 6 sealed (both bits, so that no single one turned makes it clear)
//!            …  trace: 16 bytes trace, 8 bytes span
//!            …  route, method, path, error: each u16 length and bytes
//!            …  fingerprint: u8 count, each u8 length, name, 16 bytes
//!            …  seal: 16 bytes id of the key, 16 bytes salt, u64 length of the body, for listings
//!            …  response: u16 status, fields, trailers (u16 count, each u16 length, name, u32 length, value), then the body to
//!               the end; of a sealed one all this encrypted, and 16 bytes tag
//! ```
//!
//! Numbers are big-endian. Version, state, token, ttl and lease stand at fixed offsets for ever: the scripts of the Redis store
//! read them there ([`header`]). A frame of another version is not read, and never taken for absent.
//!
//! What version 1 has room for is written as version 1: a fleet that is being upgraded, or rolled back, reads it.
//!
//! `frame` lays a record out, `seal` encrypts its answer, and [`Codec`] is both. `head` reads what stands before the answer, `stamp` what decides
//! over writes.

mod frame;
mod head;
mod seal;
mod stamp;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use self::frame::{Answer, Start};
use self::seal::{SEAL, TAG};
use crate::idempotency::{Record, RecordId, State};

pub(in crate::store) use self::head::head_of;
pub use self::head::{Head, HeadError, decode_head};
pub use self::seal::{EncryptionKey, Keyring};
pub(in crate::store) use self::stamp::Stamp;

/// Offsets that hold for every version.
pub mod header {
    /// First bytes of every frame.
    pub const MAGIC: &[u8; 3] = b"IDP";
    /// The versions that are read.
    pub const VERSIONS: [u8; 2] = [1, 2];
    /// Where the version stands.
    pub const VERSION: usize = 3;
    /// Where the state stands.
    pub const STATE: usize = 4;
    /// Where the token stands, 16 bytes.
    pub const TOKEN: usize = 8;
    /// Where the time to live stands, 8 bytes, ms.
    pub const TTL: usize = 24;
    /// Where the lease stands, 8 bytes, ms.
    pub const LEASE: usize = 32;
}

/// Why bytes are no record that this version reads, or a record is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They do not begin as a record does.
    #[error("it is no record of idemproxy")]
    Foreign,
    /// A record of another version of the format.
    #[error("it has version {0} of the format, and this program reads versions 1 and 2")]
    Version(u8),
    /// It ends too early, holds what no record holds, or was altered.
    #[error("it is damaged")]
    Damaged,
    /// The answer is encrypted under a key that is not among those given.
    #[error("its answer is encrypted, and none of the encryption_keys is its key")]
    Key,
    /// The answer can not be encrypted: the system has no randomness.
    #[error("the answer cannot be encrypted")]
    Unsealed,
}

/// Writes and reads records, answers in clear or encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codec(Option<Keyring>);

impl Codec {
    /// Writes answers in clear, and reads no others.
    pub const fn clear() -> Self {
        Self(None)
    }

    /// Encrypts answers, and reads those in clear too: they are from before there was a key.
    pub const fn sealing(keyring: Keyring) -> Self {
        Self(Some(keyring))
    }

    /// Under how many keys answers are read; nothing where they are in clear.
    pub fn keys(&self) -> Option<usize> {
        self.0.as_ref().map(Keyring::count)
    }

    /// Writes a record as a frame. Texts and names longer than their length field are cut: no part that decides anything can be.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsealed`].
    pub fn encode(&self, id: RecordId, record: &Record) -> Result<Bytes, CodecError> {
        self.encode_after(&[], id, record)
    }

    /// Writes a record as a frame behind `head`, which is no part of it. It takes no more memory than it has bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unsealed`].
    pub(in crate::store) fn encode_after(
        &self,
        head: &[u8],
        id: RecordId,
        record: &Record,
    ) -> Result<Bytes, CodecError> {
        let (Some(keyring), Some(response)) = (&self.0, &record.response) else {
            return Ok(encode_clear(head, record));
        };
        let mut bytes = Vec::with_capacity(head.len() + self.frame_bytes(record));
        bytes.put_slice(head);
        frame::put_start(&mut bytes, record, Answer::Sealed);
        let seal = keyring.seal(id)?;
        bytes.put_slice(&seal.header(response.body.len()));
        let clear = bytes.len();
        frame::put_response(&mut bytes, response);
        let (before, answer) = bytes.split_at_mut(clear);
        let tag = seal.close(&before[head.len()..], answer)?;
        bytes.put_slice(tag.as_ref());
        Ok(bytes.into())
    }

    /// Bytes of the frame that [`Self::encode`] makes of a record.
    pub(in crate::store) fn frame_bytes(&self, record: &Record) -> usize {
        match (&self.0, &record.response) {
            (Some(_), Some(response)) => {
                let start = frame::start_bytes(record, Answer::Sealed);
                start + SEAL + frame::response_bytes(response) + TAG
            }
            _ => clear_bytes(record),
        }
    }

    /// Reads a frame. The answer's body and fields are slices of it, not copies; a sealed one is opened in its place
    /// where nobody else holds the frame.
    ///
    /// # Errors
    ///
    /// What keeps it from being read.
    pub fn decode(&self, id: RecordId, mut frame: Bytes) -> Result<Record, CodecError> {
        let Start {
            mut record,
            answer,
            length,
        } = frame::read_start(&frame)?;
        match answer {
            Answer::None => {}
            Answer::Clear => {
                let response = frame::read_response(frame.split_off(length));
                record.response = Some(response.ok_or(CodecError::Damaged)?);
            }
            Answer::Sealed => {
                let keyring = self.0.as_ref().ok_or(CodecError::Key)?;
                let clear = length + SEAL;
                let header = frame.get(length..clear).ok_or(CodecError::Damaged)?;
                let seal = keyring.sealed(id, header)?;
                let mut frame = frame
                    .try_into_mut()
                    .unwrap_or_else(|it| BytesMut::from(&*it));
                let (head, answer) = frame.split_at_mut(clear);
                let length = seal.open(head, answer)?;
                let mut answer = frame.freeze().split_off(clear);
                answer.truncate(length);
                let response = frame::read_response(answer);
                record.response = Some(response.ok_or(CodecError::Damaged)?);
            }
        }
        Ok(record)
    }
}

/// The state of the record in a frame, of which nothing else is read; nothing if this version does not know it.
pub(in crate::store) fn state_of(frame: &[u8]) -> Option<State> {
    frame.starts_with(header::MAGIC).then_some(())?;
    frame
        .get(header::VERSION)
        .filter(|version| header::VERSIONS.contains(version))?;
    State::from_byte(*frame.get(header::STATE)?)
}

/// Writes a record as a frame in clear.
pub fn encode(record: &Record) -> Bytes {
    encode_clear(&[], record)
}

fn encode_clear(head: &[u8], record: &Record) -> Bytes {
    let mut bytes = Vec::with_capacity(head.len() + clear_bytes(record));
    bytes.put_slice(head);
    frame::put_start(&mut bytes, record, in_clear(record));
    if let Some(response) = &record.response {
        frame::put_response(&mut bytes, response);
    }
    bytes.into()
}

fn clear_bytes(record: &Record) -> usize {
    let response = record.response.as_ref();
    frame::start_bytes(record, in_clear(record)) + response.map_or(0, frame::response_bytes)
}

fn in_clear(record: &Record) -> Answer {
    match record.response {
        Some(_) => Answer::Clear,
        None => Answer::None,
    }
}
