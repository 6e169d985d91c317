//! `fuzz::log_recovery` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::log_recovery::run(data));
