//! For the tests of command lines: words at random, valid and not.

use super::table::CommandLine;
use proptest::prelude::*;
use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

/// A word: the name of an option, `letters` and `others` by their patterns, or any bytes.
pub(super) fn word<K>(
    line: &CommandLine<K>,
    letters: &'static str,
    others: &'static str,
) -> impl Strategy<Value = OsString> {
    let names: Vec<_> = line.options().map(|option| format!("--{}", option.long)).collect();
    prop_oneof![
        prop::sample::select(names).prop_map(OsString::from),
        letters.prop_map(OsString::from),
        others.prop_map(OsString::from),
        prop::collection::vec(any::<u8>(), 0..6).prop_map(OsString::from_vec),
    ]
}
