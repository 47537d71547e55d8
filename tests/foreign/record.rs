//! What a store holds, written by nobody knows whom.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use idemproxy::idempotency::{Record, RecordId, StoredResponse};
use idemproxy::proxy::rebuild;
use idemproxy::store::{Codec, CodecError, EncryptionKey, Keyring, encode, header};

/// Any bytes are a record, which is written and read as itself and replayed whole or not at all, or an error.
pub(crate) fn holds(input: &[u8]) {
    let decode = |frame| Codec::clear().decode(RecordId::from_bytes([0; 16]), frame);
    let record = match decode(Bytes::copy_from_slice(input)) {
        Ok(record) => record,
        Err(CodecError::Foreign) => {
            let begins = input.starts_with(header::MAGIC) && input.len() > header::VERSION;
            return assert!(!begins, "a record was taken for none");
        }
        Err(CodecError::Version(version)) => {
            assert_eq!(input[header::VERSION], version);
            return assert!(![1, 2].contains(&version));
        }
        Err(CodecError::Damaged) => return,
        Err(CodecError::Key) => return opens(input),
        Err(CodecError::Unsealed) => unreachable!("it is read, not written"),
    };
    assert_eq!(input[header::STATE], record.state as u8);
    assert_eq!(&input[header::TOKEN..][..16], record.token.as_bytes());
    for (at, duration) in [(header::TTL, record.ttl), (header::LEASE, record.lease)] {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        assert_eq!(input[at..][..8], millis.to_be_bytes());
    }

    let again = encode(&record);
    assert!(again.len() <= input.len(), "it grew");
    assert!(
        held(&record) <= input.len(),
        "it holds more than it was read from"
    );
    assert_eq!(decode(again).as_ref(), Ok(&record));

    if let Some(response) = record.response {
        replays(&response);
    }
}

/// An encrypted answer is read as it was written, or not at all.
fn opens(input: &[u8]) {
    // Of the corpus' own.
    let id = RecordId::from_bytes([0x44; 16]);
    let keyring = Keyring::of(vec![EncryptionKey::new([1; 32])]);
    let codec = Codec::sealing(keyring.expect("it has a key"));
    match codec.decode(id, Bytes::copy_from_slice(input)) {
        Ok(record) => {
            let again = codec.encode(id, &record).expect("there is randomness");
            assert_eq!(again.len(), input.len());
            assert_eq!(codec.decode(id, again), Ok(record));
        }
        Err(error) => assert!(matches!(error, CodecError::Damaged | CodecError::Key)),
    }
}

/// What is replayed is what is stored, but for hop-by-hop headers; what no answer can hold is not replayed at all.
fn replays(stored: &StoredResponse) {
    let is_field = |(name, value): (&[u8], &[u8])| {
        HeaderName::from_bytes(name).is_ok() && HeaderValue::from_bytes(value).is_ok()
    };
    let possible = (200..=999).contains(&stored.status)
        && stored.headers.iter().all(is_field)
        && stored.trailers.iter().all(is_field);
    let rebuilt = rebuild(stored.clone(), ());
    assert!(
        possible || rebuilt.is_none(),
        "an impossible answer is replayed"
    );
    let Some(rebuilt) = rebuilt else { return };
    assert_eq!(rebuilt.status().as_u16(), stored.status);
    // An answer to HEAD tells a length and has no body.
    for length in rebuilt.headers().get_all("content-length") {
        let length = length.to_str().ok().and_then(|length| length.parse().ok());
        assert!(stored.body.is_empty() || length == Some(stored.body.len()));
    }
    for (name, value) in rebuilt.headers() {
        let is_stored = |(stored, bytes): (&[u8], &[u8])| {
            stored.eq_ignore_ascii_case(name.as_str().as_bytes()) && bytes == value.as_bytes()
        };
        assert!(
            name == "te" || stored.headers.iter().any(is_stored),
            "{name} was not stored"
        );
    }
}

/// The bytes of all texts, fields and digests of variable number.
fn held(record: &Record) -> usize {
    let texts = [
        record.origin.route(),
        record.origin.method(),
        record.origin.path(),
    ];
    let parts = record.fingerprint.iter().flat_map(|print| print.parts());
    let response = record.response.iter();
    let fields = response
        .clone()
        .flat_map(|r| r.headers.iter().chain(r.trailers.iter()));
    texts
        .into_iter()
        .chain(record.error.as_deref())
        .map(str::len)
        .sum::<usize>()
        + parts
            .map(|part| part.name.len() + part.digest.len())
            .sum::<usize>()
        + fields
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
        + response.map(|r| r.body.len()).sum::<usize>()
}
