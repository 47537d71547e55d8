#![no_main]

#[path = "../../tests/foreign/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|input: &[u8]| config::holds(input));
