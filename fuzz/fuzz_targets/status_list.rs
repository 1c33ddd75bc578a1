#![no_main]

libfuzzer_sys::fuzz_target!(init: assay_fuzz::begin("status_list"), |data: &[u8]| {
    (assay_fuzz::target("status_list").run)(data);
});
