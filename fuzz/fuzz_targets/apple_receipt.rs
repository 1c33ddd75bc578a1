#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("apple_receipt"), |data: &[u8]| {
    (assay_fuzz::target("apple_receipt").run)(data);
});
