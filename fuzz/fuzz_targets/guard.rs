//! Random bytes for `guard_and_callers` of `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::guard_and_callers(bytes));
