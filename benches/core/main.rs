//! The core, piece by piece: what each step of a request costs before there is a socket or a store.
//!
//! `benches/run core`, with a part of a name to run some. Columns are those of divan; below the times stands what that is in bytes
//! or in calls a second. Bodies, where there are any, have 200 bytes and 64 KiB.

mod sample;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use idemproxy::idempotency::{
    Expect, Fingerprint, JsonBody, Key, Lapse, Outcome, PartHasher, Scope, Seen, State, Token,
    UnixMillis, UnknownOutcome, decide, settle,
};
use idemproxy::store::{Codec, encode};

use self::sample::{TERMS, attempt, completed, id, json, response};

const BODIES: [usize; 2] = [200, 64 * 1024];

fn main() {
    divan::main();
}

/// `Idempotency-Key` as clients send it.
#[divan::bench(args = ["8e03978e-40d5-43e8-bc93-6894a57f9324", "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "\"with \\\"escapes\\\"\";and=1"])]
fn key(bencher: Bencher, value: &str) {
    let read = || Key::from_header(black_box(value.as_bytes()), 255);
    assert!(read().is_ok());
    bencher.counter(ItemsCount::new(1_u32)).bench(read);
}

/// The record's name, in the scope that is the default.
#[divan::bench]
fn record_id(bencher: Bencher) {
    let key = Key::bare(b"8e03978e-40d5-43e8-bc93-6894a57f9324", 255).expect("it is a key");
    bencher.counter(ItemsCount::new(1_u32)).bench(|| {
        let mut scope = Scope::new("bench");
        scope.with("method", b"POST");
        scope.with("path", black_box(b"/payments"));
        scope.with_optional("caller", Some(b"0123456789abcdef"));
        scope.record_id(black_box(&key))
    });
}

/// The body's bytes as a part of a fingerprint.
#[divan::bench(args = BODIES)]
fn fingerprint_of_bytes(bencher: Bencher, size: usize) {
    let body = json(size);
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        let mut hasher = PartHasher::new();
        hasher.update(black_box(&body));
        hasher.finish()
    });
}

/// The body's meaning as a part of a fingerprint.
#[divan::bench(args = BODIES)]
fn fingerprint_of_json(bencher: Bencher, size: usize) {
    let body = json(size);
    let part = JsonBody::default();
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        let mut fingerprint = Fingerprint::default();
        part.add(black_box(&body), &mut fingerprint);
        fingerprint
    });
}

/// What a first request writes.
#[divan::bench]
fn claim(bencher: Bencher) {
    let attempt = attempt(1);
    let claim = || encode(&black_box(&attempt).claim());
    bencher.counter(ItemsCount::new(1_u32)).bench(claim);
}

/// What a duplicate does about the record that it meets.
#[divan::bench(args = [State::InFlight, State::Unknown, State::Released, State::Completed])]
fn decision(bencher: Bencher, state: State) {
    let mut record = completed(200);
    record.state = state;
    let seen = Seen {
        record,
        lapse: Lapse::Live,
        quiet: None,
    };
    let attempt = attempt(2);
    let decide = || {
        let seen = black_box(&seen);
        decide(seen, &attempt, UnknownOutcome::Reject, Duration::MAX)
    };
    bencher.counter(ItemsCount::new(1_u32)).bench(decide);
}

/// The record that ends a claim with an answer.
#[divan::bench(args = BODIES)]
fn settlement(bencher: Bencher, size: usize) {
    let claim = attempt(1).claim();
    let response = response(size);
    bencher
        .counter(ItemsCount::new(1_u32))
        .with_inputs(|| (claim.clone(), response.clone()))
        .bench_values(|(claim, response)| {
            let outcome = Outcome::Completed {
                status: 201,
                response: Some(response),
            };
            settle(black_box(claim), TERMS, outcome, None, UnixMillis(2))
        });
}

/// What a store asks of the record that stands before it writes a settlement.
#[divan::bench]
fn ruling(bencher: Bencher) {
    let next = completed(200);
    let expect = Expect::Held(Token::from_bytes([1; 16]));
    let rule = || black_box(expect).rule(None, black_box(&next));
    bencher.counter(ItemsCount::new(1_u32)).bench(rule);
}

/// A completed record as it is written.
#[divan::bench(args = BODIES)]
fn encoding(bencher: Bencher, size: usize) {
    let record = completed(size);
    let counter = BytesCount::new(encode(&record).len());
    let codec = Codec::clear();
    bencher
        .counter(counter)
        .bench(|| codec.encode(id(), black_box(&record)));
}

/// A completed record as it is read for a replay.
#[divan::bench(args = BODIES)]
fn decoding(bencher: Bencher, size: usize) {
    let frame: Bytes = encode(&completed(size));
    let codec = Codec::clear();
    let decode = || codec.decode(id(), black_box(frame.clone()));
    assert!(decode().is_ok());
    bencher.counter(BytesCount::new(frame.len())).bench(decode);
}
