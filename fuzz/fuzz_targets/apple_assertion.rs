#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("apple_assertion"), |data: &[u8]| {
    (assay_fuzz::target("apple_assertion").run)(data);
});
