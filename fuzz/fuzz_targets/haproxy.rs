#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rpm_fuzz::foreign::haproxy(bytes));
