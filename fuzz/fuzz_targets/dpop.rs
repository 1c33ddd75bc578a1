#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("dpop"), |data: &[u8]| {
    (assay_fuzz::target("dpop").run)(data);
});
