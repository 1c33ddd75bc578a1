#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("apple_attestation"), |data: &[u8]| {
    (assay_fuzz::target("apple_attestation").run)(data);
});
