//! `fuzz::record_decoding` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::record_decoding::run(data));
