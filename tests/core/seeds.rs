//! The fuzz targets without a fuzzer: every seed and every input that ever broke something, on stable.
//!
//! `fuzz/README.md` tells how an input gets here.

use crate::targets::{self, TARGETS};
use einhyrningsins::fsm::{Supervisor, snapshot};
use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

fn fuzz(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(below)
}

/// What is in a folder, in order, hidden files aside. Nothing is in a folder that does not exist.
fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The functions of a file that are bodies.
fn bodies(file: &str) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(fuzz(file)).expect("the bodies can be read");
    let name = |line: &str| Some(line.strip_prefix("pub fn ")?.strip_suffix("(data: &[u8]) {")?.to_owned());
    text.lines().filter_map(name).collect::<Vec<_>>().into_iter()
}

#[test]
fn every_seed_and_every_past_crash_is_survived() {
    let mut failed = Vec::new();
    for (target, body) in TARGETS {
        for kind in ["seeds", "crashes"] {
            for path in inside(&fuzz(kind).join(target)) {
                let input = fs::read(&path).expect("an input can be read");
                if panic::catch_unwind(|| body(&input)).is_err() {
                    failed.push(path);
                }
            }
        }
    }
    assert!(failed.is_empty(), "what broke is above; by {failed:#?}");
}

#[test]
fn every_target_is_complete() {
    let names: BTreeSet<String> = bodies("targets.rs").chain(bodies("edge.rs")).collect();
    let binaries: BTreeSet<String> = inside(&fuzz("fuzz_targets"))
        .iter()
        .filter_map(|path| Some(name(path).strip_suffix(".rs")?.into()))
        .collect();
    assert_eq!(binaries, names, "fuzz_targets/ and the bodies");
    let seeds: BTreeSet<String> = inside(&fuzz("seeds")).iter().map(|path| name(path)).collect();
    assert_eq!(seeds, names, "seeds/ and the bodies");
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).expect("the manifest can be read");
    let list = fs::read_to_string(fuzz("targets.rs")).expect("the bodies can be read");
    for target in &names {
        assert!(!inside(&fuzz("seeds").join(target)).is_empty(), "{target} has no seed");
        assert!(
            manifest.contains(&format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"")),
            "{target} is not in the manifest"
        );
        assert!(list.contains(&format!("    (\"{target}\", {target}),\n")), "{target} is not in the list");
    }
    for folder in inside(&fuzz("crashes")).iter().filter(|path| path.is_dir()) {
        assert!(names.contains(&name(folder)), "{} belongs to no target", folder.display());
    }
}

#[test]
fn every_seed_of_a_snapshot_is_one() {
    for path in inside(&fuzz("seeds/snapshot_parser")) {
        let text = fs::read_to_string(&path).expect("the seed can be read");
        let body = text.rfind("end ").map_or(&*text, |end| &text[..end]);
        let restored = Supervisor::restore(&snapshot::sealed(body));
        assert!(restored.is_ok(), "{}: {:?}", path.display(), restored.err());
    }
}

#[test]
fn the_seeds_of_the_core_lead_where_their_names_say() {
    for (seed, landmark) in [
        ("crash-loop", "> exit code=1\n"),
        ("fleet-upgrade", "> reply request=4 upgraded generation=2 workers=2"),
        ("late", "> notice gap "),
        ("resize", "> notice target old=5 new=6\n"),
        ("rolling-upgrade", "> reply request=4 upgraded generation=2 workers=2"),
        ("shutdown", "> exit code=0\n"),
        ("upgrade-rolled-back", "> reply request=4 rolled-back "),
    ] {
        let input = fs::read(fuzz("seeds/core_events").join(seed)).expect("the seed can be read");
        let trace = targets::run(&input).trace;
        assert!(trace.contains(landmark), "{seed} never leads to {landmark:?}:\n{trace}");
    }
}
