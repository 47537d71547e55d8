//! What reads bytes from outside, on bytes that nobody sends by mistake.
//!
//! Each file has one property, which `fuzz/` runs for as long as one likes. Here it holds for the committed corpus, and for random
//! and mutated inputs: `FOREIGN_CASES` of them (2,000), from `FOREIGN_SEED`.
#![allow(clippy::unwrap_used)]

mod caller;
mod config;
mod headers;
mod json;
mod key;
mod record;

use std::path::Path;
use std::str::FromStr;
use std::{fmt, fs};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[test]
fn any_key_header_is_a_key_or_an_error() {
    foreign("key", key::holds);
}

#[test]
fn any_stored_bytes_are_a_record_or_an_error() {
    foreign("record", record::holds);
}

#[test]
fn any_configuration_is_settings_or_faults_within_it() {
    foreign("config", config::holds);
}

#[test]
fn any_json_has_one_canonical_text_or_an_error() {
    foreign("json", json::holds);
}

#[test]
fn any_head_is_passed_on_without_what_ends_at_this_hop() {
    foreign("headers", headers::holds);
}

#[test]
fn any_two_credentials_are_two_callers_unless_they_name_one() {
    foreign("caller", caller::holds);
}

/// Replays the corpus of `target`, then runs what mutations make of it.
fn foreign(target: &str, holds: fn(&[u8])) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        eprintln!("{target}/{name}");
        holds(input);
    }
    let seed: u64 = from_env("FOREIGN_SEED", 1);
    let cases = from_env("FOREIGN_CASES", 2_000);
    println!(
        "{target}: {} files, {cases} cases, FOREIGN_SEED={seed}",
        corpus.len()
    );
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let seeds: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let run = TestRunner::new_with_rng(config, rng).run(&input(seeds), |Input(input)| {
        holds(&input);
        Ok(())
    });
    if let Err(error) = run {
        panic!("FOREIGN_SEED={seed}: {error}");
    }
}

/// Shown as text, so that it can be read.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// By name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files
}

/// Now and then any bytes; mostly a file of the corpus with some of it replaced, by bytes or by a piece of another file.
fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let piece =
        (select(seeds.clone()), any::<Index>(), 0..40_usize).prop_map(|(file, at, length)| {
            let at = at.index(file.len() + 1);
            file[at..file.len().min(at + length)].to_vec()
        });
    let new = prop_oneof![
        vec(any::<u8>(), 0..4),
        "[ -~]{0,4}".prop_map(String::into_bytes),
        piece
    ];
    let edit = (any::<Index>(), 0..8_usize, new);
    let mutated = (select(seeds), vec(edit, 1..6)).prop_map(|(mut file, edits)| {
        for (at, length, new) in edits {
            let at = at.index(file.len() + 1);
            file.splice(at..file.len().min(at + length), new);
        }
        file
    });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 9 => mutated].prop_map(Input)
}

fn from_env<T: FromStr>(name: &str, default: T) -> T {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
