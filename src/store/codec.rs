//! The stored record: a frame of our own, readable for ever.
//!
//! ```text
//! offset  size  what
//!      0     3  "IDP"
//!      3     1  version, 1
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
//!    100     …  route, method, path, error: each u16 length and bytes
//!            …  fingerprint: u8 count, each u8 length, name, 16 bytes
//!            …  response: u16 status, fields, trailers (u16 count, each u16 length, name, u32 length, value), then the body to the end
//! ```
//!
//! Numbers are big-endian. Version, state, token, ttl and lease stand at fixed offsets for ever: the scripts of the Redis store
//! read them there ([`header`]). A frame of another version is not read, and never taken for absent.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::idempotency::{
    Fingerprint, Origin, Part, Record, State, StoredResponse, Token, UnixMillis,
};

/// Offsets that hold for every version.
pub mod header {
    /// First bytes of every frame.
    pub const MAGIC: &[u8; 3] = b"IDP";
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

const VERSION: u8 = 1;
const FIXED: usize = 100;
/// Most of a frame that is read for what stands before an answer's body.
const MAX_HEAD: usize = 1 << 20;

const FINGERPRINT: u8 = 1;
const CREDENTIALS: u8 = 2;
const RESPONSE: u8 = 4;
const SETTLED: u8 = 8;
const EXPIRES: u8 = 16;
const STATUS: u8 = 32;
const ERROR: u8 = 64;
const IN_DOUBT: u8 = 128;

/// Why bytes are no record that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They do not begin as a record does.
    #[error("it is no record of idemproxy")]
    Foreign,
    /// A record of another version of the format.
    #[error("it has version {0} of the format, and this program reads version 1")]
    Version(u8),
    /// It ends too early, or holds what no record holds.
    #[error("it is damaged")]
    Damaged,
}

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

/// Writes a record as a frame. Texts and names longer than their length field are cut: no part that decides anything can be.
pub fn encode(record: &Record) -> Bytes {
    let body = record
        .response
        .as_ref()
        .map_or(0, |response| response.body.len());
    let mut frame = BytesMut::with_capacity(FIXED + 512 + body);
    frame.put_slice(header::MAGIC);
    frame.put_u8(VERSION);
    frame.put_u8(record.state as u8);
    frame.put_u8(flags(record));
    frame.put_u16(record.status.unwrap_or_default());
    frame.put_slice(record.token.as_bytes());
    frame.put_u64(millis(record.ttl));
    frame.put_u64(millis(record.lease));
    frame.put_u32(record.attempts);
    frame.put_u64(record.created.0);
    frame.put_u64(record.settled.unwrap_or_default().0);
    frame.put_u64(record.expires.unwrap_or_default().0);
    frame.put_slice(&record.origin.key);
    frame.put_slice(&record.credentials.unwrap_or_default());
    put_text(&mut frame, &record.origin.route);
    put_text(&mut frame, &record.origin.method);
    put_text(&mut frame, &record.origin.path);
    put_text(&mut frame, record.error.as_deref().unwrap_or_default());
    if let Some(fingerprint) = &record.fingerprint {
        frame.put_u8(fingerprint.parts().len() as u8);
        for part in fingerprint.parts() {
            frame.put_u8(part.name.len() as u8);
            frame.put_slice(part.name.as_bytes());
            frame.put_slice(&part.digest);
        }
    }
    if let Some(response) = &record.response {
        frame.put_u16(response.status);
        put_fields(&mut frame, &response.headers);
        put_fields(&mut frame, &response.trailers);
        frame.put_slice(&response.body);
    }
    frame.freeze()
}

/// Reads a frame. The answer's body and fields are slices of it, not copies.
///
/// # Errors
///
/// What keeps it from being read.
pub fn decode(mut frame: Bytes) -> Result<Record, CodecError> {
    if frame.len() <= header::VERSION || !frame.starts_with(header::MAGIC) {
        return Err(CodecError::Foreign);
    }
    if frame[header::VERSION] != VERSION {
        return Err(CodecError::Version(frame[header::VERSION]));
    }
    read(&mut frame).ok_or(CodecError::Damaged)
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
        return Err(short(FIXED + 1024));
    }
    if beginning.len() <= header::VERSION || !beginning.starts_with(header::MAGIC) {
        return Err(CodecError::Foreign.into());
    }
    if beginning[header::VERSION] != VERSION {
        return Err(CodecError::Version(beginning[header::VERSION]).into());
    }
    // An answer's body is as long as what follows its fields.
    let mut rest = Bytes::copy_from_slice(&beginning[..beginning.len().min(MAX_HEAD)]);
    let read = read(&mut rest);
    match read {
        Some(mut record) => {
            let kept = record.response.take().map(|response| response.body.len());
            let unread = length.saturating_sub(beginning.len().min(MAX_HEAD) as u64);
            Ok(Head {
                record,
                response_bytes: kept.map(|kept| kept as u64 + unread),
            })
        }
        None if whole || beginning.len() >= MAX_HEAD => Err(CodecError::Damaged.into()),
        None => Err(short(beginning.len() * 4)),
    }
}

