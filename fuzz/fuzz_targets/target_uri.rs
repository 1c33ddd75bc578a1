#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("target_uri"), |data: &[u8]| {
    (assay_fuzz::target("target_uri").run)(data);
});
