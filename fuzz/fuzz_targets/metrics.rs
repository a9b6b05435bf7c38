//! See `fuzz::metrics`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::ready(), |data: &[u8]| fuzz::metrics(data));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_metrics(data, size, max_size, seed)
});
