#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("client_data"), |data: &[u8]| {
    (assay_fuzz::target("client_data").run)(data);
});
