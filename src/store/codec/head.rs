//! What a frame tells of a record without its answer, from as little of it as that takes. Nothing is decrypted for it.

use bytes::Bytes;

use super::CodecError;
use super::frame::{self, Answer, FIXED, Start};
use super::seal::{SEAL, TAG, body_bytes};
use crate::idempotency::Record;

/// What a frame tells of a record without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The record, without its answer.
    pub record: Record,
    /// Bytes of the answer's body, if there is an answer.
    pub response_bytes: Option<u64>,
}

/// Why the beginning of a frame does not tell the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It takes more of the frame; so many bytes may do.
    #[error("{0} bytes of it may do")]
    Needs(usize),
    /// No record that this version reads.
    #[error(transparent)]
    Unreadable(#[from] CodecError),
}

/// Reads a record without its answer from the first bytes of a frame of `length` bytes.
///
/// # Errors
///
/// What keeps it from being read; or how much of the frame it takes, which is always more than these and never more than all of it.
pub fn decode_head(beginning: &[u8], length: u64) -> Result<Head, HeadError> {
    let whole = beginning.len() as u64 >= length;
    let short = |needs: usize| {
        let needs = usize::try_from(length).unwrap_or(usize::MAX).min(needs);
        HeadError::Needs(needs.max(beginning.len() + 1))
    };
    if beginning.len() < FIXED && !whole {
        return Err(short(FIRST));
    }
    match read(&beginning[..beginning.len().min(MAX)], length) {
        Err(CodecError::Damaged) if !whole && beginning.len() < MAX => {
            Err(short(beginning.len() * 4))
        }
        read => Ok(read?),
    }
}

/// Reads a record without its answer from a whole frame, of which it copies little more than what stands before the answer's body.
///
/// # Errors
///
/// What keeps it from being read.
pub(in crate::store) fn head_of(frame: &[u8]) -> Result<Head, CodecError> {
    let mut bytes = FIRST;
    loop {
        match decode_head(&frame[..bytes.min(frame.len())], frame.len() as u64) {
            Ok(head) => return Ok(head),
            Err(HeadError::Needs(more)) => bytes = more,
            Err(HeadError::Unreadable(error)) => return Err(error),
        }
    }
}

fn read(beginning: &[u8], length: u64) -> Result<Head, CodecError> {
    let start = frame::read_start(beginning)?;
    let Start { record, answer, .. } = start;
    let response_bytes = match answer {
        Answer::None => None,
        Answer::Clear => {
            // The body is as long as what follows its fields.
            let rest = Bytes::copy_from_slice(&beginning[start.length..]);
            let response = frame::read_response(rest).ok_or(CodecError::Damaged)?;
            let unread = length.saturating_sub(beginning.len() as u64);
            Some(response.body.len() as u64 + unread)
        }
        Answer::Sealed => {
            let seal = beginning.get(start.length..start.length + SEAL);
            let body = seal.and_then(body_bytes).ok_or(CodecError::Damaged)?;
            let around = (start.length + SEAL + TAG) as u64;
            if body.saturating_add(around) > length {
                return Err(CodecError::Damaged);
            }
            Some(body)
        }
    };
    Ok(Head {
        record,
        response_bytes,
    })
}

/// What most records take without the body.
const FIRST: usize = FIXED + 1024;
/// Most of a frame that is read for what stands before an answer's body.
const MAX: usize = 1 << 20;
