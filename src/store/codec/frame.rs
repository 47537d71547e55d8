//! Where what stands in a frame.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use super::{CodecError, header};
use crate::idempotency::{
    Fields, Fingerprint, Origin, Record, State, StoredResponse, Token, Trace, UnixMillis, cut,
};

/// What comes before the answer.
pub(super) struct Start {
    /// The record without its answer.
    pub(super) record: Record,
    /// Whether an answer follows, and how.
    pub(super) answer: Answer,
    /// Bytes up to the answer, or up to its seal.
    pub(super) length: usize,
}

/// Whether a frame has an answer, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has none.
    None,
    /// As it is.
    Clear,
    /// After a seal, encrypted.
    Sealed,
}

/// Writes all but seal and answer.
pub(super) fn put_start(frame: &mut Vec<u8>, record: &Record, answer: Answer) {
    let more = more_flags(record, answer);
    // All of a fixed size at once: the frame is asked for room once, and not for each.
    let mut fixed = [0; FIXED];
    let mut rest = &mut fixed[..];
    rest.put_slice(header::MAGIC);
    rest.put_u8(if more == 0 { 1 } else { 2 });
    rest.put_u8(record.state as u8);
    rest.put_u8(flags(record, answer));
    rest.put_u16(record.status.unwrap_or_default());
    rest.put_slice(record.token.as_bytes());
    rest.put_u64(millis(record.ttl));
    rest.put_u64(millis(record.lease));
    rest.put_u32(record.attempts);
    rest.put_u64(record.created.0);
    rest.put_u64(record.settled.unwrap_or_default().0);
    rest.put_u64(record.expires.unwrap_or_default().0);
    rest.put_slice(&record.origin.key);
    rest.put_slice(&record.credentials.unwrap_or_default());
    frame.put_slice(&fixed);
    if more != 0 {
        frame.put_u8(more);
    }
    if let Some(trace) = record.trace {
        frame.put_slice(&trace.trace_id);
        frame.put_slice(&trace.span_id);
    }
    put_text(frame, record.origin.route());
    put_text(frame, record.origin.method());
    put_text(frame, record.origin.path());
    put_text(frame, record.error.as_deref().unwrap_or_default());
    if let Some(fingerprint) = &record.fingerprint {
        frame.put_slice(fingerprint.as_bytes());
    }
}

/// Writes an answer in clear.
pub(super) fn put_response(frame: &mut Vec<u8>, response: &StoredResponse) {
    frame.put_u16(response.status);
    frame.put_slice(response.headers.as_bytes());
    frame.put_slice(response.trailers.as_bytes());
    frame.put_slice(&response.body);
}

/// Bytes that [`put_start`] writes.
pub(super) fn start_bytes(record: &Record, answer: Answer) -> usize {
    let more = usize::from(more_flags(record, answer) != 0);
    let trace = if record.trace.is_some() { 16 + 8 } else { 0 };
    let origin = &record.origin;
    let error = record.error.as_deref().unwrap_or_default();
    let texts: usize = [origin.route(), origin.method(), origin.path(), error]
        .map(|text| 2 + cut(text).len())
        .iter()
        .sum();
    let fingerprint = (record.fingerprint.as_ref()).map_or(0, |it| it.as_bytes().len());
    FIXED + more + trace + texts + fingerprint
}

/// Bytes that [`put_response`] writes.
pub(super) fn response_bytes(response: &StoredResponse) -> usize {
    let fields = |fields: &Fields| fields.as_bytes().len();
    2 + fields(&response.headers) + fields(&response.trailers) + response.body.len()
}

/// Reads all but seal and answer.
pub(super) fn read_start(frame: &[u8]) -> Result<Start, CodecError> {
    if frame.len() <= header::VERSION || !frame.starts_with(header::MAGIC) {
        return Err(CodecError::Foreign);
    }
    let version = frame[header::VERSION];
    if !header::VERSIONS.contains(&version) {
        return Err(CodecError::Version(version));
    }
    let mut rest = &frame[header::STATE..];
    let (record, answer) = read(&mut rest, version).ok_or(CodecError::Damaged)?;
    Ok(Start {
        record,
        answer,
        length: frame.len() - rest.len(),
    })
}

