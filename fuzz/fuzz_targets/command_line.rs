#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| einhyrningsins_fuzz::targets::command_line(data));
