#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("record"), |data: &[u8]| {
    (assay_fuzz::target("record").run)(data);
});
