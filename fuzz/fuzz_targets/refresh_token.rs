#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("refresh_token"), |data: &[u8]| {
    (assay_fuzz::target("refresh_token").run)(data);
});
