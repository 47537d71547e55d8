use std::time::Duration;

use proptest::prelude::*;

use super::frame::millis;
use super::*;
use crate::idempotency::{
    Fields, Fingerprint, Origin, Part, State, StoredResponse, Token, Trace, UnixMillis,
};

/// Reads a frame in clear.
fn decode(frame: Bytes) -> Result<Record, CodecError> {
    Codec::clear().decode(RecordId::from_bytes([0; 16]), frame)
}

prop_compose! {
    fn fields_of_any_kind()(fields in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4)) -> Fields {
        fields.into_iter().collect()
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
        (trace, response) in (any::<Option<([u8; 16], [u8; 8])>>(), prop::option::of(response())),
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
                names.iter().map(|(name, digest)| Part { name, digest: *digest }).collect()
            }),
            credentials,
            origin: Origin::new(&route, &method, &path, key),
            status,
            error,
            trace: trace.map(|(trace_id, span_id)| Trace { trace_id, span_id }),
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
    fn a_frame_takes_the_room_that_was_reckoned_for_it(record in record(), head: Vec<u8>, sealed: bool) {
        let codec = if sealed { sealing(&[1]) } else { Codec::clear() };
        let id = RecordId::from_bytes([5; 16]);
        let frame = codec.encode_after(&head, id, &record).unwrap();
        prop_assert_eq!(frame.len(), head.len() + codec.frame_bytes(&record));
        let vec = Vec::from(BytesMut::from(frame));
        prop_assert_eq!(vec.capacity(), vec.len());
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
        if decode(Bytes::copy_from_slice(&bytes)) != Err(CodecError::Key) {
            prop_assert_eq!(head_of(&bytes).map(|head| head.record).ok(), decode(bytes.into()).map(|record| Record { response: None, ..record }).ok());
        }
    }

    #[test]
    fn the_head_of_a_sealed_record_is_told_without_a_key(record in completed(), first in 0usize..400) {
        let codec = sealing(&[1]);
        let frame = codec.encode(RecordId::from_bytes([5; 16]), &record).unwrap();
        let mut bytes = first.min(frame.len());
        let head = loop {
            match decode_head(&frame[..bytes], frame.len() as u64) {
                Ok(head) => break head,
                Err(HeadError::Needs(more)) => bytes = more,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        };
        let body = record.response.as_ref().map(|response| response.body.len() as u64);
        prop_assert_eq!(head.response_bytes, body);
        prop_assert_eq!(&head, &head_of(&frame).unwrap());
        prop_assert_eq!(head.record, Record { response: None, ..record });
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

    #[test]
    fn a_record_with_a_sealed_answer_reads_as_it_was_written(record in record(), id: [u8; 16]) {
        let id = RecordId::from_bytes(id);
        for codec in [sealing(&[1]), sealing(&[1, 2]), Codec::clear()] {
            let frame = codec.encode(id, &record).unwrap();
            let held_elsewhere = frame.clone();
            prop_assert_eq!(sealing(&[2, 1]).decode(id, frame), Ok(record.clone()));
            prop_assert_eq!(codec.decode(id, held_elsewhere), Ok(record.clone()));
        }
    }

    #[test]
    fn a_sealed_answer_altered_anywhere_is_refused(record in completed(), at: prop::sample::Index, bit in 0..8u32) {
        let (id, codec) = (RecordId::from_bytes([5; 16]), sealing(&[1]));
        let mut bytes = codec.encode(id, &record).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(codec.decode(id, bytes.into()).is_err());
    }

    #[test]
    fn a_sealed_answer_cut_or_lengthened_is_refused(record in completed(), at: prop::sample::Index, added in prop::collection::vec(any::<u8>(), 1..40)) {
        let (id, codec) = (RecordId::from_bytes([5; 16]), sealing(&[1]));
        let whole = codec.encode(id, &record).unwrap();
        prop_assert!(codec.decode(id, whole.slice(..at.index(whole.len()))).is_err());
        prop_assert!(codec.decode(id, [&*whole, &added].concat().into()).is_err());
    }
}

prop_compose! {
    fn completed()(record in record(), response in response()) -> Record {
        Record { state: State::Completed, response: Some(response), ..record }
    }
}

fn sealing(keys: &[u8]) -> Codec {
    let keys = keys.iter().map(|key| EncryptionKey::new([*key; 32]));
    Codec::sealing(Keyring::of(keys.collect()).unwrap())
}

fn example(trace: Option<Trace>) -> Record {
    Record {
        token: Token::from_bytes(std::array::from_fn(|at| at as u8)),
        state: State::Completed,
        ttl: Duration::from_secs(86_400),
        lease: Duration::from_secs(30),
        attempts: 2,
        in_doubt: true,
        created: UnixMillis(1_790_000_000_000),
        settled: Some(UnixMillis(1_790_000_001_000)),
        expires: Some(UnixMillis(1_790_086_401_000)),
        fingerprint: Some(Fingerprint::from_iter([Part {
            name: "body",
            digest: [7; 16],
        }])),
        credentials: Some([9; 16]),
        origin: Origin::new("orders", "POST", "/orders", [3; 16]),
        status: Some(201),
        error: None,
        trace,
        response: Some(StoredResponse {
            status: 201,
            headers: [("content-type", "text/plain")].into_iter().collect(),
            body: "paid".into(),
            trailers: [("sum", "1")].into_iter().collect(),
        }),
    }
}

const TRACE: Trace = Trace {
    trace_id: [0xab; 16],
    span_id: [0xcd; 8],
};

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<char> = hex.chars().filter(|it| !it.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_record_of_each_version_is_read_for_ever() {
    let id = RecordId::from_bytes([0x44; 16]);
    assert_eq!(encode(&example(None)), bytes(VERSION_1));
    assert_eq!(encode(&example(Some(TRACE))), bytes(VERSION_2));
    for (frame, trace) in [
        (VERSION_1, None),
        (VERSION_2, Some(TRACE)),
        (VERSION_2_SEALED, Some(TRACE)),
    ] {
        let read = sealing(&[1]).decode(id, bytes(frame));
        assert_eq!(read, Ok(example(trace)));
    }
}

#[test]
fn what_version_1_has_room_for_is_written_as_version_1() {
    let id = RecordId::from_bytes([1; 16]);
    let version =
        |codec: &Codec, record: &Record| codec.encode(id, record).unwrap()[header::VERSION];
    let without_answer = Record {
        response: None,
        ..example(None)
    };
    assert_eq!(version(&Codec::clear(), &example(None)), 1);
    assert_eq!(version(&sealing(&[1]), &without_answer), 1);
    assert_eq!(version(&sealing(&[1]), &example(None)), 2);
    assert_eq!(version(&Codec::clear(), &example(Some(TRACE))), 2);
}

#[test]
fn a_sealed_answer_shows_nothing_and_is_never_sealed_the_same_way() {
    let (id, codec) = (RecordId::from_bytes([1; 16]), sealing(&[1]));
    let frames = [(); 2].map(|()| codec.encode(id, &example(None)).unwrap());
    assert_ne!(frames[0], frames[1]);
    for secret in [&b"paid"[..], b"text/plain", b"content-type"] {
        let shows = |frame: &Bytes| frame.windows(secret.len()).any(|it| it == secret);
        assert!(shows(&encode(&example(None))));
        assert!(!frames.iter().any(shows));
    }
}

#[test]
fn a_sealed_answer_is_that_of_its_record_alone() {
    let (id, codec) = (RecordId::from_bytes([1; 16]), sealing(&[1]));
    let frame = codec.encode(id, &example(None)).unwrap();
    let other = RecordId::from_bytes([2; 16]);
    assert_eq!(codec.decode(other, frame), Err(CodecError::Damaged));
}

#[test]
fn an_answer_sealed_under_a_key_that_was_taken_away_is_not_read() {
    let id = RecordId::from_bytes([1; 16]);
    let frame = sealing(&[1]).encode(id, &example(None)).unwrap();
    let read = |codec: Codec| codec.decode(id, frame.clone());
    assert_eq!(read(sealing(&[2])), Err(CodecError::Key));
    assert_eq!(read(Codec::clear()), Err(CodecError::Key));
    assert_eq!(decode(frame.clone()), Err(CodecError::Key));
    assert_eq!(read(sealing(&[2, 1])), Ok(example(None)));
}

#[test]
fn a_large_answer_is_opened_in_its_place() {
    let (id, codec) = (RecordId::from_bytes([1; 16]), sealing(&[1]));
    let mut record = example(None);
    if let Some(response) = &mut record.response {
        response.body = vec![7; 1 << 20].into();
    }
    let written = codec.encode(id, &record).unwrap();
    let received = Bytes::from(written.to_vec());
    let copied = Bytes::copy_from_slice(&written);
    for frame in [written, received, copied] {
        let place = frame.as_ptr_range();
        let body = codec.decode(id, frame).unwrap().response.unwrap().body;
        assert_eq!(body.len(), 1 << 20);
        assert!(place.contains(&body.as_ptr()));
    }
}

#[test]
fn a_key_shows_nothing_of_itself() {
    let shown = format!("{:?}", sealing(&[0x61, 0x62]));
    assert!(
        !shown.contains("6161") && !shown.contains("97, 97"),
        "{shown}"
    );
}

#[test]
fn a_head_is_told_without_the_answers_body() {
    let response = StoredResponse {
        status: 200,
        headers: [("a", vec![1; 3000])].into_iter().collect(),
        body: vec![2; 5 << 20].into(),
        trailers: Default::default(),
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
    bytes[5] |= 4;
    bytes.extend([0xff; 4]);
    bytes.resize(8 << 20, 0xff);
    assert_eq!(head_of(&bytes), Err(CodecError::Damaged));
}

#[test]
fn a_newer_record_is_not_taken_for_absent() {
    let mut bytes = b"IDP".to_vec();
    bytes.extend([3; 200]);
    assert_eq!(decode(bytes.into()), Err(CodecError::Version(3)));
    assert_eq!(
        decode(Bytes::from_static(b"something else")),
        Err(CodecError::Foreign)
    );
}

/// Written by another program, after the description of the format.
const VERSION_1: &str = "\
    4944500104bf00c9000102030405060708090a0b0c0d0e0f0000000005265c00000000000000753000000002000001a0 \
    c4506c00000001a0c4506fe8000001a0c976cbe803030303030303030303030303030303090909090909090909090909 \
    0909090900066f72646572730004504f535400072f6f726465727300000104626f647907070707070707070707070707 \
    07070700c90001000c636f6e74656e742d747970650000000a746578742f706c61696e0001000373756d000000013170 \
    616964";
const VERSION_2: &str = "\
    4944500204bf00c9000102030405060708090a0b0c0d0e0f0000000005265c00000000000000753000000002000001a0 \
    c4506c00000001a0c4506fe8000001a0c976cbe803030303030303030303030303030303090909090909090909090909 \
    0909090901ababababababababababababababababcdcdcdcdcdcdcdcd00066f72646572730004504f535400072f6f72 \
    6465727300000104626f64790707070707070707070707070707070700c90001000c636f6e74656e742d747970650000 \
    000a746578742f706c61696e0001000373756d000000013170616964";
/// The same under a key of ones, with a salt that counts from 100.
const VERSION_2_SEALED: &str = "\
    4944500204bf00c9000102030405060708090a0b0c0d0e0f0000000005265c00000000000000753000000002000001a0 \
    c4506c00000001a0c4506fe8000001a0c976cbe803030303030303030303030303030303090909090909090909090909 \
    0909090907ababababababababababababababababcdcdcdcdcdcdcdcd00066f72646572730004504f535400072f6f72 \
    6465727300000104626f6479070707070707070707070707070707079fc40c4f5cf9ff72448a1d5769f8263764656667 \
    68696a6b6c6d6e6f707172730000000000000004b335498ca97cdbad658ddf0a7a4b67a64085b7533a87c80b762eab8b \
    6c7c80ced9da48b704d6004feacba1fa077a329f7b98b69cbdfa78ba5a0e3f067f9a5dab";
