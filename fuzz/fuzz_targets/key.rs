#![no_main]

#[path = "../../tests/foreign/key.rs"]
mod key;

libfuzzer_sys::fuzz_target!(|input: &[u8]| key::holds(input));
