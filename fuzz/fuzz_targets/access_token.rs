#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("access_token"), |data: &[u8]| {
    (assay_fuzz::target("access_token").run)(data);
});
