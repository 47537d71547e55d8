#![no_main]

#[path = "../../tests/foreign/record.rs"]
mod record;

libfuzzer_sys::fuzz_target!(|input: &[u8]| record::holds(input));
