//! Random bytes for `token_file_of_callers` of `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::token_file_of_callers(bytes));
