#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("android_chain"), |data: &[u8]| {
    (assay_fuzz::target("android_chain").run)(data);
});
