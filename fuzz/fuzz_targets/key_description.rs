#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("key_description"), |data: &[u8]| {
    (assay_fuzz::target("key_description").run)(data);
});
