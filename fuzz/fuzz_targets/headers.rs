#![no_main]

#[path = "../../tests/foreign/headers.rs"]
mod headers;

libfuzzer_sys::fuzz_target!(|input: &[u8]| headers::holds(input));
