#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("config"), |data: &[u8]| {
    (assay_fuzz::target("config").run)(data);
});
