#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| einhyrningsins_fuzz::targets::journal_parser(data));
