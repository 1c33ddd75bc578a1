#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("apple_auth_data"), |data: &[u8]| {
    (assay_fuzz::target("apple_auth_data").run)(data);
});
