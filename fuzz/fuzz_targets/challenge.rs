#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("challenge"), |data: &[u8]| {
    (assay_fuzz::target("challenge").run)(data);
});
