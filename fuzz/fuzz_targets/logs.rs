//! See `fuzz::logs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::ready(), |data: &[u8]| fuzz::logs(data));