/// Reads an answer in clear; its fields and its body are slices.
pub(super) fn read_response(mut bytes: Bytes) -> Option<StoredResponse> {
    Some(StoredResponse {
        status: bytes.try_get_u16().ok()?,
        headers: Fields::split_from(&mut bytes)?,
        trailers: Fields::split_from(&mut bytes)?,
        body: bytes,
    })
}

fn read(rest: &mut &[u8], version: u8) -> Option<(Record, Answer)> {
    let state = State::from_byte(rest.try_get_u8().ok()?)?;
    let flags = rest.try_get_u8().ok()?;
    let has = |flag: u8| flags & flag != 0;
    let status = rest.try_get_u16().ok()?;
    let token = Token::from_bytes(array(rest)?);
    let ttl = Duration::from_millis(rest.try_get_u64().ok()?);
    let lease = Duration::from_millis(rest.try_get_u64().ok()?);
    let attempts = rest.try_get_u32().ok()?;
    let created = UnixMillis(rest.try_get_u64().ok()?);
    let settled = UnixMillis(rest.try_get_u64().ok()?);
    let expires = UnixMillis(rest.try_get_u64().ok()?);
    let key = array(rest)?;
    let credentials = array(rest)?;
    let more = match version {
        1 => 0,
        _ => rest.try_get_u8().ok()?,
    };
    let answer = match (has(RESPONSE), more & SEALED) {
        (false, 0) => Answer::None,
        (true, 0) => Answer::Clear,
        (true, SEALED) => Answer::Sealed,
        _ => return None,
    };
    let trace = match more & !SEALED {
        0 => None,
        TRACE => Some(Trace {
            trace_id: array(rest)?,
            span_id: array(rest)?,
        }),
        _ => return None,
    };
    let (route, method, path) = (text(rest)?, text(rest)?, text(rest)?);
    let origin = Origin::new(route, method, path, key);
    let error = text(rest)?;
    let fingerprint = if has(FINGERPRINT) {
        Some(Fingerprint::split_from(rest)?)
    } else {
        None
    };
    let record = Record {
        token,
        state,
        ttl,
        lease,
        attempts,
        in_doubt: has(IN_DOUBT),
        created,
        settled: has(SETTLED).then_some(settled),
        expires: has(EXPIRES).then_some(expires),
        fingerprint,
        credentials: has(CREDENTIALS).then_some(credentials),
        origin,
        status: has(STATUS).then_some(status),
        error: has(ERROR).then(|| error.to_owned()),
        trace,
        response: None,
    };
    Some((record, answer))
}

fn flags(record: &Record, answer: Answer) -> u8 {
    let flag = |flag: u8, set: bool| if set { flag } else { 0 };
    flag(FINGERPRINT, record.fingerprint.is_some())
        | flag(CREDENTIALS, record.credentials.is_some())
        | flag(RESPONSE, answer != Answer::None)
        | flag(SETTLED, record.settled.is_some())
        | flag(EXPIRES, record.expires.is_some())
        | flag(STATUS, record.status.is_some())
        | flag(ERROR, record.error.is_some())
        | flag(IN_DOUBT, record.in_doubt)
}

fn more_flags(record: &Record, answer: Answer) -> u8 {
    let trace = if record.trace.is_some() { TRACE } else { 0 };
    let sealed = if answer == Answer::Sealed { SEALED } else { 0 };
    trace | sealed
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    let text = cut(text);
    frame.put_u16(text.len() as u16);
    frame.put_slice(text.as_bytes());
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = rest.try_get_u16().ok()?;
    std::str::from_utf8(rest.split_off(..length.into())?).ok()
}

/// Bytes that every record takes before its texts.
pub(super) const FIXED: usize = 100;

const FINGERPRINT: u8 = 1;
const CREDENTIALS: u8 = 2;
const RESPONSE: u8 = 4;
const SETTLED: u8 = 8;
const EXPIRES: u8 = 16;
const STATUS: u8 = 32;
const ERROR: u8 = 64;
const IN_DOUBT: u8 = 128;

const TRACE: u8 = 1;
const SEALED: u8 = 6;
