//! `fuzz::agent_bodies` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::agent_bodies::run(data));
