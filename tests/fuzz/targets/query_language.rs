//! `fuzz::query_language` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::query_language::run(data));
