//! `fuzz::line_formats` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::line_formats::run(data));
