#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("wire"), |data: &[u8]| {
    (assay_fuzz::target("wire").run)(data);
});