/// Reads a record without its answer from a whole frame, of which it copies little more than what stands before the answer's body.
///
/// # Errors
///
/// What keeps it from being read.
pub(super) fn head_of(frame: &[u8]) -> Result<Head, CodecError> {
    let mut bytes = FIXED + 1024;
    loop {
        match decode_head(&frame[..bytes.min(frame.len())], frame.len() as u64) {
            Ok(head) => return Ok(head),
            Err(HeadError::Needs(more)) => bytes = more,
            Err(HeadError::Unreadable(error)) => return Err(error),
        }
    }
}

fn read(frame: &mut Bytes) -> Option<Record> {
    if frame.len() < FIXED {
        return None;
    }
    frame.advance(header::STATE);
    let state = State::from_byte(frame.get_u8())?;
    let flags = frame.get_u8();
    let has = |flag: u8| flags & flag != 0;
    let status = frame.get_u16();
    let token = Token::from_bytes(digest(frame)?);
    let ttl = Duration::from_millis(frame.get_u64());
    let lease = Duration::from_millis(frame.get_u64());
    let attempts = frame.get_u32();
    let created = UnixMillis(frame.get_u64());
    let settled = UnixMillis(frame.get_u64());
    let expires = UnixMillis(frame.get_u64());
    let key = digest(frame)?;
    let credentials = digest(frame)?;
    let origin = Origin {
        route: text(frame)?,
        method: text(frame)?,
        path: text(frame)?,
        key,
    };
    let error = text(frame)?;
    let fingerprint = if has(FINGERPRINT) {
        Some(fingerprint(frame)?)
    } else {
        None
    };
    let response = if has(RESPONSE) {
        let status = frame.try_get_u16().ok()?;
        let headers = fields(frame)?;
        let trailers = fields(frame)?;
        Some(StoredResponse {
            status,
            headers,
            trailers,
            body: std::mem::take(frame),
        })
    } else {
        None
    };
    Some(Record {
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
        error: has(ERROR).then_some(error),
        response,
    })
}

