#![no_main]

#[path = "../../tests/foreign/caller.rs"]
mod caller;

libfuzzer_sys::fuzz_target!(|input: &[u8]| caller::holds(input));