fn flags(record: &Record) -> u8 {
    [
        (FINGERPRINT, record.fingerprint.is_some()),
        (CREDENTIALS, record.credentials.is_some()),
        (RESPONSE, record.response.is_some()),
        (SETTLED, record.settled.is_some()),
        (EXPIRES, record.expires.is_some()),
        (STATUS, record.status.is_some()),
        (ERROR, record.error.is_some()),
        (IN_DOUBT, record.in_doubt),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .fold(0, |flags, (flag, _)| flags | flag)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn put_text(frame: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    frame.put_u16(text.len() as u16);
    frame.put_slice(text.as_bytes());
}

fn put_fields(frame: &mut BytesMut, fields: &[(Bytes, Bytes)]) {
    frame.put_u16(fields.len() as u16);
    for (name, value) in fields {
        frame.put_u16(name.len() as u16);
        frame.put_slice(name);
        frame.put_u32(value.len() as u32);
        frame.put_slice(value);
    }
}

fn digest(frame: &mut Bytes) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    frame.try_copy_to_slice(&mut digest).ok()?;
    Some(digest)
}

fn slice(frame: &mut Bytes, length: usize) -> Option<Bytes> {
    (frame.len() >= length).then(|| frame.split_to(length))
}

fn text(frame: &mut Bytes) -> Option<String> {
    let length = frame.try_get_u16().ok()?;
    String::from_utf8(slice(frame, length.into())?.into()).ok()
}

fn fingerprint(frame: &mut Bytes) -> Option<Fingerprint> {
    let count = frame.try_get_u8().ok()?;
    let part = |_| {
        let length = frame.try_get_u8().ok()?;
        let name = String::from_utf8(slice(frame, length.into())?.into()).ok()?;
        Some(Part {
            name,
            digest: digest(frame)?,
        })
    };
    (0..count).map(part).collect()
}

fn fields(frame: &mut Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let count = frame.try_get_u16().ok()?;
    let field = |_| {
        let length = frame.try_get_u16().ok()?;
        let name = slice(frame, length.into())?;
        let length = frame.try_get_u32().ok()?;
        Some((name, slice(frame, usize::try_from(length).ok()?)?))
    };
    (0..count).map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn fields_of_any_kind()(fields in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4)) -> Vec<(Bytes, Bytes)> {
            fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
        }
    }

    prop_compose! {
        fn response()(status: u16, headers in fields_of_any_kind(), trailers in fields_of_any_kind(), body: Vec<u8>) -> StoredResponse {
            StoredResponse { status, headers, body: body.into(), trailers }
        }
    }

    prop_compose! {
        fn record()(
            token: [u8; 16],
            state in prop::sample::select(vec![State::InFlight, State::Unknown, State::Released, State::Completed]),
            (ttl, lease, attempts) in (any::<u64>(), any::<u64>(), any::<u32>()),
            (created, settled, expires) in (any::<u64>(), any::<Option<u64>>(), any::<Option<u64>>()),
            names in any::<Option<Vec<(String, [u8; 16])>>>(),
            (credentials, key, in_doubt) in (any::<Option<[u8; 16]>>(), any::<[u8; 16]>(), any::<bool>()),
            (route, method, path) in (any::<String>(), any::<String>(), any::<String>()),
            (status, error) in (any::<Option<u16>>(), any::<Option<String>>()),
            response in prop::option::of(response()),
        ) -> Record {
            Record {
                token: Token::from_bytes(token),
                state,
                ttl: Duration::from_millis(ttl),
                lease: Duration::from_millis(lease),
                attempts,
                in_doubt,
                created: UnixMillis(created),
                settled: settled.map(UnixMillis),
                expires: expires.map(UnixMillis),
                fingerprint: names.map(|names| {
                    names.into_iter().filter(|(name, _)| name.len() < 256).map(|(name, digest)| Part { name, digest }).collect()
                }),
                credentials,
                origin: Origin { route, method, path, key },
                status,
                error,
                response,
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_as_it_was_written(record in record()) {
            prop_assert_eq!(decode(encode(&record)), Ok(record));
        }

        #[test]
        fn the_fixed_offsets_hold(record in record()) {
            let frame = encode(&record);
            prop_assert_eq!(frame[header::STATE], record.state as u8);
            prop_assert_eq!(&frame[header::TOKEN..header::TOKEN + 16], record.token.as_bytes());
            prop_assert_eq!(&frame[header::TTL..header::TTL + 8], millis(record.ttl).to_be_bytes());
            prop_assert_eq!(&frame[header::LEASE..header::LEASE + 8], millis(record.lease).to_be_bytes());
        }

        #[test]
        fn a_head_tells_all_but_the_answer_from_as_little_as_it_asks_for(record in record(), first in 0usize..400) {
            let frame = encode(&record);
            let mut bytes = first.min(frame.len());
            let head = loop {
                match decode_head(&frame[..bytes], frame.len() as u64) {
                    Ok(head) => break head,
                    Err(HeadError::Needs(more)) => {
                        prop_assert!(more > bytes && more <= frame.len());
                        bytes = more;
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            };
            prop_assert_eq!(&head, &head_of(&frame).unwrap());
            prop_assert_eq!(head.response_bytes, record.response.as_ref().map(|response| response.body.len() as u64));
            prop_assert_eq!(head.record, Record { response: None, ..record });
        }

        #[test]
        fn the_head_of_a_frame_is_unreadable_where_the_frame_is(record in record(), at: prop::sample::Index, byte: u8, cut: bool) {
            let mut bytes = encode(&record).to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            prop_assert_eq!(head_of(&bytes).map(|head| head.record).ok(), decode(bytes.into()).map(|record| Record { response: None, ..record }).ok());
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes: Vec<u8>) {
            let _ = decode(bytes.into());
        }

        #[test]
        fn a_record_cut_short_or_altered_is_a_record_or_an_error(record in record(), at: prop::sample::Index, byte: u8, cut: bool) {
            let mut bytes = encode(&record).to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let _ = decode(bytes.into());
        }
    }

    #[test]
    fn a_head_is_told_without_the_answers_body() {
        let response = StoredResponse {
            status: 200,
            headers: vec![("a".into(), vec![1; 3000].into())],
            body: vec![2; 5 << 20].into(),
            trailers: Vec::new(),
        };
        let record = Record {
            response: Some(response),
            ..crate::idempotency::sample::in_flight(1)
        };
        let frame = encode(&record);
        let head = decode_head(&frame[..4096], frame.len() as u64).unwrap();
        assert_eq!(head.response_bytes, Some(5 << 20));
        assert_eq!(head_of(&frame), Ok(head));
        assert_eq!(
            decode_head(&frame[..1024], frame.len() as u64),
            Err(HeadError::Needs(4096))
        );
    }

    #[test]
    fn a_frame_that_never_comes_to_its_body_is_damaged() {
        let record = crate::idempotency::sample::in_flight(1);
        let mut bytes = encode(&record).to_vec();
        bytes[5] |= RESPONSE;
        bytes.extend([0xff; 4]);
        bytes.resize(8 << 20, 0xff);
        assert_eq!(head_of(&bytes), Err(CodecError::Damaged));
    }

    #[test]
    fn a_newer_record_is_not_taken_for_absent() {
        let mut bytes = b"IDP".to_vec();
        bytes.extend([2; 200]);
        assert_eq!(decode(bytes.into()), Err(CodecError::Version(2)));
        assert_eq!(
            decode(Bytes::from_static(b"something else")),
            Err(CodecError::Foreign)
        );
    }
}
